"""Coded names of structures for DICOM: of SNOMED CT, as pydicom lists them; no code is typed here."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from imgmed.label_codes import code_parts

if TYPE_CHECKING:
    from pydicom.sr.coding import Code

__all__ = ["CodedName", "coded_name"]

ABNORMAL, ANATOMY, TISSUES = "CID7194", "CID7192", "CID7191"  # DICOM PS3.16: types of segmented properties
CATEGORIES_OF = {ANATOMY: "AnatomicalStructure", ABNORMAL: "MorphologicallyAbnormalStructure", TISSUES: "Tissue"}
NO_STRUCTURES = {"Background", "Normal"}
WORDS = {
    "tumour": "neoplasm", "tumours": "neoplasm", "tumor": "neoplasm", "tumors": "neoplasm", "oedema": "edema",
    "haemorrhage": "hemorrhage", "oesophagus": "esophagus", "nuclei": "nucleus", "vertebrae": "vertebra",
    "fat": "adipose tissue", "muscle": "muscle tissue", "grey": "gray", "csf": "cerebrospinal fluid",
    "urinary bladder": "bladder",
}  # fmt: skip
"""What other people call what DICOM's lists have, in small letters."""


@dataclass(frozen=True)
class CodedName:
    """What a structure is, in codes.

    Args:
        category: anatomy, tissue, something abnormal, or what its code says.
        type: the structure.
        side: left or right, where its name says so.
        region: what something abnormal is in, where its name says so.
    """

    category: Code
    type: Code
    side: Code | None = None
    region: Code | None = None


def coded_name(name: str, code: str | None = None) -> CodedName:
    """Find the codes of a structure by its name in English; a tissue, where DICOM's lists do not have it.

    Args:
        name: such as "liver", "left_kidney" or "liver tumour".
        code: its type, see `imgmed.label_codes`; without a category, that of the list of DICOM's which has it, else
            anatomy. None: by its name.

    Raises:
        LabelError: no such `code` can be.

    >>> coded_name("Left_Kidney").type.meaning, coded_name("Left_Kidney").side.meaning
    ('Kidney', 'Left')
    >>> coded_name("liver tumours").type.meaning, coded_name("liver tumours").region.meaning
    ('Neoplasm', 'Liver')
    >>> coded_name("label 3").type.meaning, coded_name("a", "SCT:113197003:Rib").type.value
    ('Tissue', '113197003')
    """
    from pydicom.sr.codedict import codes

    words = re.sub(r"[^a-z]+", " ", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()).split()
    side = next((word for word in words if word in ("left", "right")), None)
    named = getattr(codes.SCT, side.capitalize()) if side else None
    if code is not None:
        own, category = _given(code)
        lists = (kind for listed, kind in CATEGORIES_OF.items() if own in getattr(codes, listed))
        return CodedName(getattr(codes.SCT, category or next(lists, CATEGORIES_OF[ANATOMY])), own, named)
    whole = _anywhere(words)
    if whole is not None:  # such as the left atrium, which has a code of its own
        return whole
    others = [word for word in words if word not in ("left", "right")]
    found = _anywhere(others)
    if found is not None:
        return CodedName(found.category, found.type, named)
    abnormal = _listed(ABNORMAL, others[-1:])
    if abnormal is not None:
        region = _anywhere(others[:-1])
        where = None if region is None else region.type
        return CodedName(codes.SCT.MorphologicallyAbnormalStructure, abnormal, named, where)
    return CodedName(codes.SCT.Tissue, codes.SCT.Tissue, named)


def _given(code: str) -> tuple[Code, str | None]:
    from pydicom.sr.coding import Code

    scheme, value, meaning, category = code_parts(code)
    return Code(value, scheme, meaning), category


def _anywhere(words: Sequence[str]) -> CodedName | None:
    from pydicom.sr.codedict import codes

    found = ((category, _listed(name, words)) for name, category in CATEGORIES_OF.items())
    return next((CodedName(getattr(codes.SCT, kind), code) for kind, code in found if code is not None), None)


def _listed(context: str, words: Sequence[str]) -> Code | None:
    """The code in one of DICOM's lists."""
    from pydicom.sr.codedict import codes

    text = " ".join(words)
    text = WORDS.get(text) or " ".join(WORDS.get(word, word) for word in words)
    keyword = "".join(word.capitalize() for word in text.split())
    if not keyword or keyword in NO_STRUCTURES:
        return None
    listed = getattr(codes, context)
    code: Code | None = getattr(listed, keyword, None) or getattr(listed, keyword.removesuffix("s"), None)
    return code
