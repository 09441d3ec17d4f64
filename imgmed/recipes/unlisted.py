"""Labelled cases that lie in the folders of a study and that its index leaves out."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from imgmed.recipes.index import Index
from imgmed.recipes.pairing import folder_pairs, has_volumes, pair_folders
from imgmed.recipes.tree import Tree
from imgmed.study import CaseSource, enumerated

__all__ = ["count_notes", "test_cases", "unlisted_cases"]

TEST_FOLDERS = ("imagesTs", "labelsTs")


def unlisted_cases(tree: Tree, index: Index, mentioned: Collection[Path]) -> tuple[str, ...]:
    """Return a sentence about the labelled cases of image and label folders of which the index names no file."""
    pairs = _pairs_in(tree, folder_pairs(tree))
    names = [source.case_id for source in pairs if not set(source.files).intersection(mentioned)]
    if not names:
        return ()
    return (f"{index.path} does not list {enumerated(names)}: not used, although labelled",)


def test_cases(tree: Tree, mentioned: Collection[Path] = ()) -> tuple[str, ...]:
    """Return a sentence about the labelled cases that nnU-Net and the Decathlon keep for the test."""
    images, labels = TEST_FOLDERS
    pairs = _pairs_in(tree, [TEST_FOLDERS] if {images, labels} <= set(tree.folders) else [])
    names = [source.case_id for source in pairs if not set(source.files).intersection(mentioned)]
    if not names:
        return ()
    return (
        f"{images}/ and {labels}/ hold {enumerated(names)}, kept for the test: not used (predict with --input"
        f" {tree.path(images)}, evaluate against {tree.path(labels)})",
    )


def count_notes(index: Index, sources: Sequence[CaseSource]) -> tuple[str, ...]:
    """Return a sentence where the number of training cases is another than the index declares."""
    declared = index.content.get("numTraining")
    count = sum(source.split in (None, "train") for source in sources)
    if type(declared) is not int or declared == count:
        return ()
    return (f"{index.name} declares {declared} training cases (numTraining), {count} can be read",)


def _pairs_in(tree: Tree, folders: Sequence[tuple[str, str]]) -> Iterable[CaseSource]:
    usable = [pair for pair in folders if all(has_volumes(tree, (folder,)) for folder in pair)]
    return pair_folders(tree, usable).sources if usable else ()
