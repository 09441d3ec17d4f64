"""torchmetrics: one channel per structure; distances on square images only (differences.py says why)."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from tests.segeval.peers.masks import LabelMapPair, MaskPair

CLASSIFICATION = ("jaccard_index", "precision", "recall", "specificity", "f1_score")


def measure_masks(pairs: Sequence[MaskPair]) -> dict[str, np.ndarray]:
    _import()
    import torch
    from torchmetrics.functional import classification, segmentation

    torch.set_num_threads(1)
    values: dict[str, list[float]] = defaultdict(list)
    for pair in pairs:
        reference, prediction = (torch.as_tensor(mask[None, None].astype(np.int64)) for mask in pair.masks)
        one = {"num_classes": 1, "include_background": True}
        values["dice_score"].append(segmentation.dice_score(prediction, reference, average=None, **one).item())
        values["mean_iou"].append(segmentation.mean_iou(prediction, reference, per_class=True, **one).item())
        for name in CLASSIFICATION:
            metric = getattr(classification, f"binary_{name}")
            values[name].append(metric(prediction.ravel(), reference.ravel()).item())
        values["hausdorff_distance"].append(_hausdorff(pair))
    return {name: np.array(column, np.float32) for name, column in values.items()}


def measure_label_maps(pairs: Sequence[LabelMapPair]) -> dict[str, np.ndarray]:
    """Per class; pairs with ignored voxels are left out (see `takes`)."""
    _import()
    import torch
    from torchmetrics.functional import segmentation

    values: dict[str, list[float]] = defaultdict(list)
    for pair in filter(takes, pairs):
        maps = [torch.as_tensor(labels[None].astype(np.int64)) for labels in (pair.prediction, pair.reference)]
        options = {"num_classes": pair.classes, "include_background": True, "input_format": "index"}
        values["dice_score"] += segmentation.dice_score(*maps, average=None, **options)[0].tolist()
        values["mean_iou"] += segmentation.mean_iou(*maps, per_class=True, **options)[0].tolist()
    return {name: np.array(column, np.float32) for name, column in values.items()}


def takes(pair: LabelMapPair) -> bool:
    """Its segmentation metrics ignore no label."""
    return pair.ignore_label is None


def _hausdorff(pair: MaskPair) -> float:
    """Two axes only; NaN where it raises: both masks empty, or an image higher than wide."""
    import torch
    from torchmetrics.functional.segmentation import hausdorff_distance

    if pair.reference.ndim != 2:
        return math.nan
    reference, prediction = (torch.as_tensor(mask[None, None].astype(np.int64)) for mask in pair.masks)
    try:
        return hausdorff_distance(
            prediction, reference, num_classes=1, include_background=True, spacing=list(pair.spacing_mm)
        ).item()
    except (RuntimeError, IndexError):
        return math.nan


def _import() -> None:
    """Import torchmetrics, also where torchvision is there but does not fit this build of torch.

    torchmetrics imports torchvision, where it is installed, for metrics of generated images, which are not ours.
    """
    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        from lightning_utilities.core.imports import RequirementCache

        check = RequirementCache.__bool__
        RequirementCache.__bool__ = lambda self: not str(self.requirement).startswith("torchvision") and check(self)
    import torchmetrics  # noqa: F401
