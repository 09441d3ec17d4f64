"""Odd cases: those that lie far from the others of their study, each with the numbers and the reason."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from imgmed.measures import CaseMeasures

__all__ = ["FEWEST_CASES", "OUTSIDE", "OddKind", "Oddity", "Outlier", "find_oddities", "outliers"]

OddKind = Literal[
    "intensity", "spacing", "shape", "label_volume", "label_absent", "label_border", "label_outside_body", "unlabelled"
]

FEWEST_CASES = 5  # fewer cases do not tell what is usual
DEVIATIONS = 3.5  # robust standard deviations: Iglewicz and Hoaglin (1993)
NORMAL_CONSISTENT = 1.4826  # times the median absolute deviation is the standard deviation of normal values
FACTORS = {"spacing": 1.5, "shape": 2.0, "label_volume": 3.0, "intensity": 20.0}
"""Closer to the median than by this factor nothing is odd, however alike the others are."""
OFFSET = 0.5  # the darkest intensities are odd from this part of the usual spread away from the usual ones
RARE = 0.05  # what happens in at most this part of the cases is odd where it happens
OUTSIDE = 0.1  # part of a label in the air around the body that edges and coarseness do not explain
AXES = ("left-right", "back-front", "foot-head")


class Oddity(BaseModel):
    """One thing that is odd about one case."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    case_id: str = Field(description="The case.")
    kind: OddKind = Field(description="What is odd.")
    sentence: str = Field(description="What was found, what is usual, and from where on it is odd.")


class Outlier(NamedTuple):
    """A value far from the others: it, their median, and the factor from the median at which odd begins."""

    value: float
    median: float
    limit: float


def outliers(values: Mapping[str, float], least_factor: float) -> dict[str, Outlier]:
    """Return the values whose logarithm lies far from the median of all.

    Far is 3.5 robust standard deviations (1.4826 times the median absolute deviation) and at least
    `least_factor`; so nothing is odd where all are alike, and one value that differs among equal ones is.

    Args:
        values: positive, by case; fewer than 5 have no outliers.
        least_factor: above 1.

    Source: Iglewicz and Hoaglin, How to detect and handle outliers, ASQC (1993).

    >>> outliers({"a": 1.0, "b": 1.0, "c": 1.1, "d": 0.9, "e": 10.0}, 1.5)["e"].median
    1.0
    """
    if len(values) < FEWEST_CASES:
        return {}
    logarithms = np.log(np.fromiter(values.values(), np.float64, len(values)))
    middle = float(np.median(logarithms))
    distances = np.abs(logarithms - middle)
    limit = max(DEVIATIONS * NORMAL_CONSISTENT * float(np.median(distances)), math.log(least_factor))
    median, factor = math.exp(middle), math.exp(limit)
    return {
        case_id: Outlier(value, median, factor)
        for (case_id, value), distance in zip(values.items(), distances, strict=True)
        if distance > limit * (1 + 1e-9)
    }


def find_oddities(measures: Mapping[str, CaseMeasures], channels: Sequence[str]) -> tuple[Oddity, ...]:
    """Return what is odd about cases, in the order of the cases.

    Args:
        measures: of every case of a study; the channels of all are the same.
        channels: their names.
    """
    found = [*_geometry(measures), *_intensities(measures, channels), *_labels(measures)]
    order = {case_id: place for place, case_id in enumerate(measures)}
    return tuple(sorted(found, key=lambda oddity: order[oddity.case_id]))


def _geometry(measures: Mapping[str, CaseMeasures]) -> Iterator[Oddity]:
    quantities: tuple[tuple[OddKind, str, str, Callable[[CaseMeasures], Sequence[float]]], ...] = (
        ("spacing", "spacing", "mm", lambda case: case.canonical_spacing_mm),
        ("shape", "size", "voxels", lambda case: case.canonical_shape),
    )
    for kind, noun, unit, read in quantities:
        for axis, name in enumerate(AXES):
            values = {case_id: float(read(case)[axis]) for case_id, case in measures.items()}
            for case_id, outlier in outliers(values, FACTORS[kind]).items():
                yield Oddity(
                    case_id=case_id, kind=kind, sentence=_far(f"{noun} along {name}", unit, outlier, len(values))
                )


def _intensities(measures: Mapping[str, CaseMeasures], channels: Sequence[str]) -> Iterator[Oddity]:
    for number, name in enumerate(channels):
        of_case = {case_id: case.channels[number] for case_id, case in measures.items()}
        for case_id, channel in of_case.items():
            if channel.minimum == channel.maximum:
                sentence = f"all voxels of {name} have the intensity {channel.minimum:.4g}: the image shows nothing"
                yield Oddity(case_id=case_id, kind="intensity", sentence=sentence)
        spreads = {case_id: channel.spread for case_id, channel in of_case.items() if channel.spread > 0}
        far = outliers(spreads, FACTORS["intensity"])
        for case_id, outlier in far.items():
            what = f"spread of the intensities of {name} (0.5 to 99.5 percentile)"
            sentence = _far(what, "", outlier, len(spreads)) + "; another unit, scanner or export?"
            yield Oddity(case_id=case_id, kind="intensity", sentence=sentence)
        usual = {case_id: of_case[case_id].percentiles[0] for case_id in spreads if case_id not in far}
        yield from _offsets(usual, spreads, name)


