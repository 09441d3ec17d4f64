"""How each toolkit scores one pair of label maps, for evaluating_speed.py: `TOOLKITS[name]()` gives its tasks.

A task takes a pair and the labels to score, and gives {label: {metric: value}} in the toolkit's own convention; its
name says what it must give. `overlap`: of each label the full set that follows from its counts; `dice`: a peer that is
asked for Dice alone, against our full set. `surface`: HD95, average distance and NSD on border voxels (MedPy has no
NSD); `area`: the same on weighted surface elements, as DeepMind's library. `evaluate`: all of it at once, ours only.
MONAI gets one-hot bytes, which it is quickest with. Metrics of different conventions have different names, so that
only what ought to agree is compared.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Collection, Iterator
from importlib import metadata
from typing import Any

import numpy as np
from evaluating_inputs import Pair

Scores = dict[int, dict[str, float]]
Task = Callable[[Pair, Collection[int]], Scores]
TOLERANCE_MM = 1.0
ONE_HOT_AT_MOST = 1 << 29
"""Bytes of one label map as one-hot; above, MONAI gets one label after the other."""


def segeval_tasks() -> dict[str, Task]:
    import segeval

    def overlap(pair: Pair, labels: Collection[int]) -> Scores:
        confusion = segeval.confusion_matrix(pair.reference, pair.prediction, pair.labels + 1)
        found = {metric: values.tolist() for metric, values in segeval.overlap_scores(confusion).items()}
        counts = segeval.count_classes(confusion).tolist()
        scores = {0: {metric: found[metric] for metric in OF_IMAGE}}
        for label in labels:
            tp, n_ref, n_pred = counts[label]
            scores[label] = {metric: found[metric][label] for metric in OF_LABELS}
            scores[label] |= {"tp": tp, "fp": n_pred - tp, "fn": n_ref - tp}
        return scores

    def surface(pair: Pair, labels: Collection[int], prefix: str = "", **choices: str) -> Scores:
        scores = {}
        for label in labels:
            masks = pair.reference == label, pair.prediction == label
            found = segeval.surface_distances(*masks, pair.spacing_mm, **choices)
            values = segeval.hd95_mm(found), segeval.assd_mm(found), segeval.nsd(found, TOLERANCE_MM)
            names = (prefix + metric for metric in ("hd95_mm", "assd_mm", "nsd"))
            scores[label] = dict(zip(names, values, strict=True))
        return scores

    def evaluate(pair: Pair, labels: Collection[int]) -> Scores:
        names = {str(label): label for label in labels}
        case = segeval.evaluate(pair.reference, pair.prediction, names, pair.spacing_mm)
        return {label: dict(one.values) for label, one in zip(sorted(labels), case.scores, strict=True)}

    return {
        "overlap": overlap,
        "dice": overlap,
        "surface": surface,
        "area": lambda pair, labels: surface(pair, labels, prefix="area_", surface="area_weighted"),
        "evaluate": evaluate,
    }


OF_LABELS = ("dice", "jaccard", "precision", "sensitivity", "specificity", "volume_similarity")
OF_IMAGE = ("pixel_accuracy", "mean_accuracy", "mean_iou", "frequency_weighted_iou")


def from_confusion(confusion: np.ndarray, labels: Collection[int]) -> Scores:
    """Give the set of `overlap` for those who bring a confusion matrix and no metrics."""
    found, reference, predicted = np.diagonal(confusion), confusion.sum(axis=1), confusion.sum(axis=0)
    scores = {}
    for label in labels:
        tp, fn, fp = int(found[label]), int(reference[label] - found[label]), int(predicted[label] - found[label])
        scores[label] = from_counts(tp, fp, fn, int(confusion.sum()) - tp - fp - fn)
    with np.errstate(invalid="ignore", divide="ignore"):
        iou, accuracy = found / (reference + predicted - found), found / reference
        image = found.sum() / confusion.sum(), np.nanmean(accuracy), np.nanmean(iou)
        weighted = np.nansum(reference * iou) / confusion.sum()
    return {0: dict(zip(OF_IMAGE, map(float, (*image, weighted)), strict=True))} | scores


def from_counts(tp: float, fp: float, fn: float, tn: float) -> dict[str, float]:
    shares = {
        "dice": (2 * tp, 2 * tp + fp + fn),
        "jaccard": (tp, tp + fp + fn),
        "precision": (tp, tp + fp),
        "sensitivity": (tp, tp + fn),
        "specificity": (tn, tn + fp),
    }
    values = {metric: part / whole if whole else math.nan for metric, (part, whole) in shares.items()}
    return {**values, "tp": tp, "fp": fp, "fn": fn}


def sklearn_tasks() -> dict[str, Task]:
    from sklearn.metrics import confusion_matrix

    def overlap(pair: Pair, labels: Collection[int]) -> Scores:
        flat = pair.reference.ravel(), pair.prediction.ravel()
        return from_confusion(confusion_matrix(*flat, labels=np.arange(pair.labels + 1)), labels)

    return {"overlap": overlap}


def nnunet_tasks() -> dict[str, Task]:
    from nnunetv2.evaluation.evaluate_predictions import compute_tp_fp_fn_tn, region_or_label_to_mask

    def overlap(pair: Pair, labels: Collection[int]) -> Scores:
        scores = {}
        for label in labels:
            masks = (region_or_label_to_mask(one, label) for one in (pair.reference, pair.prediction))
            scores[label] = from_counts(*map(int, compute_tp_fp_fn_tn(*masks)))
        return scores

    return {"overlap": overlap}


def simpleitk_tasks() -> dict[str, Task]:
    import SimpleITK

    SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    shares = {"dice": "GetDiceCoefficient", "jaccard": "GetJaccardCoefficient"}
    errors = {
        "precision": "GetFalseDiscoveryRate",
        "sensitivity": "GetFalseNegativeError",
        "specificity": "GetFalsePositiveError",
    }

    def overlap(pair: Pair, labels: Collection[int]) -> Scores:
        images = (SimpleITK.GetImageFromArray(one) for one in (pair.prediction, pair.reference))
        found = SimpleITK.LabelOverlapMeasuresImageFilter()
        found.Execute(*images)
        return {
            label: {metric: getattr(found, get)(label) for metric, get in shares.items()}
            | {metric: 1 - getattr(found, get)(label) for metric, get in errors.items()}
            for label in labels
        }

    return {"overlap": overlap}


def medpy_tasks() -> dict[str, Task]:
    from medpy.metric import binary

    measures = {
        "dice": binary.dc,
        "jaccard": binary.jc,
        "precision": binary.precision,
        "sensitivity": binary.sensitivity,
        "specificity": binary.specificity,
    }

    def overlap(pair: Pair, labels: Collection[int], metrics: Collection[str] = tuple(measures)) -> Scores:
        masks = ((label, pair.prediction == label, pair.reference == label) for label in labels)
        return {label: {metric: float(measures[metric](*both)) for metric in metrics} for label, *both in masks}

    def surface(pair: Pair, labels: Collection[int]) -> Scores:
        scores: Scores = {}
        for label in labels:
            masks = pair.prediction == label, pair.reference == label
            if masks[0].any() and masks[1].any():  # it raises an error otherwise
                hd95, mean = (measure(*masks, voxelspacing=pair.spacing_mm) for measure in (binary.hd95, binary.assd))
                scores[label] = {"hd95_pooled_mm": float(hd95), "assd_mm": float(mean)}
        return scores

    return {"overlap": overlap, "surface": surface, "dice": lambda pair, labels: overlap(pair, labels, ("dice",))}


def monai_tasks() -> dict[str, Task]:
    import torch
    from monai.metrics import (
        compute_average_surface_distance,
        compute_hausdorff_distance,
        compute_surface_dice,
        get_confusion_matrix,
    )
    from monai.networks.utils import one_hot

    torch.set_num_threads(1)

    def channels(label_map: np.ndarray, pair: Pair, label: int | None) -> Any:
        tensor = torch.from_numpy(label_map)[None, None]
        return one_hot(tensor, pair.labels + 1, dtype=torch.uint8) if label is None else (tensor == label).byte()

    def portions(pair: Pair, labels: Collection[int]) -> Iterator[tuple[int | None, list[int], Any, Any]]:
        """Give the labels with their channels: together where memory allows and all are asked for, else singly."""
        together = len(labels) == pair.labels and pair.reference.size * (pair.labels + 1) <= ONE_HOT_AT_MOST
        kinds = [(None, list(labels))] if together else [(label, [label]) for label in labels]
        maps = pair.prediction, pair.reference
        return ((kind, named, *(channels(one, pair, kind) for one in maps)) for kind, named in kinds)

    def overlap(pair: Pair, labels: Collection[int]) -> Scores:
        scores = {}
        for kind, named, prediction, reference in portions(pair, labels):
            counts = get_confusion_matrix(prediction, reference, include_background=kind is not None)[0]
            for label, (tp, fp, tn, fn) in zip(named, counts.tolist(), strict=True):
                scores[label] = from_counts(tp, fp, fn, tn)
        return scores

    def surface(pair: Pair, labels: Collection[int]) -> Scores:
        scores: Scores = {}
        for kind, named, *both in portions(pair, labels):
            choices = {"include_background": kind is not None, "spacing": pair.spacing_mm}
            found = (
                compute_hausdorff_distance(*both, percentile=95, **choices),
                compute_average_surface_distance(*both, symmetric=True, **choices),
                compute_surface_dice(*both, class_thresholds=[TOLERANCE_MM] * len(named), **choices),
            )
            for label, values in zip(named, zip(*(one[0].tolist() for one in found), strict=True), strict=True):
                scores[label] = dict(zip(("hd95_mm", "assd_mm", "nsd"), values, strict=True))
        return scores

    return {"overlap": overlap, "surface": surface}


def deepmind_tasks() -> dict[str, Task]:
    import surface_distance as measures

    def area(pair: Pair, labels: Collection[int]) -> Scores:
        scores: Scores = {}
        for label in labels:
            masks = pair.reference == label, pair.prediction == label
            found = measures.compute_surface_distances(*masks, pair.spacing_mm)
            if not min(len(found["distances_gt_to_pred"]), len(found["distances_pred_to_gt"])):
                continue  # np.Inf, which it gives then, is gone from NumPy 2
            scores[label] = {
                "area_hd95_mm": float(measures.compute_robust_hausdorff(found, 95)),
                "area_masd_mm": float(np.mean(measures.compute_average_surface_distance(found))),
                "area_nsd": float(measures.compute_surface_dice_at_tolerance(found, TOLERANCE_MM)),
            }
        return scores

    return {"area": area}


# ---- whose values ought to agree ----------------------------------------------------------------------------


def segeval_in_their_conventions(pair: Pair, labels: Collection[int]) -> Scores:
    """Score with SegEval what each peer means by its numbers, for labels with both structures; never timed."""
    import segeval

    scores = segeval_tasks()["overlap"](pair, labels)
    for label in labels:
        one = scores[label]
        n_ref, n_pred = one["tp"] + one["fn"], one["tp"] + one["fp"]
        one["false_negative"] = one["fn"] / n_ref if n_ref else math.nan
        one["false_positive"] = one["fp"] / n_pred if n_pred else math.nan
        if not (n_ref and n_pred):
            continue
        masks = pair.reference == label, pair.prediction == label
        found = segeval.surface_distances(*masks, pair.spacing_mm)
        directed = found.reference_to_prediction_mm, found.prediction_to_reference_mm
        one |= {"hd95_mm": segeval.hd95_mm(found), "assd_mm": segeval.assd_mm(found)}
        one["nsd"] = segeval.nsd(found, TOLERANCE_MM)
        one["hd95_pooled_mm"] = float(np.percentile(np.concatenate(directed), 95))
        area = segeval.surface_distances(*masks, pair.spacing_mm, surface="area_weighted")
        one |= {"area_hd95_mm": segeval.hd95_mm(area), "area_assd_mm": segeval.assd_mm(area)}
        one |= {"area_masd_mm": segeval.masd_mm(area), "area_nsd": segeval.nsd(area, TOLERANCE_MM)}
    return scores


TOOLKITS: dict[str, Callable[[], dict[str, Task]]] = {
    "segeval": segeval_tasks,
    "monai": monai_tasks,
    "sklearn": sklearn_tasks,
    "medpy": medpy_tasks,
    "nnunet": nnunet_tasks,
    "simpleitk": simpleitk_tasks,
    "deepmind": deepmind_tasks,
}
PACKAGES = {
    "segeval": ("numpy", "scipy"),
    "monai": ("monai", "torch", "scipy", "numpy"),
    "sklearn": ("scikit-learn", "scipy", "numpy"),
    "medpy": ("medpy", "scipy", "numpy"),
    "nnunet": ("nnunetv2", "numpy"),
    "simpleitk": ("SimpleITK",),
    "deepmind": ("surface-distance", "scipy", "numpy"),
}
GIVES = {
    "overlap": ("segeval", "monai", "sklearn", "medpy", "nnunet", "simpleitk"),
    "dice": ("segeval", "medpy"),
    "surface": ("segeval", "monai", "medpy"),
    "area": ("segeval", "deepmind"),
    "evaluate": ("segeval",),
}
"""Who does each task."""


def build_tasks(toolkit: str) -> dict[str, Task]:
    warnings.simplefilter("ignore")
    return TOOLKITS[toolkit]()


def versions(toolkit: str) -> dict[str, str]:
    return {package: metadata.version(package) for package in PACKAGES[toolkit]}
