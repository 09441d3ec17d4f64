"""The metrics of a structure: name, unit, direction, definition and the function that measures each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from segeval.lesions import lesion_f1, lesion_precision, lesion_recall, panoptic_quality
from segeval.mask_pair import MaskPair
from segeval.surface import assd_mm, hausdorff_mm, hd95_mm, masd_mm, nsd

__all__ = ["DEFAULT_METRICS", "METRICS", "Metric"]


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric of one structure in one case.

    Attributes:
        name: its name in Python, in files and on the command line.
        title: its name for people.
        unit: "" (a share, or another number without a unit), "mm" or "ml".
        better: "higher" or "lower", which decides what the worst value is.
        family: what it is made of: "overlap", "volume", "surface" or "lesion".
        definition: what it is, in a sentence without a full stop.
        measure: its value for two structures, float.
        largest: the worst value of what has no unit and is better low; `math.inf` where there is no bound.
    """

    name: str
    title: str
    unit: Literal["", "mm", "ml"]
    better: Literal["higher", "lower"]
    family: Literal["overlap", "volume", "surface", "lesion"]
    definition: str
    measure: Callable[[MaskPair], float]
    largest: float = 1.0

    @property
    def worst_anywhere(self) -> float | None:
        """The worst value where all images have the same: 0 of what is better high, `largest` of a share; else None."""
        if self.better == "higher":
            return 0.0
        return self.largest if self.unit == "" else None

    @property
    def worst_in_words(self) -> str:
        """What the worst value is."""
        if self.worst_anywhere is not None:
            return f"{self.worst_anywhere:g}"
        is_distance = self.unit == "mm"
        return "the diagonal of the image in mm (norm of shape × spacing)" if is_distance else "the volume of the image"

    def worst(self, pair: MaskPair) -> float:
        """Give the worst value by its direction: 0 or `largest`, else the diagonal or the volume of the image."""
        if self.worst_anywhere is not None:
            return self.worst_anywhere
        return pair.diagonal_mm if self.unit == "mm" else pair.image_ml


def _overlap(name: str, title: str, definition: str, family: Literal["overlap", "volume"] = "overlap") -> Metric:
    return Metric(name, title, "", "higher", family, definition, lambda pair: float(pair.overlap[name][1]))


def _distance(name: str, title: str, measure: Callable[[MaskPair], float], definition: str) -> Metric:
    return Metric(name, title, "mm", "lower", "surface", definition, measure)


def _lesion(name: str, title: str, function: Callable[..., float], definition: str) -> Metric:
    return Metric(name, title, "", "higher", "lesion", definition, lambda pair: function(pair.lesions))


_ALL = (
    _overlap("dice", "Dice", "2 TP / (2 TP + FP + FN)"),
    _overlap("jaccard", "IoU", "intersection over union, TP / (TP + FP + FN)"),
    _overlap("precision", "Precision", "TP / (TP + FP)"),
    _overlap("sensitivity", "Sensitivity", "TP / (TP + FN), also called recall"),
    _overlap("specificity", "Specificity", "TN / (TN + FP)"),
    _overlap(
        "volume_similarity",
        "Volume similarity",
        "1 - |V_pred - V_ref| / (V_pred + V_ref), blind to place",
        family="volume",
    ),
    Metric(
        "absolute_volume_difference_ml",
        "Volume difference",
        "ml",
        "lower",
        "volume",
        "|V_pred - V_ref|; none for an image of two axes",
        lambda pair: abs(pair.fp - pair.fn) * pair.voxel_ml,
    ),
    _distance(
        "hausdorff_mm",
        "Hausdorff",
        lambda pair: hausdorff_mm(pair.distances),
        "the largest distance from either surface to the other",
    ),
    _distance(
        "hd95_mm",
        "HD95",
        lambda pair: hd95_mm(pair.distances, pair.conventions.hd95),
        "the 95th percentile of the distances between the surfaces",
    ),
    _distance(
        "assd_mm",
        "ASSD",
        lambda pair: assd_mm(pair.distances),
        "average symmetric surface distance: the mean over both surfaces together",
    ),
    _distance(
        "masd_mm",
        "MASD",
        lambda pair: masd_mm(pair.distances),
        "mean average surface distance: the mean of the two directed means",
    ),
    Metric(
        "nsd",
        "NSD",
        "",
        "higher",
        "surface",
        "normalised surface Dice: the share of both surfaces that lies within the tolerance of the other",
        lambda pair: nsd(pair.distances, pair.tolerance_mm),
    ),
    _lesion("lesion_precision", "Lesion precision", lesion_precision, "share of the predicted lesions that are true"),
    _lesion("lesion_recall", "Lesion recall", lesion_recall, "share of the reference's lesions that were found"),
    _lesion("lesion_f1", "Lesion F1", lesion_f1, "harmonic mean of lesion precision and recall"),
    _lesion(
        "panoptic_quality",
        "Panoptic quality",
        panoptic_quality,
        "sum of the IoU of the matched lesions / (TP + FP / 2 + FN / 2)",
    ),
)

METRICS: dict[str, Metric] = {metric.name: metric for metric in _ALL}
"""All metrics by name, in the order in which tables show them."""

DEFAULT_METRICS = tuple(metric.name for metric in _ALL if metric.family != "lesion")
"""Those measured unless others are asked for: all but the lesion-wise ones."""
