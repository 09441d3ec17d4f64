"""The fingerprint of a prepared dataset: what its cases are like, one by one and together, and what is odd."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from imgmed.errors import NotADatasetError
from imgmed.fingerprint.measures import CaseMeasures
from imgmed.fingerprint.oddities import FEWEST_CASES, OUTSIDE, Oddity, find_oddities
from imgmed.fingerprint.words import SCANS, Words
from imgmed.splits import Splits
from r2d2_base.files import read_json, write_json
from r2d2_base.settings_faults import settings_faults

__all__ = [
    "FILE_NAME",
    "ChannelSummary",
    "Distribution",
    "Fingerprint",
    "LabelSummary",
    "build_fingerprint",
    "read_fingerprint",
    "write_fingerprint",
]

FILE_NAME = "fingerprint.json"
GAP = 3.0  # neighbouring spreads of intensities apart by this factor belong to different groups
SMALLEST_GROUP = 0.05  # of the cases; fewer are odd cases, not a group

_FROZEN = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Distribution(BaseModel):
    """Five numbers about a quantity over cases.

    >>> Distribution.of([1.0, 2.0, 3.0, 4.0, 100.0]).median
    3.0
    """

    model_config = _FROZEN

    minimum: float = Field(description="Smallest.")
    lower_quartile: float = Field(description="A quarter of the cases lie below.")
    median: float = Field(description="Half of them do.")
    upper_quartile: float = Field(description="Three quarters do.")
    maximum: float = Field(description="Largest.")

    @classmethod
    def of(cls, values: Iterable[float]) -> Self:
        """Return the distribution of at least one value; quartiles are interpolated linearly."""
        low, lower, middle, upper, high = np.percentile(list(values), (0, 25, 50, 75, 100)).tolist()
        return cls(minimum=low, lower_quartile=lower, median=middle, upper_quartile=upper, maximum=high)


class ChannelSummary(BaseModel):
    """Intensities of one channel over the cases."""

    model_config = _FROZEN

    median: Distribution = Field(description="Of the cases' medians.")
    spread: Distribution = Field(description="Of the cases' distances from the 0.5 to the 99.5 percentile.")
    minimum: float = Field(description="Smallest intensity of all cases.")
    maximum: float = Field(description="Largest intensity of all cases.")


class LabelSummary(BaseModel):
    """One label over the cases."""

    model_config = _FROZEN

    value: int = Field(description="Its number in the label maps.")
    cases: int = Field(description="Cases that have it.")
    training_share: float = Field(description="Its part of all voxels of the training cases.")
    volume_ml: Distribution | None = Field(description="Over the cases that have it; null: none has.")
    border_cases: int = Field(description="Cases in which it touches the border of the image.")
    border_faces: dict[str, int] = Field(description="How many touch each face.")
    outside_cases: int = Field(description="Cases in which more than a tenth of it lies outside the body.")


class Fingerprint(BaseModel):
    """Content of fingerprint.json."""

    model_config = _FROZEN

    schema_version: Literal[1] = 1
    odd: tuple[Oddity, ...] = Field(description="Cases that lie far from the others, and why.")
    remarks: tuple[str, ...] = Field(description="What is worth knowing about the study as a whole.")
    duplicates: tuple[str, ...] = Field(description="A sentence for each pair of cases with the same content.")
    shape: tuple[Distribution, Distribution, Distribution] = Field(
        description="Voxels along left-right, back-front, foot-head."
    )
    spacing_mm: tuple[Distribution, Distribution, Distribution] = Field(description="Spacing along the same axes.")
    orientations: dict[str, int] = Field(description="Cases of each orientation.")
    dtypes: dict[str, int] = Field(description="Cases of each type of voxels.")
    channels: dict[str, ChannelSummary] = Field(description="Intensities by channel.")
    labels: dict[str, LabelSummary] = Field(description="Labels but the background.")
    cases: dict[str, CaseMeasures] = Field(description="Every case.")

    @property
    def odd_cases(self) -> dict[str, tuple[Oddity, ...]]:
        """What is odd, by case; the case with the most first, then in the order of the cases."""
        found: dict[str, tuple[Oddity, ...]] = {}
        for oddity in self.odd:
            found[oddity.case_id] = (*found.get(oddity.case_id, ()), oddity)
        return dict(sorted(found.items(), key=lambda entry: -len(entry[1])))

    @property
    def repaired(self) -> dict[str, tuple[str, ...]]:
        """What reading repaired, by case; cases that needed none are left out."""
        return {case_id: case.repaired for case_id, case in self.cases.items() if case.repaired}


def build_fingerprint(
    measures: Mapping[str, CaseMeasures],
    *,
    channels: Sequence[str],
    labels: Mapping[str, int],
    splits: Splits,
    duplicates: Sequence[str] = (),
    words: Words = SCANS,
) -> Fingerprint:
    """Put the measures of all cases together and find the odd ones.

    Args:
        measures: by case, at least one; all with as many channels as `channels`.
        channels: names of the channels.
        labels: {name: value}, those that the measures were taken of; the background may be among them.
        splits: which cases are trained on; the shares of the labels come from these alone.
        duplicates: a sentence for each pair of cases found to have the same content.
        words: how quantities are called in sentences.

    Returns:
        The fingerprint; it holds no patient identifier.
    """
    cases = list(measures.values())
    foreground = {name: value for name, value in labels.items() if value != 0}
    trained = [measures[case_id] for case_id in splits.train if case_id in measures]
    summaries = {name: _summarise_label(name, value, cases, trained) for name, value in foreground.items()}
    return Fingerprint(
        odd=find_oddities(measures, channels, words),
        remarks=tuple(_remarks(measures, channels, summaries, words)),
        duplicates=tuple(duplicates),
        shape=_three(cases, lambda case: case.canonical_shape),
        spacing_mm=_three(cases, lambda case: case.canonical_spacing_mm),
        orientations=_counted(case.orientation for case in cases),
        dtypes=_counted(case.dtype for case in cases),
        channels={name: _summarise_channel(number, cases) for number, name in enumerate(channels)},
        labels=summaries,
        cases=dict(measures),
    )


def write_fingerprint(folder: Path, fingerprint: Fingerprint) -> None:
    """Write fingerprint.json into the folder of a dataset, atomically."""
    write_json(folder / FILE_NAME, fingerprint.model_dump(mode="json"))


def read_fingerprint(folder: Path) -> Fingerprint:
    """Read fingerprint.json of a prepared dataset.

    Raises:
        NotADatasetError: there is none, or a damaged one.
    """
    path = Path(folder) / FILE_NAME
    if not path.is_file():
        raise NotADatasetError(
            f"{folder} has no {FILE_NAME}: it is no prepared dataset, or an older one; run 'r2d2 prepare' again"
        )
    try:
        return Fingerprint.model_validate(read_json(path))
    except (OSError, ValueError) as error:
        reason = settings_faults(error)[0] if isinstance(error, ValidationError) else " ".join(str(error).split())[:200]
        raise NotADatasetError(f"{path}: damaged ({reason}); run 'r2d2 prepare' again") from error


def _three(
    cases: Sequence[CaseMeasures], read: Callable[[CaseMeasures], Sequence[float]]
) -> tuple[Distribution, Distribution, Distribution]:
    first, second, third = (Distribution.of(read(case)[axis] for case in cases) for axis in range(3))
    return first, second, third


def _counted(words: Iterable[str]) -> dict[str, int]:
    return dict(Counter(words).most_common())


def _summarise_channel(number: int, cases: Sequence[CaseMeasures]) -> ChannelSummary:
    measured = [case.channels[number] for case in cases]
    return ChannelSummary(
        median=Distribution.of(channel.median for channel in measured),
        spread=Distribution.of(channel.spread for channel in measured),
        minimum=min(channel.minimum for channel in measured),
        maximum=max(channel.maximum for channel in measured),
    )


def _summarise_label(
    name: str, value: int, cases: Sequence[CaseMeasures], trained: Sequence[CaseMeasures]
) -> LabelSummary:
    having = [case.labels[name] for case in cases if name in case.labels and case.labels[name].voxels]
    voxels = sum(case.labels[name].voxels for case in trained if name in case.labels)
    total = sum(int(np.prod(case.shape)) for case in trained if case.labels)
    return LabelSummary(
        value=value,
        cases=len(having),
        training_share=voxels / max(1, total),
        volume_ml=Distribution.of(label.volume_ml for label in having) if having else None,
        border_cases=sum(bool(label.border) for label in having),
        border_faces=_counted(face for label in having for face in label.border),
        outside_cases=sum((label.outside_body or 0.0) > OUTSIDE for label in having),
    )


def _remarks(
    measures: Mapping[str, CaseMeasures], channels: Sequence[str], labels: Mapping[str, LabelSummary], words: Words
) -> Iterable[str]:
    cases = list(measures.values())
    if len(cases) < FEWEST_CASES:
        yield f"fewer than {FEWEST_CASES} cases ({len(cases)}) do not tell what is usual: no outliers are looked for"
    for number, name in enumerate(channels):
        groups = _groups([case.channels[number].spread for case in cases])
        if len(groups) > 1:
            listed = ", ".join(f"{len(group)} cases around {float(f'{np.median(group):.3g}'):,g}" for group in groups)
            yield (
                f"the intensities of {name} come in {len(groups)} groups (spread of a case, 0.5 to 99.5 percentile:"
                f" {listed}): other units, scanners or exports; normalising each case by itself makes them comparable"
            )
    labelled = sum(bool(case.labels) for case in cases)
    for name, label in labels.items():
        if labelled and not label.cases:
            yield f"{name} is declared, but in no case"
        elif label.cases < labelled:
            yield f"{name} is in {label.cases} of {labelled} cases"
        if label.border_cases:
            faces = ", ".join(f"{words.faces[face]} {count}" for face, count in label.border_faces.items())
            yield (
                f"{name} touches the border of the image in {label.border_cases} of {label.cases} cases ({faces}):"
                f" usual where images are cropped; there its {words.extent} is a part of the whole"
            )


def _groups(values: Sequence[float]) -> list[list[float]]:
    """Split positive values where neighbours lie a factor of 3 apart; too small groups are left out."""
    ordered = sorted(value for value in values if value > 0)
    groups: list[list[float]] = []
    for value in ordered:
        if groups and value < GAP * groups[-1][-1]:
            groups[-1].append(value)
        else:
            groups.append([value])
    smallest = max(2.0, SMALLEST_GROUP * len(values))
    return [group for group in groups if len(values) >= FEWEST_CASES and len(group) >= smallest]
