"""Odd cases: those that lie far from the others of their study, each with the numbers and the reason."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from imgmed.fingerprint.measures import CaseMeasures
from imgmed.fingerprint.words import SCANS, Words

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


class Oddity(BaseModel):
    """One thing that is odd about one case."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    case_id: str = Field(description="The case.")
    kind: OddKind = Field(description="What kind of thing is odd.")
    subject: str = Field(description="What is odd: the quantity, with its unit.")
    found: str = Field(description="What this case has.")
    rule: str = Field(description="What is usual, from where on it is odd, and what may be behind it.")

    @property
    def sentence(self) -> str:
        """All of it in one sentence, without the case."""
        return f"{self.subject}: {self.found}; {self.rule}"


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


def find_oddities(
    measures: Mapping[str, CaseMeasures], channels: Sequence[str], words: Words = SCANS
) -> tuple[Oddity, ...]:
    """Return what is odd about cases, in the order of the cases.

    Args:
        measures: of every case of a study; the channels of all are the same.
        channels: their names.
        words: how quantities are called.
    """
    found = [*_geometry(measures, words), *_intensities(measures, channels), *_labels(measures, words)]
    order = {case_id: place for place, case_id in enumerate(measures)}
    return tuple(sorted(found, key=lambda oddity: order[oddity.case_id]))


def _geometry(measures: Mapping[str, CaseMeasures], words: Words) -> Iterator[Oddity]:
    quantities: tuple[tuple[OddKind, str, Callable[[CaseMeasures], Sequence[float]]], ...] = (
        ("spacing", "spacing in mm along", lambda case: case.canonical_spacing_mm),
        ("shape", f"{words.element} along", lambda case: case.canonical_shape),
    )
    for kind, noun, read in quantities if words.is_placed else quantities[1:]:
        for axis, name in enumerate(words.axes):
            values = {case_id: float(read(case)[axis]) for case_id, case in measures.items()}
            yield from _far(kind, f"{noun} {name}", values, "wrong header, or another protocol?")


def _intensities(measures: Mapping[str, CaseMeasures], channels: Sequence[str]) -> Iterator[Oddity]:
    for number, name in enumerate(channels):
        of_case = {case_id: case.channels[number] for case_id, case in measures.items()}
        for case_id, channel in of_case.items():
            if channel.minimum == channel.maximum:
                yield Oddity(
                    case_id=case_id,
                    kind="intensity",
                    subject=f"intensities of {name}",
                    found=f"{_number(channel.minimum)} in every voxel",
                    rule="such an image shows nothing",
                )
        spreads = {case_id: channel.spread for case_id, channel in of_case.items() if channel.spread > 0}
        subject = f"spread of the intensities of {name}, 0.5 to 99.5 percentile"
        far = list(_far("intensity", subject, spreads, "another unit, scanner or export?"))
        yield from far
        named = {oddity.case_id for oddity in far}
        darkest = {case_id: of_case[case_id].percentiles[0] for case_id in spreads if case_id not in named}
        yield from _offsets(darkest, spreads, name)


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
            yield Oddity(
                case_id=case_id,
                kind="intensity",
                subject=f"darkest intensities of {channel}, 0.5 percentile",
                found=_number(value),
                rule=f"usual is {_number(middle)} (median of {len(values)} cases), odd begins {_number(limit)} from it;"
                " an offset, or padding?",
            )


def _labels(measures: Mapping[str, CaseMeasures], words: Words) -> Iterator[Oddity]:
    labelled = {case_id: case for case_id, case in measures.items() if case.labels}
    empty = {case_id for case_id, case in labelled.items() if not any(one.voxels for one in case.labels.values())}
    for case_id in sorted(empty):
        yield Oddity(
            case_id=case_id,
            kind="unlabelled",
            subject="label map",
            found="no voxel is labelled",
            rule=f"{len(labelled) - len(empty)} of {len(labelled)} cases have labels; a wrong file?",
        )
    for name in dict.fromkeys(name for case in labelled.values() for name in case.labels):
        having = {case_id: case for case_id, case in labelled.items() if case.labels[name].voxels}
        yield from _absences(name, [case_id for case_id in labelled if case_id not in having], len(labelled), empty)
        extents = {case_id: case.labels[name].volume_ml * words.per_ml for case_id, case in having.items()}
        subject = f"{words.extent} of {name} in {words.unit}"
        yield from _far("label_volume", subject, extents, "a part missing, or a wrong label?")
        yield from _at_the_border(name, having, words)
        yield from _outside(name, having) if words.is_placed else ()


def _absences(name: str, lacking: Sequence[str], count: int, empty: set[str]) -> Iterator[Oddity]:
    if count < FEWEST_CASES or len(lacking) > max(1, RARE * count):
        return
    for case_id in lacking:
        if case_id not in empty:
            yield Oddity(
                case_id=case_id,
                kind="label_absent",
                subject=f"label {name}",
                found="absent",
                rule=f"{count - len(lacking)} of {count} cases have it; forgotten?",
            )


def _at_the_border(name: str, having: Mapping[str, CaseMeasures], words: Words) -> Iterator[Oddity]:
    touching = {case_id: case.labels[name].border for case_id, case in having.items() if case.labels[name].border}
    if len(touching) > RARE * len(having):
        return  # the images are cropped like that
    for case_id, faces in touching.items():
        yield Oddity(
            case_id=case_id,
            kind="label_border",
            subject=f"label {name}",
            found=f"touches the border of the image ({', '.join(words.faces_named(faces))})",
            rule=f"in {len(having) - len(touching)} of {len(having)} cases it does not; cut off?",
        )


def _outside(name: str, having: Mapping[str, CaseMeasures]) -> Iterator[Oddity]:
    shares = {
        case_id: share for case_id, case in having.items() if (share := case.labels[name].outside_body) is not None
    }
    if not shares or (len(shares) >= FEWEST_CASES and float(np.median(list(shares.values()))) > OUTSIDE / 2):
        return  # the label belongs outside, or what looks like air is none
    for case_id, share in shares.items():
        if share > OUTSIDE:
            yield Oddity(
                case_id=case_id,
                kind="label_outside_body",
                subject=f"label {name}",
                found=f"{100 * share:.0f} % of it lies in the air around the body",
                rule=f"odd begins at {100 * OUTSIDE:.0f} %; is the label map shifted or turned against the image?",
            )


def _far(kind: OddKind, subject: str, values: Mapping[str, float], question: str) -> Iterator[Oddity]:
    """Cases whose value is a factor above or a part below the usual one."""
    for case_id, (value, median, limit) in outliers(values, FACTORS[kind]).items():
        factor = _number(max(value / median, median / value), 3)
        times = f"{factor} times" if value > median else f"1/{factor} of"
        yield Oddity(
            case_id=case_id,
            kind=kind,
            subject=subject,
            found=f"{_number(value)}, {times} the usual",
            rule=f"usual is {_number(median)} (median of {len(values)} cases), odd begins at a factor of {limit:.3g};"
            f" {question}",
        )


def _number(value: float, digits: int = 4) -> str:
    """Significant digits, in groups of three, without exponents where people write none."""
    if value == 0 or not 1e-3 <= abs(value) < 1e9:
        return f"{value:.{digits}g}"
    return f"{float(f'{value:.{digits}g}'):,.10g}"
