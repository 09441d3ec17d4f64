"""Which label map belongs to which image, where only their names tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from imgmed.recipes.channels import group_channels
from imgmed.recipes.layout import CaseList
from imgmed.recipes.names import SPLITS, LabelName, is_image_word, label_name, split_of, without_image_word
from imgmed.recipes.partners import contrast_groups
from imgmed.recipes.tree import Tree
from imgmed.study import CaseSource, VolumeSource

__all__ = ["flat_folders", "match_in_folder", "match_names", "scans_in_folder"]

SEPARATORS = "_.- "


def flat_folders(tree: Tree) -> list[str]:
    """Return where images may lie side by side: in the root (""), or in the folders of splits directly below it."""
    return ["", *(folder for folder in tree.folders if folder.lower() in SPLITS)]


def match_in_folder(tree: Tree, folder: str) -> CaseList:
    """Pair the volumes that lie directly in one folder of the tree; nothing if it holds no pair."""
    stems = _volumes_in(tree, folder)
    bases = {named.base: stem for stem in stems if (named := label_name(stem)) is not None and not named.rest}
    groups, channels = contrast_groups([stem for stem in stems if label_name(stem) is None], bases)
    cases = [(base, images, bases[base]) for base, images in groups.items() if base in bases]
    taken = {stem for _, images, label in cases for stem in (*images, label)}
    pairs, doubts = match_names([stem for stem in stems if stem not in taken])
    cases += [(image, [image], label) for image, label in pairs.items()]
    if not cases and not doubts:
        return CaseList()
    sources = [
        _case(tree, folder, name, [tree.path(stems[image]) for image in images], tree.path(stems[label]))
        for name, images, label in cases
    ]
    problems = tuple(f"{tree.path(stems[stem])}: {doubt}" for stem, doubt in doubts.items())
    return CaseList(tuple(sources), problems, channels=channels or None)


def scans_in_folder(tree: Tree, folder: str) -> CaseList:
    """Return the images that lie directly in one folder as cases without labels, called as with them."""
    stems = _volumes_in(tree, folder)
    volumes = {stem: VolumeSource((tree.path(stems[stem]),)) for stem in stems if label_name(stem) is None}
    grouped, problems = group_channels(volumes, ())
    groups, channels = contrast_groups([stem for stem in grouped if len(grouped[stem]) == 1], ())
    members = {image for images in groups.values() for image in images}
    cases = {stem: files for stem, files in grouped.items() if stem not in members}
    cases |= {case: tuple(volumes[image] for image in images) for case, images in groups.items()}
    sources = [_case(tree, folder, stem, [file.path for file in files], None) for stem, files in cases.items()]
    return CaseList(tuple(sources), tuple(problems.values()), channels=channels or None)


def _volumes_in(tree: Tree, folder: str) -> dict[str, str]:
    """{stem: path from the root} of the volumes directly in a folder."""
    parent = folder or "."
    names = [name for name in tree.volumes if PurePosixPath(name).parent.as_posix() == parent]
    return {PurePosixPath(tree.stems[name]).name: name for name in names}


def _case(tree: Tree, folder: str, stem: str, images: Sequence[Path], label: Path | None) -> CaseSource:
    return CaseSource(
        case_id=_case_name(stem, tree.path(folder)),
        images=tuple(VolumeSource((image,)) for image in images),
        label=None if label is None else VolumeSource((label,)),
        split=split_of((folder,)),
    )


def match_names(stems: Sequence[str]) -> tuple[dict[str, str], dict[str, str]]:
    """Pair images with label maps by the stems of their names.

    Returns:
        {image: label}, and {stem: what is wrong with it}. A label map beside a better named one is neither.

    >>> match_names(["a_ct", "a_ct_seg-manual", "b_image", "b_label"])
    ({'a_ct': 'a_ct_seg-manual', 'b_image': 'b_label'}, {})
    >>> match_names(["a", "a_seg", "b"])
    ({'a': 'a_seg'}, {'b': 'image without a label; expected one like a_seg'})
    """
    labels = {stem: parts for stem in stems if (parts := label_name(stem)) is not None}
    images = [stem for stem in stems if stem not in labels]
    offers: dict[str, dict[str, int]] = {}
    doubts: dict[str, str] = {}
    for label, parts in labels.items():
        strength, candidates = _candidates(parts, images)
        if len(candidates) == 1:
            offers.setdefault(candidates[0], {})[label] = strength
        elif candidates:
            doubts[label] = f"label of which image? its name fits {_listed(candidates)}; rename the one it belongs to"
        else:
            doubts[label] = "label without an image; nothing beside it has this name without the word for a label"
    pairs = _best(offers, doubts)
    if pairs:
        example = next(iter(pairs.values()))
        doubts |= {s: f"image without a label; expected one like {example}" for s in images if s not in offers}
    else:
        doubts = {stem: doubt for stem, doubt in doubts.items() if stem in offers}
    return pairs, {stem: doubts[stem] for stem in stems if stem in doubts}


def _best(offers: Mapping[str, Mapping[str, int]], doubts: dict[str, str]) -> dict[str, str]:
    pairs = {}
    for image, strengths in offers.items():
        best = [label for label, strength in strengths.items() if strength == min(strengths.values())]
        if len(best) == 1:
            pairs[image] = best[0]
        else:
            doubts[image] = f"{len(best)} label maps: {_listed(best)}; keep one of them beside it"
    return pairs


def _candidates(label: LabelName, images: Sequence[str]) -> tuple[int, list[str]]:
    """The images that a label's name fits, by the strongest of the rules, with the rule's number."""
    base, rest = label.base.lower(), label.rest.lower()
    rules = (
        lambda image: not rest and base and base in (image, without_image_word(image)),
        lambda image: not rest and not base and (is_image_word(image) or len(images) == 1),
        lambda image: rest and (image == base + rest or _is_counterpart(image, base, rest)),
        lambda image: rest and base and base in (image, without_image_word(image)),
        lambda image: not rest and base and _continues(image, base),
        lambda image: rest and base and _continues(image, base),
    )
    for strength, fits in enumerate(rules):
        found = [image for image in images if fits(image.lower())]
        if found:
            return strength, found
    return len(rules), []


def _is_counterpart(image: str, base: str, rest: str) -> bool:
    """Whether img_001 meets mask_001, or p1_image_2 meets p1_label_2."""
    if not image.endswith(rest):
        return False
    start = image[: -len(rest)]
    return is_image_word(start) if not base else start != base and without_image_word(start) == base


def _continues(image: str, base: str) -> bool:
    return image.startswith(base) and image[len(base) :][:1] in tuple(SEPARATORS)


def _case_name(image: str, folder: Path) -> str:
    name = without_image_word(image)
    return name or folder.resolve().name


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names)
