"""Conventions: every choice that a segmentation metric leaves open, in one place, stored beside every result."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from r2d2_base.settings_faults import settings_faults
from segeval.empty_conventions import ON_EMPTY, EmptyPolicy
from segeval.errors import MetricArgumentError
from segeval.metrics import DEFAULT_METRICS, METRICS

__all__ = ["Conventions", "build_conventions", "describe_conventions", "empty_policy"]


class Conventions(BaseModel):
    """How the numbers of an evaluation are made. Every default works; each choice has a name.

    Example:
        >>> Conventions(surface="area_weighted").hd95
        'max_of_directed'
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    metrics: tuple[str, ...] = Field(
        default=DEFAULT_METRICS,
        description="Metrics of each label, by name; the lesion-wise ones only where asked for.",
    )
    on_empty: str = Field(
        default="penalise",
        description="What a value is where a structure is in neither, or in only one, of reference and prediction:"
        " penalise (neither: no value; one: the worst), infinite (distances inf), or the name of a library whose"
        " convention is followed.",
    )
    surface: Literal["voxel", "area_weighted"] = Field(
        default="voxel",
        description="voxel: border voxels count alike (MedPy, MONAI); area_weighted: surface elements count by their"
        " area (DeepMind's surface-distance).",
    )
    hd95: Literal["max_of_directed", "pooled"] = Field(
        default="max_of_directed",
        description="max_of_directed: the larger of the two directed 95th percentiles; pooled: the 95th percentile of"
        " both directions together (MedPy).",
    )
    tolerance_mm: float | dict[str, float] = Field(
        default=1.0, description="Tolerance of nsd in mm, for all labels or {label name: mm}."
    )
    lesion_connectivity: Literal["face", "edge", "vertex"] = Field(
        default="vertex", description="Voxels of one lesion touch by a face, an edge or a vertex."
    )
    lesion_match: Literal["iou", "overlap"] = Field(
        default="iou",
        description="iou: a lesion is found by a predicted one with an IoU above 0.5; overlap: by any shared voxel.",
    )

    @field_validator("metrics")
    @classmethod
    def _known_metrics(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [name for name in names if name not in METRICS]
        if unknown or not names:
            raise ValueError(f"metrics must be among {', '.join(METRICS)}; received {', '.join(unknown) or 'none'}")
        return tuple(name for name in METRICS if name in names)

    @field_validator("on_empty")
    @classmethod
    def _known_convention(cls, name: str) -> str:
        if name not in ON_EMPTY:
            raise ValueError(f"on_empty must be one of {', '.join(ON_EMPTY)}; received {name}")
        return name

    @field_validator("tolerance_mm")
    @classmethod
    def _positive_tolerance(cls, tolerance: float | dict[str, float]) -> float | dict[str, float]:
        values = tolerance.values() if isinstance(tolerance, dict) else [tolerance]
        if not values or not all(math.isfinite(value) and value >= 0 for value in values):
            raise ValueError(f"tolerance_mm must be 0 or more, in mm; received {tolerance}")
        return tolerance

    def tolerance_of(self, label_name: str) -> float:
        """Give the tolerance of a label in mm.

        Args:
            label_name: name of the label.

        Returns:
            mm.

        Raises:
            MetricArgumentError: tolerances were given by name, without this one.

        Example:
            >>> Conventions(tolerance_mm={"liver": 3.0}).tolerance_of("liver")
            3.0
        """
        if not isinstance(self.tolerance_mm, dict):
            return self.tolerance_mm
        if label_name not in self.tolerance_mm:
            raise MetricArgumentError(
                f"tolerance_mm must name every label; received {', '.join(self.tolerance_mm)} without {label_name}"
            )
        return self.tolerance_mm[label_name]


def build_conventions(
    conventions: Conventions | None = None, choices: Mapping[str, object] | None = None
) -> Conventions:
    """Put conventions together from a starting point and single choices.

    Args:
        conventions: where to start; None: the defaults.
        choices: fields of `Conventions` that differ from it.

    Returns:
        The conventions, checked.

    Raises:
        MetricArgumentError: no `Conventions` to start from, an unknown field or a value that breaks its rule; all
            faults in one error.

    Example:
        >>> build_conventions(choices={"on_empty": "nnunet"}).on_empty
        'nnunet'
    """
    if conventions is not None and not isinstance(conventions, Conventions):
        raise MetricArgumentError(
            f"conventions must be Conventions, or choices given by name; received {type(conventions).__name__}"
        )
    if not choices:
        return conventions or Conventions()
    start = conventions.model_dump() if conventions is not None else {}
    try:
        return Conventions(**{**start, **choices})
    except ValidationError as error:
        raise MetricArgumentError("; ".join(settings_faults(error, Conventions))) from None


def empty_policy(conventions: Conventions, metric: str) -> tuple[EmptyPolicy, str]:
    """Find what a metric is where a structure is missing, and whose convention that is.

    Args:
        conventions: the conventions.
        metric: name of a metric.

    Returns:
        The policy, and the name of the convention that it comes from: "penalise" where the library named in
        `on_empty` does not have this metric.

    Example:
        >>> empty_policy(Conventions(on_empty="nnunet"), "hd95_mm")[1]
        'penalise'
    """
    policies = ON_EMPTY[conventions.on_empty]
    return (
        (policies[metric], conventions.on_empty) if metric in policies else (ON_EMPTY["penalise"][metric], "penalise")
    )


def describe_conventions(conventions: Conventions) -> dict[str, str]:
    """Say in words how each number is made; a copy goes into every `summary.json`.

    Args:
        conventions: the conventions.

    Returns:
        One sentence for each choice, by its name.

    Example:
        >>> describe_conventions(Conventions(metrics=("dice",)))["dice, structure in neither"]
        'no value, left out of the mean and counted'
    """
    words = {
        "mean of a label": "over cases; values that do not exist are left out and counted",
        "foreground mean": "for each label the mean over cases, then the mean over labels; the background is not in it",
        "mean of cases": "for each case the mean over labels, then the mean over cases; the background is not in it",
        "confidence interval": (
            "percentile bootstrap over patients, who are drawn whole; none (NaN) with fewer than two patients"
        ),
        "image and pooled figures": (
            "pixel accuracy, mean accuracy, mean IoU and frequency-weighted IoU of Long et al. (2015), the background"
            " included as a class; pooled: on one confusion matrix over all voxels of all cases"
        ),
        "one value": "from the whole volume, never an average over its slices unless unit is slice",
    }
    families = {METRICS[name].family for name in conventions.metrics}
    if "surface" in families:
        words["surface"] = _SURFACES[conventions.surface]
    if "hd95_mm" in conventions.metrics:
        words["hd95_mm variant"] = _HD95[conventions.hd95]
    if "nsd" in conventions.metrics:
        tolerance = conventions.tolerance_mm
        listed = tolerance.items() if isinstance(tolerance, dict) else [("every label", tolerance)]
        words["nsd tolerance"] = ", ".join(f"{name} {value:g} mm" for name, value in listed)
    if "lesion" in families:
        words["lesions"] = (
            f"connected components of voxels that touch by a {conventions.lesion_connectivity} or less;"
            f" {_LESION_MATCH[conventions.lesion_match]}"
        )
    for name in conventions.metrics:
        policy, source = empty_policy(conventions, name)
        if source != conventions.on_empty:
            words[f"{name}, convention"] = f"{conventions.on_empty} has none for it; penalise is used"
        words[f"{name}, structure in neither"] = _policy_words(name, policy.both_empty)
        words[f"{name}, not in the reference"] = _policy_words(name, policy.reference_empty)
        words[f"{name}, missed"] = _policy_words(name, policy.prediction_empty)
    return words


_SURFACES = {
    "voxel": (
        "border voxels: voxels of the structure with a face neighbour outside it or beyond the image, all alike; along"
        " axes of the image that are one voxel long there are no neighbours"
    ),
    "area_weighted": (
        "elements of a surface between the voxel centres, each weighted by its area; by its length in 2D and in"
        " volumes of one slice"
    ),
}
_HD95 = {
    "max_of_directed": "the larger of the two directed 95th percentiles",
    "pooled": "the 95th percentile of the distances of both directions together",
}
_LESION_MATCH = {
    "iou": "a lesion is found by the one predicted lesion whose IoU with it is above 0.5",
    "overlap": "a lesion is found, and a predicted one true, by any voxel shared with the other side",
}


def _policy_words(metric: str, value: float | str) -> str:
    if value == "worst":
        return f"the worst value: {METRICS[metric].worst_in_words}"
    if value == "measured":
        return "as measured"
    number = float(value)
    return "no value, left out of the mean and counted" if math.isnan(number) else f"{number:g}"
