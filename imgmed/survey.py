"""First pass over a study: every case is read, checked and measured; all faults are reported together."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from imgmed.errors import ImgMedError, InvalidCasesError, InvalidVolumeError, LabelError, PairMismatchError
from imgmed.formats import read_volume
from imgmed.geometry import describe_affine, is_same_affine
from imgmed.labels import check_declared, count_labels, to_label_map
from imgmed.progress import Progress, report_progress
from imgmed.scan import channel_array
from imgmed.storage import sha256_of
from imgmed.study import CaseSource, Study
from imgmed.volume import Volume

__all__ = ["SurveyedCase", "check_labelled", "read_image", "read_label", "survey_study"]

FOREGROUND_SAMPLE = 10_000  # labelled voxels per case from which dataset-wide percentiles are taken


@dataclass(frozen=True, eq=False)
class SurveyedCase:
    """What the first pass keeps of a case.

    `lowest` is the smallest intensity per channel; `label_counts` {value: voxels}; `foreground` a sample of
    the labelled intensities (n, channels) of cases that were asked for it, evenly spread, otherwise None.
    """

    source: CaseSource
    shape: tuple[int, int, int]
    affine: np.ndarray
    channels: int
    lowest: tuple[float, ...]
    label_counts: dict[int, int]
    foreground: np.ndarray | None
    sha256: dict[Path, str]


def survey_study(
    study: Study, labels: Mapping[str, int] | None, sampled: Collection[str], progress: Progress = None
) -> tuple[SurveyedCase, ...]:
    """Read and check every case of a study, one at a time.

    Args:
        study: the cases; its own problems are reported too.
        labels: declared {name: value}; None accepts every whole number.
        sampled: identifiers of the cases whose labelled intensities are sampled.
        progress: called with ("reading", done, total).

    Raises:
        InvalidCasesError: at least one case cannot be used; lists all of them.
    """
    problems = list(study.problems)
    cases: list[SurveyedCase] = []
    total = len(study.sources)
    report_progress(progress, "reading", 0, total)
    for done, source in enumerate(study.sources, start=1):
        try:
            cases.append(_survey_case(source, study.channels, labels, source.case_id in sampled))
        except ImgMedError as error:
            problems.append(str(error))
        report_progress(progress, "reading", done, total)
    problems += _channel_problems(cases)
    if problems:
        raise InvalidCasesError(problems, total)
    return tuple(cases)


def read_image(source: CaseSource) -> Volume:
    """Return the image of a case as (i, j, k, channels) float32, its files stacked as channels.

    Raises:
        PairMismatchError: the files do not lie on the same grid.
        InvalidVolumeError: NaN or infinite voxels.
    """
    volumes = [read_volume(image.path) for image in source.images]
    for other in volumes[1:]:
        _check_same_grid(volumes[0], other, "image", "its other channel")
    arrays = [channel_array(volume) for volume in volumes]
    array = arrays[0] if len(arrays) == 1 else np.concatenate(arrays, axis=3)
    return Volume(array, volumes[0].affine, volumes[0].path)


def read_label(source: CaseSource, image: Volume) -> Volume:
    """Return the label map of a case as (i, j, k) uint8 or uint16, checked against the grid of its image.

    Raises:
        PairMismatchError: image and label differ in shape or affine.
        LabelError: not a map of whole numbers.
    """
    if source.label is None:
        raise LabelError(f"{source.images[0]}: no label map; preparation needs one for every case")
    label = read_volume(source.label.path)
    _check_same_grid(image, label, "image", "its label")
    return Volume(to_label_map(label.array, label.origin), label.affine, label.path)


def _survey_case(
    source: CaseSource, channels: tuple[str, ...] | None, labels: Mapping[str, int] | None, sampled: bool
) -> SurveyedCase:
    image = read_image(source)
    if channels is not None and image.channels != len(channels):
        raise InvalidVolumeError(
            f"{source.images[0]}: {image.channels} channels, but dataset.json declares {len(channels)}"
            f" ({', '.join(channels)}); correct one of them"
        )
    label = read_label(source, image)
    counts = count_labels(label.array)
    if labels is not None:
        check_declared(list(counts), labels, label.origin)
    return SurveyedCase(
        source=source,
        shape=image.shape,
        affine=image.affine,
        channels=image.channels,
        lowest=tuple(float(image.array[..., channel].min()) for channel in range(image.channels)),
        label_counts=counts,
        foreground=_foreground_sample(image.array, label.array) if sampled else None,
        sha256={path: sha256_of(path) for path in source.files},
    )


def _foreground_sample(image: np.ndarray, label: np.ndarray) -> np.ndarray:
    labelled = image[label > 0]
    keep = min(len(labelled), FOREGROUND_SAMPLE)
    return labelled[np.linspace(0, max(0, len(labelled) - 1), keep).astype(np.intp)]


def _check_same_grid(first: Volume, second: Volume, first_role: str, second_role: str) -> None:
    if first.shape != second.shape:
        raise PairMismatchError(
            f"{first.origin}: {first_role} has shape {_times(first.shape)}, {second_role} {second.origin} has"
            f" {_times(second.shape)}; both must lie on the same voxel grid"
        )
    if not is_same_affine(first.affine, second.affine):
        raise PairMismatchError(
            f"{first.origin}: {first_role} has affine {describe_affine(first.affine)}, {second_role}"
            f" {second.origin}"
            f" has {describe_affine(second.affine)}; both must lie on the same voxel grid (resample the"
            " label map onto the image, or copy the image's header if only the header is wrong)"
        )


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(str(size) for size in shape)


def _channel_problems(cases: list[SurveyedCase]) -> list[str]:
    """One sentence for each case whose number of channels is not the most frequent one."""
    counts = [case.channels for case in cases]
    usual = max(sorted(set(counts)), key=counts.count, default=0)
    return [
        f"{case.source.images[0]}: {case.channels} channels, but {counts.count(usual)} other cases have"
        f" {usual}; all cases need the same channels"
        for case in cases
        if case.channels != usual
    ]


def check_labelled(cases: tuple[SurveyedCase, ...], root: Path) -> None:
    """Raise LabelError if no case holds a voxel other than background."""
    if not any(value for case in cases for value in case.label_counts):
        raise LabelError(f"{root}: every label map is background only; there is nothing to learn")