def _offsets(darkest: Mapping[str, float], spreads: Mapping[str, float], channel: str) -> Iterator[Oddity]:
    """Cases whose intensities begin elsewhere than those of the others, such as a CT stored without its -1024."""
    if len(darkest) < FEWEST_CASES:
        return
    values = np.fromiter(darkest.values(), np.float64, len(darkest))
    middle = float(np.median(values))
    distances = np.abs(values - middle)
    least = OFFSET * float(np.median([spreads[case_id] for case_id in darkest]))
    limit = max(DEVIATIONS * NORMAL_CONSISTENT * float(np.median(distances)), least)
    for (case_id, value), distance in zip(darkest.items(), distances, strict=True):
        if distance > limit:
            sentence = (
                f"the darkest intensities of {channel} (0.5 percentile) are {value:.4g}; the median of"
                f" {len(values)} cases is {middle:.4g}, and odd begins {limit:.4g} from it; an offset, or padding?"
            )
            yield Oddity(case_id=case_id, kind="intensity", sentence=sentence)


def _labels(measures: Mapping[str, CaseMeasures]) -> Iterator[Oddity]:
    labelled = {case_id: case for case_id, case in measures.items() if case.labels}
    empty = {case_id for case_id, case in labelled.items() if not any(one.voxels for one in case.labels.values())}
    for case_id in sorted(empty):
        yield Oddity(case_id=case_id, kind="unlabelled", sentence="no voxel of the label map is labelled")
    for name in dict.fromkeys(name for case in labelled.values() for name in case.labels):
        having = {case_id: case for case_id, case in labelled.items() if case.labels[name].voxels}
        yield from _absences(name, [case_id for case_id in labelled if case_id not in having], len(labelled), empty)
        volumes = {case_id: case.labels[name].volume_ml for case_id, case in having.items()}
        for case_id, outlier in outliers(volumes, FACTORS["label_volume"]).items():
            sentence = _far(f"volume of {name}", "ml", outlier, len(volumes))
            yield Oddity(case_id=case_id, kind="label_volume", sentence=sentence)
        yield from _at_the_border(name, having)
        yield from _outside(name, having)


def _absences(name: str, lacking: Sequence[str], count: int, empty: set[str]) -> Iterator[Oddity]:
    if count >= FEWEST_CASES and len(lacking) <= max(1, RARE * count):
        for case_id in lacking:
            if case_id not in empty:
                sentence = f"{name} is absent; {count - len(lacking)} of {count} cases have it"
                yield Oddity(case_id=case_id, kind="label_absent", sentence=sentence)


def _at_the_border(name: str, having: Mapping[str, CaseMeasures]) -> Iterator[Oddity]:
    touching = {case_id: case.labels[name].border for case_id, case in having.items() if case.labels[name].border}
    if len(touching) <= RARE * len(having):  # where many do, the images are cropped like that
        for case_id, faces in touching.items():
            sentence = (
                f"{name} touches the border of the image ({', '.join(faces)}), as in {len(touching)} of"
                f" {len(having)} cases: cut off?"
            )
            yield Oddity(case_id=case_id, kind="label_border", sentence=sentence)


def _outside(name: str, having: Mapping[str, CaseMeasures]) -> Iterator[Oddity]:
    shares = {
        case_id: share for case_id, case in having.items() if (share := case.labels[name].outside_body) is not None
    }
    if not shares or (len(shares) >= FEWEST_CASES and float(np.median(list(shares.values()))) > OUTSIDE / 2):
        return  # the label belongs outside, or what looks like air is none
    for case_id, share in shares.items():
        if share > OUTSIDE:
            sentence = (
                f"{100 * share:.0f} % of {name} lie in the air around the body; odd begins at {100 * OUTSIDE:.0f} %;"
                " is the label map shifted or turned against the image?"
            )
            yield Oddity(case_id=case_id, kind="label_outside_body", sentence=sentence)


def _far(what: str, unit: str, outlier: Outlier, count: int) -> str:
    """Say how far a value lies from the others, as a factor above or a part below."""
    value, median, limit = outlier
    times = f"{value / median:.3g} times" if value > median else f"1/{median / value:.3g} of"
    unit = f" {unit}" if unit else ""
    return (
        f"{what} is {value:.4g}{unit}, {times} the median of {count} cases ({median:.4g}{unit});"
        f" odd begins at a factor of {limit:.3g}"
    )
