"""Cases that an index lists: {"image": ..., "label": ...} under "training", "validation" and "test"."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imgmed.errors import SourceLayoutError
from imgmed.recipes.index import INDEX, located
from imgmed.recipes.layout import CaseList, Request
from imgmed.recipes.names import channel_number, common_name, distinct_names
from imgmed.recipes.tree import Tree
from imgmed.recipes.unlisted import count_notes, test_cases, unlisted_cases
from imgmed.study import CaseSource, VolumeSource

__all__ = ["TRAINING", "listed_cases"]

TRAINING = "training"
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


def listed_cases(tree: Tree, index: Mapping[str, Any], request: Request) -> CaseList:
    """Read the lists of an index.

    An entry names its image, or a list of images that are the channels; nnU-Net's first version leaves their numbers
    out ("case.nii.gz" for "case_0000.nii.gz", "case_0001.nii.gz"). Entries of the test without a label are no cases
    unless labels are not wanted.

    Args:
        tree: the source folder.
        index: content of its dataset.json.
        request: what a user asked for.

    Raises:
        SourceLayoutError: a list that is none.
    """
    entries: list[_Entry] = []
    problems: list[str] = []
    for name, part in LISTS.items():
        for item in _items(tree, index, name):
            entry = _entry(tree, name, part, item, request.is_unlabelled)
            if isinstance(entry, str):
                problems.append(entry)
            elif entry is not None:
                entries.append(entry)
    unique = {entry.files: entry for entry in reversed(entries)}
    kept = [entry for entry in entries if unique[entry.files] is entry]
    notes = []
    if len(kept) < len(entries):
        notes.append(f"{INDEX} lists {len(entries) - len(kept)} of its {len(entries)} entries twice; each counts once")
    doubts = _shared_labels(kept)
    problems += doubts.values()
    kept = [entry for entry in kept if entry.label not in doubts]
    names = distinct_names([entry.stem for entry in kept])
    is_divided = len({entry.part for entry in kept}) > 1
    sources = tuple(
        CaseSource(
            case_id=name,
            images=tuple(VolumeSource((path,)) for path in entry.images),
            label=None if entry.label is None else VolumeSource((entry.label,)),
            split=entry.part if is_divided else None,
        )
        for name, entry in zip(names, kept, strict=True)
    )
    numbers = {name: entry.fold for name, entry in zip(names, kept, strict=True) if entry.part == "train"}
    folds = () if any(entry.part == "validation" for entry in kept) else _folds(numbers)
    if request.is_unlabelled:
        return CaseList(sources, tuple(problems), tuple(notes), folds=folds)
    notes += count_notes(index, sources)
    mentioned = _mentioned(tree, index)
    left_out = (*unlisted_cases(tree, mentioned), *test_cases(tree, mentioned))
    return CaseList(sources, tuple(problems), tuple(notes), left_out, folds)


def _mentioned(tree: Tree, index: Mapping[str, Any]) -> set[Path]:
    """Every file that a labelled entry of the lists names."""
    entries = [_written(item) for name in LISTS for item in _items(tree, index, name)]
    labelled = [(images, label) for images, label, _ in entries if images is not None and label is not None]
    places = [located(tree, name) for images, label in labelled for name in (*images, label)]
    return {file for place in places if not isinstance(place, str) for file in _files(tree, place)}


def _folds(numbers: Mapping[str, int | None]) -> tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]:
    """(training, validation) of each fold, where every training entry says which fold holds it out (MONAI)."""
    if None in numbers.values() or len(set(numbers.values())) < FEWEST_FOLDS:
        return ()
    return tuple(
        (
            tuple(case for case, number in numbers.items() if number != fold),
            tuple(case for case, number in numbers.items() if number == fold),
        )
        for fold in sorted({number for number in numbers.values() if number is not None})
    )


def _items(tree: Tree, index: Mapping[str, Any], name: str) -> list[Any]:
    items = index.get(name, [])
    if not isinstance(items, list):
        raise SourceLayoutError(f'{tree.path(INDEX)}: "{name}" must be a list of {{"image": ..., "label": ...}}')
    return items


def _entry(tree: Tree, name: str, part: str, item: Any, is_unlabelled: bool) -> _Entry | str | None:
    """The entry, a sentence about what is wrong with it, or None where there is nothing to train on."""
    images, label, fold = _written(item)
    if images is None or (label is None and name == TRAINING and not is_unlabelled):
        return f'{tree.path(INDEX)}: a case of "{name}" needs "image" and "label"; received {item!r}'
    if label is None and not is_unlabelled:
        return None
    places = [located(tree, entry) for entry in images]
    target = None if label is None or is_unlabelled else located(tree, label)
    outside = next((place for place in (*places, target) if isinstance(place, str)), None)
    if outside is not None:
        return outside
    paths = [file for place in places for file in _files(tree, Path(place))]
    label_path = None if target is None else Path(target)
    problem = _missing(tree, item, paths, label_path)
    stem = common_name([tree.stem_of(Path(place)) for place in places])
    return problem or _Entry(part, stem, tuple(paths), label_path, fold)


def _written(item: Any) -> tuple[list[str] | None, str | None, int | None]:
    """Images, label and fold of an entry as they are written; no images where it is no such entry."""
    if isinstance(item, str):
        return [item], None, None
    if not isinstance(item, Mapping):
        return None, None, None
    images, label, fold = item.get("image"), item.get("label"), item.get("fold")
    images = [images] if isinstance(images, str) else images
    if not isinstance(images, list) or not images or not all(isinstance(image, str) for image in images):
        return None, None, None
    if isinstance(label, list) and len(label) == 1:
        label = label[0]
    if label is not None and not isinstance(label, str):
        return None, None, None
    return images, label, fold if type(fold) is int else None


def _files(tree: Tree, path: Path) -> list[Path]:
    """The file itself or, where only they exist, the numbered channels of its name."""
    if path.is_file():
        return [path]
    stem = tree.stem_of(path)
    channels = {
        number[1]: tree.path(name)
        for name, other in tree.stems.items()
        if (number := channel_number(other)) is not None and number[0] == stem
    }
    return [channels[number] for number in sorted(channels)] or [path]


def _missing(tree: Tree, item: Any, images: Sequence[Path], label: Path | None) -> str | None:
    """A sentence about files that an entry names and that are not there."""
    lost = [path for path in images if not path.is_file()]
    if label is not None and not label.is_file():
        if not lost:
            return f"{images[0]}: image without a label; {INDEX} names {item['label']!r}, which is missing"
        return f"{tree.path(INDEX)}: names {item['image']!r} and {item['label']!r}, which are both missing"
    if not lost:
        return None
    named = tree.relative(lost[0])
    if label is None:
        return f"{tree.path(INDEX)}: names {named!r}, which is missing"
    return f"{label}: label without an image; {INDEX} names {named!r}, which is missing"


def _shared_labels(entries: Sequence[_Entry]) -> dict[Path | None, str]:
    """{label: a sentence} of each label map that is listed for several images."""
    counts = Counter(entry.label for entry in entries if entry.label is not None)
    return {
        label: f"{label}: {INDEX} lists it as the label of {count} images"
        f" ({', '.join(entry.images[0].name for entry in entries if entry.label == label)}); correct the list"
        for label, count in counts.items()
        if count > 1
    }
