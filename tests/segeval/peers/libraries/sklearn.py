"""scikit-learn: voxels as samples of a classification, with its defaults where something is empty."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from tests.segeval.peers.masks import LabelMapPair, MaskPair


def measure_masks(pairs: Sequence[MaskPair]) -> dict[str, np.ndarray]:
    from sklearn import metrics

    values: dict[str, list[float]] = defaultdict(list)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # UndefinedMetricWarning
        for pair in pairs:
            reference, prediction = pair.reference.ravel(), pair.prediction.ravel()
            options = {"labels": [pair.label], "average": None}
            values["f1_score"].append(metrics.f1_score(reference, prediction, **options)[0])
            values["jaccard_score"].append(metrics.jaccard_score(reference, prediction, **options)[0])
            values["precision_score"].append(metrics.precision_score(reference, prediction, **options)[0])
            values["recall_score"].append(metrics.recall_score(reference, prediction, **options)[0])
            options["labels"] = [0]
            values["recall_score_of_background"].append(metrics.recall_score(reference, prediction, **options)[0])
    return {name: np.array(column, np.float64) for name, column in values.items()}


def measure_label_maps(pairs: Sequence[LabelMapPair]) -> dict[str, np.ndarray]:
    """Confusion matrices (flattened), and means over the classes that are there; ignored voxels taken out."""
    from sklearn import metrics

    values: dict[str, list[float]] = defaultdict(list)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # UndefinedMetricWarning, and balanced accuracy on predicted-only classes
        for pair in pairs:
            kept = pair.reference != 255 if pair.ignore_label else np.ones(pair.reference.shape, bool)
            reference, prediction = pair.reference[kept], pair.prediction[kept]
            matrix = metrics.confusion_matrix(reference, prediction, labels=range(pair.classes))
            values["confusion_matrix"] += matrix.ravel().tolist()
            values["accuracy_score"].append(metrics.accuracy_score(reference, prediction))
            values["balanced_accuracy_score"].append(metrics.balanced_accuracy_score(reference, prediction))
            values["jaccard_score_macro"].append(metrics.jaccard_score(reference, prediction, average="macro"))
            values["jaccard_score_weighted"].append(metrics.jaccard_score(reference, prediction, average="weighted"))
    return {
        name: np.array(column, np.int32 if name == "confusion_matrix" else np.float64)
        for name, column in values.items()
    }
