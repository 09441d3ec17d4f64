"""How a layout is described: most are patterns for the names of files; the others are functions."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal

from imgmed.recipes.names import split_of
from imgmed.recipes.tree import Tree
from imgmed.study import CaseSource, Study, VolumeSource

__all__ = [
    "BY_CONTENT",
    "BY_FOLDERS",
    "BY_INDEX",
    "BY_NAMES",
    "BY_STANDARD",
    "CaseList",
    "Labels",
    "Layout",
    "Recipe",
    "Request",
]

BY_INDEX, BY_STANDARD, BY_NAMES, BY_FOLDERS, BY_CONTENT = 1, 2, 3, 4, 5
Labels = Literal["required", "none"]


@dataclass(frozen=True)
class Request:
    """What a user asked for.

    Args:
        is_named: the recipe was named; False: it must recognise its layout beyond doubt.
        series: regular expression searched in the descriptions of DICOM series.
        labels: "required": a case is an image with its label; "none": every image is a case, and label maps are only
            looked for lest they be taken for images.
    """

    is_named: bool = False
    series: str | None = None
    labels: Labels = "required"

    @property
    def is_unlabelled(self) -> bool:
        """Whether cases are wanted without labels."""
        return self.labels == "none"


@dataclass(frozen=True)
class CaseList:
    """Cases as a recipe finds them, and what is to be said of the other files; see `Study`."""

    sources: tuple[CaseSource, ...] = ()
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    folds: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = ()
    channels: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Recipe:
    """A layout of source folders.

    Args:
        name: what users type after --recipe.
        layout: how such a folder looks, in a few words.
        rank: how much a match says: BY_INDEX (a file that lists the cases), BY_STANDARD (names of BIDS), BY_NAMES
            (names of one challenge), BY_FOLDERS (names of folders), BY_CONTENT (what lies in the folders). The lowest
            that matches is taken.
        find: (tree, request) -> the study, or None where the folder does not look like this.
    """

    name: str
    layout: str
    rank: int
    find: Callable[[Tree, Request], Study | None]


@dataclass(frozen=True)
class Layout:
    """A layout in which each file's name says what it is.

    Patterns are regular expressions without regard to case for the end of a file's path, without its suffix, such
    as r"(?P<case>case_\\d+)/imaging". The group `case` names the case in both; an image may have the group
    `channel`, a label the group `kind`.

    Args:
        name: as of `Recipe`.
        description: as `Recipe.layout`.
        image: pattern of the images.
        label: pattern of the label maps.
        channels: for each channel its name and the spellings of the group `channel`, in order.
        kinds: values of the group `kind`, the preferred first.
        labels: {name: value} where the layout fixes it.
        patient: pattern searched in the case; its group 1 is the patient.

    >>> Layout("lits", "...", image=r"volume-(?P<case>\\d+)", label=r"segmentation-(?P<case>\\d+)").recipe().name
    'lits'
    """

    name: str
    description: str
    image: str
    label: str
    channels: tuple[tuple[str, tuple[str, ...]], ...] = ()
    kinds: tuple[str, ...] = ()
    labels: Mapping[str, int] | None = None
    patient: str | None = None

    def recipe(self) -> Recipe:
        """Return the layout as a recipe."""
        return Recipe(self.name, self.description, BY_NAMES, self._find)

    def _find(self, tree: Tree, request: Request) -> Study | None:
        images = _grouped(tree, self.image, "channel", self._channel_rank)
        labels = {} if request.is_unlabelled else _grouped(tree, self.label, "kind", self._kind_rank)
        complete = [case for case in images if request.is_unlabelled or case in labels]
        if not complete:
            return None
        ranks = sorted({rank for case in complete for rank in images[case]})
        problems = [*_doubled(images), *_missing_channels(tree, images, complete, ranks, self.channels)]
        reason = f"images like {images[complete[0]][min(images[complete[0]])][0]}"
        if not request.is_unlabelled:
            reason += f", labels like {_first(labels[complete[0]])}"
            problems += _doubled({} if self.kinds else labels)
            problems += _unpaired(tree, "image without a label", images, labels, complete)
            problems += _unpaired(tree, "label without an image", labels, images, complete)
        return Study(
            name=tree.root.resolve().name,
            root=tree.root,
            recipe=self.name,
            sources=tuple(
                self._case(tree, case, [images[case][rank][0] for rank in ranks], labels.get(case))
                for case in complete
                if all(rank in images[case] for rank in ranks)
            ),
            channels=tuple(self.channels[rank][0] for rank in ranks) if self.channels else None,
            labels=None if self.labels is None else dict(self.labels),
            problems=tuple(problems),
            reason=reason,
        )

    def _case(
        self, tree: Tree, case: str, images: Sequence[str], labels: Mapping[int, Sequence[str]] | None
    ) -> CaseSource:
        patient = re.search(self.patient, case, re.IGNORECASE) if self.patient else None
        return CaseSource(
            case_id=case,
            images=tuple(VolumeSource((tree.path(name),)) for name in images),
            label=None if labels is None else VolumeSource((tree.path(_first(labels)),)),
            patient=patient[1] if patient else None,
            split=split_of(PurePosixPath(images[0]).parts[:-1]),
        )

    def _channel_rank(self, spelling: str | None) -> int:
        spellings = [names for _, names in self.channels]
        return next((rank for rank, names in enumerate(spellings) if (spelling or "").lower() in names), 0)

    def _kind_rank(self, kind: str | None) -> int:
        return [name.lower() for name in self.kinds].index(kind.lower()) if kind else 0


Grouped = dict[str, dict[int, list[str]]]


def _grouped(tree: Tree, pattern: str, group: str, rank_of: Callable[[str | None], int]) -> Grouped:
    """Files that match, as {case: {rank: files}}."""
    compiled = re.compile(rf"(?:.*/)?{pattern}", re.IGNORECASE)
    grouped: Grouped = {}
    for name in tree.volumes:
        match = compiled.fullmatch(tree.stems[name])
        if match is not None:
            rank = rank_of(match.groupdict().get(group))
            grouped.setdefault(match["case"], {}).setdefault(rank, []).append(name)
    return grouped


def _first(files: Mapping[int, Sequence[str]]) -> str:
    return files[min(files)][0]


def _doubled(grouped: Grouped) -> list[str]:
    return [
        f"{other}: same case as {names[0]}; keep one of them"
        for files in grouped.values()
        for names in files.values()
        for other in names[1:]
    ]


def _missing_channels(
    tree: Tree,
    images: Grouped,
    complete: Sequence[str],
    ranks: Sequence[int],
    channels: Sequence[tuple[str, tuple[str, ...]]],
) -> list[str]:
    problems = []
    for case in complete:
        names = [channels[rank][0] for rank in ranks if rank not in images[case]]
        if names:
            file = tree.path(_first(images[case]))
            problems.append(f"{file}: no file for {', '.join(names)}, which other cases have")
    return problems


def _unpaired(tree: Tree, what: str, files: Grouped, partners: Grouped, complete: Sequence[str]) -> list[str]:
    """A sentence for each case of `files` that has no partner."""
    example = _first(partners[complete[0]])
    return [
        f"{tree.path(_first(files[case]))}: {what}; other cases have one like {example}"
        for case in files
        if case not in partners
    ]
