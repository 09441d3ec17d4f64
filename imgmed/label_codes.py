"""How codes of labels are written: in the settings, in a model's card, for DICOM. Nothing heavy is loaded."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from typing import Annotated

from pydantic import AfterValidator

from imgmed.errors import LabelError

__all__ = ["CATEGORIES", "LabelCode", "check_coded", "code_parts"]

CATEGORIES = (
    *("AnatomicalStructure", "Tissue", "MorphologicallyAbnormalStructure", "PhysicalObject"),
    *("BodySubstance", "Substance", "Function", "SpatialAndRelationalConcept"),
)
"""What a segment may be of, by pydicom's names.

Source: DICOM PS3.16, CID 7150, Segmentation Property Category.
"""

PATTERN = re.compile(rf"(\w{{1,16}}):([^:\\\s]{{1,16}}):([^:\\]{{1,64}})(?::({'|'.join(CATEGORIES)}))?", re.ASCII)


def code_parts(code: str) -> tuple[str, str, str, str | None]:
    """Return scheme, value, meaning and category, which may be left out.

    Raises:
        LabelError: it is written otherwise.

    >>> code_parts("SCT:10200004:Liver")
    ('SCT', '10200004', 'Liver', None)
    >>> code_parts("SCT:65818007:Stent:PhysicalObject")[-1]
    'PhysicalObject'
    """
    found = PATTERN.fullmatch(code)
    if found is None:
        raise LabelError(
            f"a code is SCHEME:VALUE:MEANING, such as SCT:10200004:Liver, and may have a fourth part, one of"
            f" {', '.join(CATEGORIES)}; received {code!r}"
        )
    scheme, value, meaning, category = found.groups()
    return scheme, value, meaning, category


def _checked(code: str) -> str:
    code_parts(code)
    return code


LabelCode = Annotated[str, AfterValidator(_checked)]
"""A code, checked: SCHEME:VALUE:MEANING, or with a category SCHEME:VALUE:MEANING:CATEGORY."""


def check_coded(coded: Iterable[str], labels: Collection[str]) -> None:
    """Look whether what has codes is a label.

    Args:
        coded: names that codes are given for.
        labels: names of the labels, without the background.

    Raises:
        LabelError: it is none.
    """
    unknown = [name for name in coded if name not in labels]
    if unknown:
        raise LabelError(
            f"label_codes: no label {', '.join(map(repr, unknown))}; the labels are {', '.join(labels) or 'none'}"
        )
