"""The colours of labels, the same in every picture and on every page; no drawing library is loaded for them."""

from __future__ import annotations

import colorsys
from collections.abc import Iterable

__all__ = ["LABEL_COLOURS", "MORE_COLOURS", "colours_of", "rgb"]

LABEL_COLOURS = ("#56B4E9", "#E69F00", "#009E73", "#CC79A7", "#F0E442", "#D55E00")
MORE_COLOURS = ("#8DD3C7", "#BEBADA", "#FB8072", "#B3DE69", "#FCCDE5", "#BC80BD")
_FEW = (*LABEL_COLOURS, *MORE_COLOURS)
_GOLDEN = 0.61803398875  # of the circle: hues that follow one another lie far apart


def colours_of(names: Iterable[str]) -> dict[str, str]:
    """Give each label a colour, by its place: the same label of a dataset has the same one everywhere.

    Args:
        names: of the labels in their order, without the background.

    >>> colours_of(["liver", "tumour"])
    {'liver': '#56B4E9', 'tumour': '#E69F00'}
    """
    return {name: _FEW[place] if place < len(_FEW) else _further(place) for place, name in enumerate(names)}


def rgb(colour: str) -> tuple[int, int, int]:
    """Give the parts of a colour from 0 to 255.

    >>> rgb("#56B4E9")
    (86, 180, 233)
    """
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def _further(place: int) -> str:
    parts = colorsys.hsv_to_rgb(place * _GOLDEN % 1.0, 0.55 + 0.15 * (place % 3), 0.95)
    return "#" + "".join(f"{round(255 * part):02X}" for part in parts)
