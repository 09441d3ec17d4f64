"""Cases that an index lists: {"image": ..., "label": ...} under "training", "validation" and "test"."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from imgmed.errors import SourceLayoutError
from imgmed.recipes.index import TRAINING, Index, located
from imgmed.recipes.layout import CaseList, Request
from imgmed.recipes.names import channel_number, common_name, distinct_names
from imgmed.recipes.tree import Tree
from imgmed.recipes.unlisted import count_notes, test_cases, unlisted_cases
from imgmed.study import CaseSource, VolumeSource

__all__ = ["listed_cases"]

LISTS = {TRAINING: "train", "validation": "validation", "testing": "test", "test": "test"}
FEWEST_FOLDS = 2


@dataclass(frozen=True)
class _Entry:
    """One entry of a list with its files: `stem` is the path that names the case; `label` is None where it has none
    or none is wanted.
    """

    part: str
    stem: str
    images: tuple[Path, ...]
    label: Path | None
    fold: int | None

    @property
    def files(self) -> tuple[tuple[Path, ...], Path | None]:
        return self.images, self.label


def listed_cases(tree: Tree, index: Index, request: Request) -> CaseList:
    """Read the lists of an index.

    An entry names its image, or a list of images that are the channels; nnU-Net's first version leaves their numbers
    out ("case.nii.gz" for "case_0000.nii.gz", "case_0001.nii.gz"). Entries of the test without a label are no cases
    unless labels are not wanted.

    Raises:
        SourceLayoutError: a list that is none.
    """
    lists = _Lists(tree, index, request.is_unlabelled)
    read = list(lists.entries())
    entries = [entry for entry in read if isinstance(entry, _Entry)]
    problems = [problem for problem in read if isinstance(problem, str)]
    first = {entry.files: entry for entry in reversed(entries)}
    notes = []
    if len(first) < len(entries):
        notes.append(
            f"{index.name} lists {len(entries) - len(first)} of its {len(entries)} entries twice; each counts once"
        )
    entries = [entry for entry in entries if first[entry.files] is entry]
    doubts = _shared_labels(entries, index)
    entries = [entry for entry in entries if entry.label not in doubts]
    sources = _sources(entries)
    problems += doubts.values()
    if request.is_unlabelled:
        return CaseList(sources, tuple(problems), tuple(notes))
    left_out = (*unlisted_cases(tree, index, lists.labelled_files), *test_cases(tree, lists.labelled_files))
    notes += count_notes(index, sources)
    return CaseList(sources, tuple(problems), tuple(notes), left_out, _folds(entries, sources))


def _sources(entries: Sequence[_Entry]) -> tuple[CaseSource, ...]:
    is_divided = len({entry.part for entry in entries}) > 1
    names = distinct_names([entry.stem for entry in entries])
    return tuple(
        CaseSource(
            case_id=name,
            images=tuple(VolumeSource((path,)) for path in entry.images),
            label=None if entry.label is None else VolumeSource((entry.label,)),
            split=entry.part if is_divided else None,
        )
        for name, entry in zip(names, entries, strict=True)
    )


def _folds(
    entries: Sequence[_Entry], sources: Sequence[CaseSource]
) -> tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]:
    """(training, validation) of each fold, where every training entry says which fold holds it out (MONAI)."""
    named = zip(entries, sources, strict=True)
    numbers = {source.case_id: entry.fold for entry, source in named if entry.part == "train"}
    is_divided = any(entry.part == "validation" for entry in entries)
    if is_divided or None in numbers.values() or len(set(numbers.values())) < FEWEST_FOLDS:
        return ()
    return tuple(
        (
            tuple(case for case, number in numbers.items() if number != fold),
            tuple(case for case, number in numbers.items() if number == fold),
        )
        for fold in sorted({number for number in numbers.values() if number is not None})
    )


def _shared_labels(entries: Sequence[_Entry], index: Index) -> dict[Path | None, str]:
    """{label: a sentence} of each label map that is listed for several images."""
    counts = Counter(entry.label for entry in entries if entry.label is not None)
    return {
        label: f"{label}: {index.name} lists it as the label of {count} images"
        f" ({', '.join(entry.images[0].name for entry in entries if entry.label == label)}); correct the list"
        for label, count in counts.items()
        if count > 1
    }


@dataclass(frozen=True)
class _Lists:
    """The lists of an index, read against the files that are there."""

    tree: Tree
    index: Index
    is_unlabelled: bool

    def entries(self) -> Iterator[_Entry | str]:
        """Give each entry, or a sentence about what is wrong with it; without a label it is left aside."""
        for name, part in LISTS.items():
            for item in self._items(name):
                images, label, fold = _written(item)
                if images is None or (label is None and name == TRAINING and not self.is_unlabelled):
                    yield f'{self.index.path}: a case of "{name}" needs "image" and "label"; received {item!r}'
                elif label is not None or self.is_unlabelled:
                    yield self._entry(part, images, None if self.is_unlabelled else label, fold)

    @cached_property
    def labelled_files(self) -> frozenset[Path]:
        """Every file that an entry with a label names."""
        written = [_written(item) for name in LISTS for item in self._items(name)]
        labelled = [(images, label) for images, label, _ in written if images is not None and label is not None]
        paths = [located(self.tree, name, self.index) for images, label in labelled for name in (*images, label)]
        return frozenset(file for path in paths if not isinstance(path, str) for file in self._files(path))

    @cached_property
    def _channels(self) -> dict[str, dict[int, Path]]:
        """{path without suffix and number of the channel: the file of each number}."""
        channels: dict[str, dict[int, Path]] = {}
        for name, stem in self.tree.stems.items():
            numbered = channel_number(stem)
            if numbered is not None:
                channels.setdefault(numbered[0], {})[numbered[1]] = self.tree.path(name)
        return channels

    def _items(self, name: str) -> list[Any]:
        items = self.index.content.get(name, [])
        if not isinstance(items, list):
            raise SourceLayoutError(f'{self.index.path}: "{name}" must be a list of {{"image": ..., "label": ...}}')
        return items

    def _entry(self, part: str, images: Sequence[str], label: str | None, fold: int | None) -> _Entry | str:
        targets = [located(self.tree, name, self.index) for name in images]
        label_target = None if label is None else located(self.tree, label, self.index)
        outside = next((target for target in (*targets, label_target) if isinstance(target, str)), None)
        if outside is not None:
            return outside
        paths = tuple(file for target in targets for file in self._files(Path(target)))
        label_path = None if label_target is None else Path(label_target)
        stem = common_name([self.tree.stem_of(Path(target)) for target in targets])
        return self._missing(images, label, paths, label_path) or _Entry(part, stem, paths, label_path, fold)

    def _files(self, path: Path) -> list[Path]:
        """The file itself or, where only they exist, the numbered channels of its name."""
        channels = {} if path.is_file() else self._channels.get(self.tree.stem_of(path), {})
        return [channels[number] for number in sorted(channels)] or [path]

    def _missing(
        self, images: Sequence[str], label: str | None, paths: Sequence[Path], label_path: Path | None
    ) -> str | None:
        """A sentence about files that an entry names and that are not there."""
        lost = next((path for path in paths if not path.is_file()), None)
        if label_path is None or label_path.is_file():
            if lost is None:
                return None
            named = repr(self.tree.relative(lost))
            if label_path is None:
                return f"{self.index.path}: names {named}, which is missing"
            return f"{label_path}: label without an image; {self.index.name} names {named}, which is missing"
        if lost is None:
            return f"{paths[0]}: image without a label; {self.index.name} names {label!r}, which is missing"
        return f"{self.index.path}: names {', '.join(map(repr, images))} and {label!r}, which are both missing"


def _written(item: Any) -> tuple[list[str] | None, str | None, int | None]:
    """Images, label and fold of an entry as they are written; no images where it is no such entry."""
    if isinstance(item, str):
        return [item], None, None
    if not isinstance(item, Mapping):
        return None, None, None
    images, label, fold = item.get("image"), item.get("label"), item.get("fold")
    images = [images] if isinstance(images, str) else images
    label = label[0] if isinstance(label, list) and len(label) == 1 else label
    if not isinstance(images, list) or not images or not all(isinstance(image, str) for image in images):
        return None, None, None
    if label is not None and not isinstance(label, str):
        return None, None, None
    return images, label, fold if type(fold) is int else None
