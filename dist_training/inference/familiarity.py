"""How a scan is told that is unlike those that a network was trained on, and how often one like them is."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from imgmed import PreparedDataset
from imgmed.errors import ImgMedError
from imgmed.fingerprint import read_fingerprint
from imgmed.fingerprint.measures import PERCENTILES, CaseMeasures, ChannelMeasures

__all__ = ["FamiliarRange", "Familiarity", "familiarity_of", "familiarity_with"]

RATE = 0.05  # of scans like those of the training that are to be told as unlike, at most
FEWEST_PATIENTS = 5
MOST_LEFT_OUT = 1000  # patients that are left out in turn, evenly spread: more tell little more
TAILS = (0.05, 0.95)
LEAST_FACTOR = 1.1  # within this factor of the usual nothing is unlike, however alike the training scans are
LEAST_SHARE = 0.05  # of the range of the intensities, likewise
AS_IT_IS = ("none", "zscore_dataset")  # normalisations that leave a scan its own scale of intensities

AXES, SIDES = ("left-right", "back-front", "foot-head"), ("width", "height")


class _Measure(NamedTuple):
    """A number about a scan: of `is_log` the logarithms are compared; closer than `least` nothing is unlike."""

    name: str
    value: float
    unit: str
    is_log: bool
    least: float

    @property
    def compared(self) -> float:
        return math.log(self.value) if self.is_log else self.value


class FamiliarRange(BaseModel):
    """What a measure of a scan is, where it is like the training scans."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: str = Field(description="What is measured.")
    unit: str = Field(description="Its unit.")
    low: float = Field(description="Lowest value that is like the training scans.")
    high: float = Field(description="Highest.")


class MeasuredHow(BaseModel):
    """What matters about a scan to a network."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    slice_axis: int = Field(default=2, description="Axis across which slices are counted, as in the preparation.")
    sees_units: bool = Field(default=False, description="Whether intensities count in the units of the scan too.")
    in_pixels: bool = Field(default=False, description="Whether all are pictures, without a size in millimetres.")


class Familiarity(BaseModel):
    """What scans that are like the training scans have in common, and how well that tells them.

    Every measure has a range; a scan with any measure outside is unlike. All ranges together are as wide as lets in
    such a share of the training scans, each patient's judged by ranges made without that patient: so a scan that is
    as if drawn with them is told as unlike at most at the expected rate (conformal prediction, left out in turn).

    >>> ranges = (FamiliarRange(name="spacing foot-head", unit="mm", low=0.9, high=1.1),)
    >>> Familiarity(ranges=ranges, patients=20, expected_rate=0.05, held_out=0, alarms=0).expected_rate
    0.05
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    ranges: tuple[FamiliarRange, ...] = Field(description="Of every measure.")
    modalities: tuple[str, ...] = Field(default=(), description="Of the training scans, by DICOM; empty: none known.")
    body_parts: tuple[str, ...] = Field(default=(), description="Likewise.")
    measured: MeasuredHow = Field(default_factory=MeasuredHow, description="What is measured.")
    patients: int = Field(description="Training patients that the ranges come from.")
    expected_rate: float = Field(description="Share of scans like the training's that are told as unlike, at most.")
    held_out: int = Field(description="Validation and test cases that were looked at after that.")
    alarms: int = Field(description="How many of them are told as unlike.")
    alarm_rate_low: float | None = Field(default=None, description="95 % interval of their share, Clopper-Pearson.")
    alarm_rate_high: float | None = Field(default=None, description="Its upper end.")

    def unlike(self, measures: CaseMeasures, channels: Sequence[str]) -> tuple[str, ...]:
        """Say in what a scan is unlike the training scans, what is most so first; nothing: it is like them.

        Args:
            measures: of the scan as it lies in its files, with the network's channels alone.
            channels: their names.
        """
        found, ranges = [], {one.name: one for one in self.ranges}
        for measure in _measured(measures, channels, self.measured):
            familiar = ranges.get(measure.name)  # what an earlier version measured may be less
            distance = 0.0 if familiar is None else _distance(measure, familiar)
            if familiar is not None and distance > 0:
                value, low, high = (_number(number) for number in (measure.value, familiar.low, familiar.high))
                shown = f"{value} {measure.unit}".strip()
                found.append((distance, f"{measure.name}: {shown}, training {low} to {high}"))
        found.sort(key=lambda pair: -pair[0])
        said = _categories_unlike(measures, self.modalities, self.body_parts)
        return (*said, *(phrase for _, phrase in found))


