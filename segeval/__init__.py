"""SegEval: segmentation metrics with stated conventions, on arrays with a spacing in mm or on files.

Example:
    >>> import numpy as np
    >>> reference, prediction = np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8)
    >>> reference[1:3, 1:3, 1:3], prediction[1:3, 1:3, 1:4] = 1, 1
    >>> case = evaluate(reference, prediction, {"lesion": 1}, spacing_mm=(1.0, 1.0, 3.0))
    >>> round(case.scores[0]["dice"], 3), case.scores[0]["hd95_mm"]
    (0.8, 3.0)
"""

from r2d2_base.errors import ProcessLostError
from segeval.accumulator import OverlapAccumulator, OverlapResult
from segeval.confusion import class_counts, confusion_matrix, confusion_of_labels, count_classes
from segeval.conventions import Conventions, build_conventions, describe_conventions
from segeval.empty_conventions import ON_EMPTY, EmptyPolicy
from segeval.errors import (
    ArrayTypeError,
    ComparisonError,
    EvaluationFormatError,
    EvaluationInputError,
    EvaluationNotFoundError,
    LabelRangeError,
    MetricArgumentError,
    OutputFolderError,
    SegEvalError,
    ShapeMismatchError,
    UnreadableLabelMapError,
)
from segeval.evaluate import CaseEvaluation, LabelScore, evaluate, evaluate_missing
from segeval.evaluation import EvaluatedCase, Evaluation, PooledScores
from segeval.files.folder import evaluate_folder, evaluate_pairs, find_labels
from segeval.files.label_map import LabelMap, read_label_map
from segeval.files.pairing import CasePair, pair_folders
from segeval.files.scores import read_scores
from segeval.files.summary import (
    check_evaluation_folder,
    read_evaluation,
    write_evaluation,
)
from segeval.formulas import IMAGE_METRICS
from segeval.labels import Label
from segeval.lesions import (
    LesionMatch,
    lesion_f1,
    lesion_precision,
    lesion_recall,
    match_lesions,
    panoptic_quality,
)
from segeval.mask_pair import STATUSES
from segeval.metrics import DEFAULT_METRICS, METRICS, Metric
from segeval.overlap import (
    ClassMean,
    absolute_volume_difference_ml,
    dice,
    dice_from_counts,
    frequency_weighted_iou,
    jaccard,
    long_et_al,
    mean_accuracy,
    mean_iou,
    mean_over_classes,
    overlap_scores,
    pixel_accuracy,
    precision,
    sensitivity,
    specificity,
    volume_similarity,
)
from segeval.regions import RegionCounts, region_counts
from segeval.statistics import (
    Comparison,
    MeanScore,
    PairedDifference,
    Ranking,
    ScoreTable,
    compare,
    compare_with_base,
    mean_over_cases,
    mean_over_labels,
    rank,
    score_table,
)
from segeval.surface import SurfaceDistances, assd_mm, hausdorff_mm, hd95_mm, masd_mm, nsd, surface_distances

__all__ = [
    "DEFAULT_METRICS",
    "IMAGE_METRICS",
    "METRICS",
    "ON_EMPTY",
    "STATUSES",
    "ArrayTypeError",
    "CaseEvaluation",
    "CasePair",
    "ClassMean",
    "Comparison",
    "ComparisonError",
    "Conventions",
    "EmptyPolicy",
    "EvaluatedCase",
    "Evaluation",
    "EvaluationFormatError",
    "EvaluationInputError",
    "EvaluationNotFoundError",
    "Label",
    "LabelMap",
    "LabelRangeError",
    "LabelScore",
    "LesionMatch",
    "MeanScore",
    "Metric",
    "MetricArgumentError",
    "OutputFolderError",
    "OverlapAccumulator",
    "OverlapResult",
    "PairedDifference",
    "PooledScores",
    "ProcessLostError",
    "Ranking",
    "RegionCounts",
    "ScoreTable",
    "SegEvalError",
    "ShapeMismatchError",
    "SurfaceDistances",
    "UnreadableLabelMapError",
    "absolute_volume_difference_ml",
    "assd_mm",
    "build_conventions",
    "check_evaluation_folder",
    "class_counts",
    "compare",
    "compare_with_base",
    "confusion_matrix",
    "confusion_of_labels",
    "count_classes",
    "describe_conventions",
    "dice",
    "dice_from_counts",
    "evaluate",
    "evaluate_folder",
    "evaluate_missing",
    "evaluate_pairs",
    "find_labels",
    "frequency_weighted_iou",
    "hausdorff_mm",
    "hd95_mm",
    "jaccard",
    "lesion_f1",
    "lesion_precision",
    "lesion_recall",
    "long_et_al",
    "masd_mm",
    "match_lesions",
    "mean_accuracy",
    "mean_iou",
    "mean_over_cases",
    "mean_over_classes",
    "mean_over_labels",
    "nsd",
    "overlap_scores",
    "pair_folders",
    "panoptic_quality",
    "pixel_accuracy",
    "precision",
    "rank",
    "read_evaluation",
    "read_label_map",
    "read_scores",
    "region_counts",
    "score_table",
    "sensitivity",
    "specificity",
    "surface_distances",
    "volume_similarity",
    "write_evaluation",
]
