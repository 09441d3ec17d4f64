"""How quantities of scans and of pictures are called: millimetres and a patient's sides, or pixels and edges."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

__all__ = ["PICTURES", "SCANS", "Words"]


@dataclass(frozen=True)
class Words:
    """The words of one kind of images.

    Args:
        is_placed: whether they have a size in millimetres and a place in a patient.
        axes: names of the canonical axes right, anterior, superior.
        faces: what the six faces of an image are called, by their names in the measures.
        element: what images consist of.
        extent: how much of it a label has: "volume" or "area".
        unit: of that.
        per_ml: how many of these units are a millilitre, as which the measures count.
    """

    is_placed: bool
    axes: tuple[str, str, str]
    faces: Mapping[str, str]
    element: str
    extent: str
    unit: str
    per_ml: float

    def faces_named(self, faces: Iterable[str]) -> list[str]:
        """Return the words for some faces.

        >>> PICTURES.faces_named(["right", "front"])
        ['left edge', 'top edge']
        """
        return [self.faces[face] for face in faces]


SCANS = Words(
    is_placed=True,
    axes=("left-right", "back-front", "foot-head"),
    faces={name: name for name in ("left", "right", "back", "front", "foot", "head")},
    element="voxels",
    extent="volume",
    unit="ml",
    per_ml=1.0,
)
PICTURES = Words(  # one pixel counts as a millimetre, columns run to the patient's left, rows to the back
    is_placed=False,
    axes=("width", "height", "pages"),
    faces={
        "left": "right edge",
        "right": "left edge",
        "back": "bottom edge",
        "front": "top edge",
        "foot": "first page",
        "head": "last page",
    },
    element="pixels",
    extent="area",
    unit="pixels",
    per_ml=1000.0,
)