def familiarity_of(dataset: PreparedDataset) -> Familiarity | None:
    """Learn what the training scans of a dataset have in common, and count how its other cases are told.

    The measures are those of the dataset's fingerprint; nothing but its training cases decides about ranges.

    Args:
        dataset: the prepared dataset, with the splits that the network is trained by.

    Returns:
        None: fewer than five training patients, or a dataset without a fingerprint.
    """
    splits = dataset.original_splits
    preparation = dataset.scan_preparation
    sees_units = dataset.description.normalisation in AS_IT_IS or any(
        getattr(operation, "bounds", None) is not None for operation in preparation.operations
    )
    patients = {case_id: dataset.case(case_id).patient_id for case_id in splits.train}
    return _learned(
        dataset.folder,
        tuple(patients.items()),
        (*splits.validation, *splits.test),
        dataset.channels,
        MeasuredHow(slice_axis=preparation.slice_axis, sees_units=sees_units, in_pixels=not dataset.words.is_placed),
    )


@lru_cache(maxsize=1)  # a run asks whenever its network is the best so far
def _learned(
    folder: Path,
    trained: tuple[tuple[str, str], ...],
    held_out: tuple[str, ...],
    channels: tuple[str, ...],
    how: MeasuredHow,
) -> Familiarity | None:
    try:
        cases = read_fingerprint(folder).cases
    except ImgMedError:  # of an earlier version: there is nothing to learn from
        return None
    known = [(case_id, patient_id) for case_id, patient_id in trained if case_id in cases]
    return familiarity_with(
        [cases[case_id] for case_id, _ in known],
        [patient_id for _, patient_id in known],
        [cases[case_id] for case_id in held_out if case_id in cases],
        channels,
        how,
    )


def familiarity_with(
    trained: Sequence[CaseMeasures],
    patients: Sequence[str],
    held_out: Sequence[CaseMeasures],
    channels: Sequence[str],
    how: MeasuredHow | None = None,
    rate: float = RATE,
) -> Familiarity | None:
    """Learn what scans have in common, see `familiarity_of`.

    Args:
        trained: measures of the training cases.
        patients: patient of each.
        held_out: measures of other cases, which are counted.
        channels: names of the channels.
        how: what is measured; None: as of volumes whose intensities are normalised one by one.
        rate: expected share of alarms; with fewer than 1 / rate patients the smallest possible is taken.
    """
    names, how = tuple(dict.fromkeys(patients)), how or MeasuredHow()
    if len(names) < FEWEST_PATIENTS:
        return None
    listed = [_measured(one, channels, how) for one in trained]
    table, least_of_each = (
        np.array([[getattr(measure, name) for measure in one] for one in listed]) for name in ("compared", "least")
    )
    least = np.median(least_of_each, axis=0)
    owner = np.array([names.index(patient) for patient in patients])
    scores = _scores_left_out(table, owner, len(names), least)
    rank = min(len(scores), math.ceil((1 - rate) * (len(scores) + 1)))
    middle, below, above = _location(table, least)
    # where all are alike, the least widths are what is allowed
    width = max(1.0, float(np.sort(scores)[rank - 1]))
    ends = np.stack([middle - width * below, middle + width * above], axis=1).tolist()
    ranges = []
    for measure, limits in zip(listed[0], ends, strict=True):
        low, high = map(math.exp, limits) if measure.is_log else limits
        ranges.append(FamiliarRange(name=measure.name, unit=measure.unit, low=low, high=high))
    learned = Familiarity(
        ranges=tuple(ranges),
        modalities=_shared(((one.modality, who) for one, who in zip(trained, patients, strict=True))),
        body_parts=_shared(((one.body_part, who) for one, who in zip(trained, patients, strict=True))),
        measured=how,
        patients=len(names),
        expected_rate=(len(scores) + 1 - rank) / (len(scores) + 1),
        held_out=0,
        alarms=0,
    )
    return _counted(learned, held_out, channels)


def _counted(learned: Familiarity, held_out: Sequence[CaseMeasures], channels: Sequence[str]) -> Familiarity:
    if not held_out:
        return learned
    from scipy.special import betaincinv

    alarms = sum(bool(learned.unlike(one, channels)) for one in held_out)
    quiet = len(held_out) - alarms
    return learned.model_copy(
        update={
            "held_out": len(held_out),
            "alarms": alarms,
            "alarm_rate_low": float(betaincinv(alarms, quiet + 1, 0.025)) if alarms else 0.0,
            "alarm_rate_high": float(betaincinv(alarms + 1, quiet, 0.975)) if quiet else 1.0,
        }
    )


