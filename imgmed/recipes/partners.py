"""Which label map belongs to which image, in folders of their own: by equal names first, then by names that differ."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from imgmed.recipes.names import CONTRASTS, label_name, plain_name, without_image_word
from imgmed.recipes.structures import shared_structures, structure_name

__all__ = ["Partner", "contrast_groups", "partners_of"]

SEPARATORS = ("_", "-", ".", " ")


@dataclass(frozen=True)
class Partner:
    """The label map of an image: one path, or one for each structure, with their names."""

    labels: tuple[str, ...]
    structures: tuple[str, ...] = ()


def partners_of(images: Iterable[str], labels: Iterable[str]) -> dict[str, Partner]:
    """Return {image: its label map}, each by its path in its folder without suffix.

    >>> partners_of(["x", "y_ct"], ["x_seg", "y"])
    {'x': Partner(labels=('x_seg',), structures=()), 'y_ct': Partner(labels=('y',), structures=())}
    >>> partners_of(["x"], ["x/liver", "x/spleen"])["x"].structures
    ('liver', 'spleen')
    """
    images, labels = list(images), list(labels)
    pairs = {image: image for image in images if image in set(labels)}
    for name_of_image, name_of_label in RULES:
        taken = set(pairs.values())
        by_image = _unique({image: name_of_image(image) for image in images if image not in pairs})
        by_label = _unique({label: name_of_label(label) for label in labels if label not in taken})
        pairs |= {image: by_label[name] for name, image in by_image.items() if name in by_label}
    partners = {image: Partner((label,)) for image, label in pairs.items()}
    rest = [image for image in images if image not in partners]
    taken = set(pairs.values())
    return partners | _with_structures(rest, [label for label in labels if label not in taken])


def _unique(names: Mapping[str, str]) -> dict[str, str]:
    """{name: what is called so} of the names that only one has; nothing meets by no name."""
    counts = Counter(names.values())
    return {name: key for key, name in names.items() if name and counts[name] == 1}


def _with_structures(images: Sequence[str], labels: Sequence[str]) -> dict[str, Partner]:
    """The masks of each image: x/liver or liver/x or x_liver of x; a lone one of the same name in all is its label."""
    masks: dict[str, dict[str, str | None]] = {image: {} for image in images}
    folders = _unique({image: _folder_or_name(image) for image in images})
    for label in labels:
        folder, _, stem = label.rpartition("/")
        starts = [image for image in images if label.startswith(tuple(image + end for end in SEPARATORS))]
        if folder in folders:
            masks[folders[folder]][label] = structure_name(stem)
        elif stem in masks:
            masks[stem][label] = structure_name(folder.replace("/", "_"))
        elif starts:
            image = max(starts, key=len)
            masks[image][label] = structure_name(label[len(image) :].lstrip("".join(SEPARATORS)))
    names = {image: tuple(members.values()) for image, members in masks.items() if members}
    shared = shared_structures(names)
    lone = {image: next(iter(masks[image])) for image in names if len(masks[image]) == 1}
    if not shared:
        return {image: Partner((label,)) for image, label in lone.items()}
    return {
        image: Partner(tuple(masks[image]), tuple(name for name in names[image] if name is not None))
        for image in names
        if shared.issuperset(names[image])
    }


def contrast_groups(images: Collection[str], labels: Collection[str]) -> tuple[dict[str, list[str]], tuple[str, ...]]:
    """Gather images that are several contrasts of one case: "x_t1" and "x_flair" of the label map "x".

    Args:
        images: paths without suffix.
        labels: the same of the label maps; where there are none, the words for contrasts tell.

    Returns:
        {case: its images}, and the names of the contrasts, the same in all these cases; nothing where every case has
        one image, or where most cases have other contrasts.
    """
    bases = {_plain(label): label for label in labels}
    groups: dict[str, dict[str, str]] = {}
    for image in images:
        cuts = [cut for cut, letter in enumerate(image) if letter in SEPARATORS and "/" not in image[cut:]]
        for cut in reversed(cuts):
            base, contrast = image[:cut], image[cut + 1 :]
            if (_plain(base) in bases) if labels else contrast.lower() in CONTRASTS:
                groups.setdefault(base, {})[contrast] = image
                break
    names = Counter(tuple(sorted(group)) for group in groups.values())
    (usual, count), *_ = names.most_common(1) or [((), 0)]
    are_few = 2 * count <= len(labels) if labels else count * len(usual) < len(images)
    if len(usual) < 2 or are_few:
        return {}, ()
    chosen = {base: [group[name] for name in usual] for base, group in groups.items() if tuple(sorted(group)) == usual}
    return chosen, usual


def _as_it_is(key: str) -> str:
    return key


def _without_label_word(key: str) -> str:
    folder, _, stem = key.rpartition("/")
    label = label_name(stem)
    return key if label is None else f"{folder}/{label.base}{label.rest}".strip("/")


def _without_image_word(key: str) -> str:
    folder, _, stem = key.rpartition("/")
    return f"{folder}/{without_image_word(stem)}".strip("/")


def _plain(key: str) -> str:
    folder, _, stem = key.rpartition("/")
    return f"{folder}/{plain_name(stem)}".strip("/").lower()


def _folder_or_name(key: str) -> str:
    return key.rpartition("/")[0] or key


RULES = (
    (_as_it_is, _without_label_word),
    (_without_image_word, _as_it_is),
    (_without_image_word, _without_label_word),
    (_plain, _plain),
    (_folder_or_name, _as_it_is),
)
