"""Label maps that are one mask for each structure: segmentations/liver.nii.gz, segmentations/spleen.nii.gz ..."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TypeVar

from imgmed.recipes.names import label_name

__all__ = ["shared_structures", "structure_name"]

# Words by which copies of one label map are told apart: they name no structure
WHO_OR_WHEN = re.compile(
    r"(?:rater|reader|observer|expert|annotator|reviewer|doctor|user|author|manual|auto|automatic|semi|pred|prediction"
    r"|gt|truth|final|draft|old|new|orig|original|backup|bak|copy|edited|corrected|fixed|version|ver|v|r|consensus"
    r"|majority|staple|maj|union|or|and|dicom)?[-_. ]?\d*",
    re.IGNORECASE,
)
FEWEST_LETTERS = 2
Case = TypeVar("Case")


def structure_name(stem: str) -> str | None:
    """Return what the mask of one structure is called: its name without words for labels; None where it names none.

    >>> structure_name("kidney_left"), structure_name("liver_seg"), structure_name("mask_liver.seg")
    ('kidney_left', 'liver', 'liver')
    >>> structure_name("seg_1"), structure_name("seg_rater2"), structure_name("label-old")
    (None, None, None)
    """
    name = stem
    while (parts := label_name(name)) is not None:
        name = "_".join(part.strip("_.- ") for part in parts if part)
    is_name = not WHO_OR_WHEN.fullmatch(name) and sum(map(str.isalpha, name)) >= FEWEST_LETTERS
    return name if is_name else None


def shared_structures(masks: Mapping[Case, Sequence[str | None]]) -> frozenset[str]:
    """Return the names of structures that the cases of a study have masks of; nothing where these are no such masks.

    Masks of structures have names, each one once in a case, and most cases have several of them.

    Args:
        masks: for each case the names of its label maps as `structure_name` gives them.
    """
    several = [names for names in masks.values() if len(names) > 1 and _tell_apart(names)]
    if 2 * len(several) < len(masks) or not several:
        return frozenset()
    counts = Counter(name for names in several for name in names if name is not None)
    if 2 * max(counts.values()) < len(several):
        return frozenset()  # no name comes again
    return frozenset(counts)


def _tell_apart(names: Sequence[str | None]) -> bool:
    return None not in names and len(set(names)) == len(names)