def _scores_left_out(
    table: NDArray[np.float64], owner: NDArray[np.intp], patients: int, least: NDArray[np.float64]
) -> NDArray[np.float64]:
    """How far each patient lies from the others: float64 (patients,), the largest over measures, and over their scans.

    Taking a patient's farthest scan can only widen the ranges.
    """
    chosen = np.unique(np.linspace(0, patients - 1, min(patients, MOST_LEFT_OUT)).astype(int))
    scores = []
    for patient in chosen:
        own = owner == patient
        middle, below, above = _location(table[~own], least)
        away = table[own] - middle
        scores.append(np.where(away > 0, away / above, -away / below).max())
    return np.array(scores)


def _location(
    table: NDArray[np.float64], least: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """The median of each measure, and how far below and above it the 5 and 95 percentiles lie, at least `least`."""
    low, middle, high = np.quantile(table, (TAILS[0], 0.5, TAILS[1]), axis=0)
    return middle, np.maximum(middle - low, least), np.maximum(high - middle, least)


def _measured(measures: CaseMeasures, channels: Sequence[str], how: MeasuredHow) -> list[_Measure]:
    """The measures of a scan: where it lies and how large it is, and of each channel its intensities."""
    factor = math.log(LEAST_FACTOR)
    shape, spacing = measures.canonical_shape, measures.canonical_spacing_mm
    found = []
    if how.in_pixels:
        found += [_Measure(name, float(size), "pixels", True, factor) for name, size in zip(SIDES, shape, strict=False)]
    else:
        for axis, size, mm in zip(AXES, shape, spacing, strict=True):
            found.append(_Measure(f"spacing {axis}", mm, "mm", True, factor))
            found.append(_Measure(f"extent {axis}", mm * size, "mm", True, factor))
        found.append(_Measure("slices", float(shape[how.slice_axis]), "", True, factor))
    for name, channel in zip(channels, measures.channels, strict=True):
        found += _of_channel(name, channel, how.sees_units)
    return found


def _of_channel(name: str, channel: ChannelMeasures, sees_units: bool) -> Iterator[_Measure]:
    """The shape of the histogram of a channel, which normalisation leaves as it is; and its numbers, if it leaves them.

    The range of a channel is that from its 0.5 to its 99.5 percentile.
    """
    lowest, *inner, highest = channel.percentiles
    spread = channel.spread or (channel.maximum - channel.minimum) or 1.0
    unit, least = "% of its range", 100 * LEAST_SHARE
    for percentile, value in zip(PERCENTILES[1:-1], inner, strict=True):
        yield _Measure(f"{name} {percentile:g}th percentile", 100 * (value - lowest) / spread, unit, False, least)
    yield _Measure(f"{name} standard deviation", 100 * channel.std / spread, unit, False, least)
    for word, reach in (("brightest", channel.maximum - lowest), ("darkest", highest - channel.minimum)):
        yield _Measure(
            f"{name} reach of the {word}", 100 * max(reach / spread, 1.0), unit, True, math.log(LEAST_FACTOR)
        )
    if sees_units:
        for word, value in (("dark", lowest), ("median", channel.median), ("bright", highest)):
            yield _Measure(f"{name} {word} intensity", value, "", False, LEAST_SHARE * spread)


def _shared(pairs: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    """The values of training scans, where none is of a single patient only; else nothing is told by them."""
    owners: dict[str, set[str]] = {}
    for value, patient in pairs:
        if value:
            owners.setdefault(value, set()).add(patient)
    return tuple(sorted(owners)) if all(len(who) > 1 for who in owners.values()) else ()


def _categories_unlike(measures: CaseMeasures, modalities: Sequence[str], body_parts: Sequence[str]) -> Iterator[str]:
    for name, value, known in (
        ("modality", measures.modality, modalities),
        ("body part", measures.body_part, body_parts),
    ):
        if value and known and value not in known:
            yield f"{name} {value}, training {', '.join(known)}"


def _distance(measure: _Measure, familiar: FamiliarRange) -> float:
    """How far a measure lies outside of its range, in widths of that; 0 within."""
    low, high, at = familiar.low, familiar.high, measure.value
    if measure.is_log:
        low, high, at = math.log(low), math.log(high), math.log(at)
    rounding = 1e-9 * max(1.0, abs(low), abs(high))
    return max(0.0, low - at - rounding, at - high - rounding) / max(high - low, 1e-12)


def _number(value: float) -> str:
    """Three digits, or all of a whole part.

    >>> _number(1234.5), _number(0.98765)
    ('1234', '0.988')
    """
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"
