"""MONAI: one channel per structure; float32 throughout."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from tests.segeval.peers.masks import LabelMapPair, MaskPair

CONFUSION_METRICS = ("sensitivity", "specificity", "precision")


def measure_masks(pairs: Sequence[MaskPair]) -> dict[str, np.ndarray]:
    import torch
    from monai import metrics
    from monai.metrics.absolute_volume_difference import compute_absolute_volume_difference

    torch.set_num_threads(1)
    values: dict[str, list[float]] = defaultdict(list)

    def add(name: str, result: Any) -> None:
        values[name].append(result.reshape(-1)[0].item())

    for pair in pairs:
        reference, prediction = (torch.as_tensor(mask[None, None].astype(np.float32)) for mask in pair.masks)
        on_surface = {"include_background": True, "spacing": pair.spacing_mm}
        add("dice", metrics.compute_dice(prediction, reference))
        add("dice_include_empty", metrics.compute_dice(prediction, reference, ignore_empty=False))
        add("iou", metrics.compute_iou(prediction, reference))
        add("iou_include_empty", metrics.compute_iou(prediction, reference, ignore_empty=False))
        confusion = metrics.get_confusion_matrix(prediction, reference)
        for name in CONFUSION_METRICS:
            add(name, metrics.compute_confusion_matrix_metric(name, confusion))
        add("absolute_volume_difference", compute_absolute_volume_difference(prediction, reference))
        add("hausdorff", metrics.compute_hausdorff_distance(prediction, reference, **on_surface))
        add("hd95", metrics.compute_hausdorff_distance(prediction, reference, percentile=95, **on_surface))
        add("assd", metrics.compute_average_surface_distance(prediction, reference, symmetric=True, **on_surface))
        add("asd", metrics.compute_average_surface_distance(prediction, reference, **on_surface))
        add("asd_swapped", metrics.compute_average_surface_distance(reference, prediction, **on_surface))
        add("nsd", metrics.compute_surface_dice(prediction, reference, [1.0], **on_surface))
    return {name: np.array(column, np.float32) for name, column in values.items()}


def measure_label_maps(pairs: Sequence[LabelMapPair]) -> dict[str, np.ndarray]:
    """MONAI's own one-hot encoding; pairs with ignored voxels are left out (see `takes`)."""
    import torch
    from monai import metrics
    from monai.networks.utils import one_hot

    values: dict[str, list[float]] = defaultdict(list)
    for pair in filter(takes, pairs):
        reference, prediction = (
            one_hot(torch.as_tensor(labels[None, None].astype(np.int64)), pair.classes)
            for labels in (pair.reference, pair.prediction)
        )
        values["dice"] += metrics.compute_dice(prediction, reference)[0].tolist()
        values["iou"] += metrics.compute_iou(prediction, reference)[0].tolist()
    return {name: np.array(column, np.float32) for name, column in values.items()}


def takes(pair: LabelMapPair) -> bool:
    """Its one-hot encoding has no place for an ignored voxel."""
    return pair.ignore_label is None


def measure_study(pairs: Sequence[LabelMapPair]) -> dict[str, list[float]]:
    """Means over a study as its metric classes give them, background left out: over all, and for each class."""
    import torch
    from monai import metrics
    from monai.networks.utils import one_hot

    cumulative = {
        "dice": metrics.DiceMetric(include_background=False),
        "iou": metrics.MeanIoU(include_background=False),
        "hd95": metrics.HausdorffDistanceMetric(include_background=False, percentile=95),
        "hausdorff": metrics.HausdorffDistanceMetric(include_background=False),
    }
    for pair in pairs:
        maps = [
            one_hot(torch.as_tensor(labels[None, None].astype(np.int64)), pair.classes)
            for labels in (pair.prediction, pair.reference)
        ]
        for name, metric in cumulative.items():
            metric(*maps, **({"spacing": pair.spacing_mm} if name.startswith("h") else {}))
    means = {}
    for name, metric in cumulative.items():
        means[f"{name} mean"] = metric.aggregate("mean").reshape(-1).tolist()
        means[f"{name} mean_batch"] = metric.aggregate("mean_batch").reshape(-1).tolist()
    return means
