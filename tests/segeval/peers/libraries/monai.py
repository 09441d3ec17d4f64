"""MONAI: one channel per structure; float32 throughout."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from peers.masks import LabelMapPair, MaskPair

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


def measure_study(pairs: Sequence[LabelMapPair]) -> dict[str, float]:
    """Means over a study with the labels 0 to 3, as its metric classes give them: background left out."""
    import torch
    from monai import metrics
    from monai.networks.utils import one_hot

    dice = metrics.DiceMetric(include_background=False, reduction="mean")
    iou = metrics.MeanIoU(include_background=False, reduction="mean")
    hd95 = metrics.HausdorffDistanceMetric(include_background=False, percentile=95, reduction="mean")
    for pair in pairs:
        reference, prediction = (
            one_hot(torch.as_tensor(labels[None, None].astype(np.int64)), pair.classes)
            for labels in (pair.reference, pair.prediction)
        )
        dice(prediction, reference)
        iou(prediction, reference)
        hd95(prediction, reference, spacing=pair.spacing_mm)
    return {"dice": dice.aggregate().item(), "iou": iou.aggregate().item(), "hd95": hd95.aggregate().item()}
