"""Which images of a BIDS session are the channels of one case."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain

from imgmed.errors import ImgMedError, PairMismatchError
from imgmed.formats import VolumeHeader, read_header
from imgmed.geometry import check_same_voxels
from imgmed.recipes.bids_names import BidsFile
from imgmed.recipes.tree import Tree
from imgmed.study import VolumeSource

__all__ = ["BidsCase", "BidsCases", "scans_of_sessions", "with_channels"]


@dataclass(frozen=True)
class BidsCase:
    """Images that may be the channels of one case, and its label map: one file, or one for each structure.

    `labels` is () where none are wanted; `is_named`: the label map repeats the name of the first image.
    """

    images: tuple[BidsFile, ...]
    labels: tuple[BidsFile, ...] = ()
    is_named: bool = False


@dataclass(frozen=True)
class BidsCases:
    """Cases with the images that are their channels, the names of these, and what is to be said."""

    cases: tuple[BidsCase, ...]
    channels: tuple[str, ...] | None = None
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def with_channels(tree: Tree, cases: Sequence[BidsCase]) -> BidsCases:
    """Choose the images of each case: those that more than half of the cases have on the voxels of their label maps."""
    contrasts = _contrasts(cases)
    fitting = [_fitting(tree, case) for case in cases]
    counts = Counter(contrasts[image.name] for images in fitting for image in images)
    kept = sorted(contrast for contrast, count in counts.items() if 2 * count > len(cases))
    if len(kept) < 2 and all(len(images) == 1 or case.is_named for case, images in zip(cases, fitting, strict=True)):
        return _alone(cases, fitting)
    chosen: list[BidsCase] = []
    problems: list[str] = []
    for case, images in zip(cases, fitting, strict=True):
        present = {contrasts[image.name]: image for image in images}
        lacking = [contrast for contrast in kept or ("image that other sessions have too",) if contrast not in present]
        elsewhere = sorted({contrasts[image.name] for image in case.images}.intersection(lacking))
        if elsewhere:
            problems.append(
                f"{tree.path(case.images[0].name)}: {', '.join(elsewhere)} of this session is not on the voxels of the"
                f" label map {tree.path(case.labels[0].name)}, or has several channels; resample it onto them"
            )
        elif lacking:
            listed = ", ".join(present) or "none on the voxels of its label map"
            problems.append(
                f"{tree.path(case.images[0].name)}: no {', '.join(lacking)} in this session, which other sessions"
                f" have; it has {listed}"
            )
        else:
            chosen.append(replace(case, images=tuple(present[contrast] for contrast in kept)))
    notes = _left_out(cases, fitting, contrasts, kept)
    return BidsCases(tuple(chosen), tuple(kept), tuple(problems), notes)


def scans_of_sessions(tree: Tree, sessions: Iterable[Sequence[BidsFile]]) -> list[BidsCase]:
    """Return the images of each session as one case where some lie on the same voxels, else each as a case.

    Runs repeat a contrast: they are cases of their own.
    """
    cases: list[BidsCase] = []
    for images in chain.from_iterable(map(_runs, sessions)):
        headers = {image.name: _header(tree, image) for image in images} if len(images) > 1 else {}
        groups = [
            tuple(other for other in images if _is_channel(headers[other.name], headers[image.name]))
            for image in images
            if headers
        ]
        largest = max(groups, key=len, default=())
        cases += [BidsCase(largest)] if len(largest) > 1 else [BidsCase((image,)) for image in images]
    return cases


def _runs(images: Sequence[BidsFile]) -> Iterable[Sequence[BidsFile]]:
    """The images of a session, those of each run apart where a contrast has several."""
    repeated = Counter(suffix for suffix, _ in {(image.suffix, image.run) for image in images})
    if max(repeated.values(), default=0) < 2:
        return [images]
    runs: dict[str, list[BidsFile]] = {}
    for image in images:
        runs.setdefault(image.run, []).append(image)
    return runs.values()


def _contrasts(cases: Sequence[BidsCase]) -> dict[str, str]:
    """{file: what its contrast is called}: the last word where no session has two of it, such as "T1w"."""
    suffixes = [Counter(image.suffix for image in case.images) for case in cases]
    is_clear = all(count == 1 for counts in suffixes for count in counts.values())
    return {image.name: image.suffix if is_clear else image.contrast for case in cases for image in case.images}


def _fitting(tree: Tree, case: BidsCase) -> tuple[BidsFile, ...]:
    """The images of a case with one channel on the voxels of its label map; the named one, the first, in any case."""
    if len(case.images) == 1 or not case.labels:
        return case.images
    grid = _header(tree, case.labels[0])
    return tuple(
        image
        for number, image in enumerate(case.images)
        if (case.is_named and number == 0) or _is_channel(_header(tree, image), grid)
    )


def _header(tree: Tree, file: BidsFile) -> VolumeHeader | None:
    """What a file's header says; None where it cannot be read, which is said when the case is."""
    try:
        return read_header(VolumeSource((tree.path(file.name),)))
    except ImgMedError:
        return None


def _is_channel(header: VolumeHeader | None, grid: VolumeHeader | None) -> bool:
    if header is None or grid is None:
        return True
    try:
        check_same_voxels(header.shape, header.affine, grid.shape, grid.affine)
    except PairMismatchError:
        return False
    return header.channels == 1


def _alone(cases: Sequence[BidsCase], fitting: Sequence[Sequence[BidsFile]]) -> BidsCases:
    """Every case with one image: the named one, or the only one that fits."""
    chosen = tuple(replace(case, images=tuple(images[:1])) for case, images in zip(cases, fitting, strict=True))
    suffixes = {case.images[0].suffix for case in chosen}
    contrasts = {image.name: image.suffix for case in cases for image in case.images}
    notes = _left_out(cases, [case.images for case in chosen], contrasts, sorted(suffixes))
    return BidsCases(chosen, tuple(suffixes) if len(suffixes) == 1 else None, notes=notes)


def _left_out(
    cases: Sequence[BidsCase],
    fitting: Sequence[Sequence[BidsFile]],
    contrasts: Mapping[str, str],
    kept: Sequence[str],
) -> tuple[str, ...]:
    """A sentence for each contrast that is no channel: how many sessions have it, and on which voxels."""
    present = Counter(contrasts[image.name] for case in cases for image in case.images)
    on_voxels = Counter(contrasts[image.name] for images in fitting for image in images)
    return tuple(
        f"{contrast} is not used: {count} of {len(cases)} sessions have it, {on_voxels[contrast]} on the voxels of"
        " their label maps; a channel needs more than half (resample it onto the labelled image)"
        for contrast, count in present.items()
        if contrast not in kept
    )
