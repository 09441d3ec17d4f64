"""A network of volumes in the style of C2FNAS: cells that look in the plane, along the slices, or both.

Yu et al. (CVPR 2020, arXiv 1912.09628) searched for the way through resolutions first, and for the operation of each
cell then. Their code is not public. The table below is ours, after what others have made of their paper: it need not be
what they found, and no score of theirs says anything of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import keras
from keras import layers

from dist_training.architectures.convolutions import Convolutions
from dist_training.architectures.ends import open_images, read_logits
from dist_training.architectures.enlargement import LinearEnlargement
from dist_training.architectures.initial import he_normal
from dist_training.architectures.settings import C2FNASStyleSettings

__all__ = ["CELLS", "OPERATIONS", "Cell", "build"]

Operation = Literal["2d", "3d", "pseudo_3d"]

OPERATIONS: dict[Operation, tuple[tuple[int, int, int], ...]] = {
    "2d": ((1, 3, 3),),
    "3d": ((3, 3, 3),),
    "pseudo_3d": ((1, 3, 3), (3, 1, 1)),
}
"""Kernels (slices, rows, columns) of the convolutions of each operation, in their order."""


@dataclass(frozen=True)
class Cell:
    """A cell of the network.

    Attributes:
        name: of its layers, and of what it gives.
        level: how many times the volume is halved there.
        operation: see `OPERATIONS`.
        inputs: names of cells, or of a level's start; one of another level is halved or enlarged on the way.
    """

    name: str
    level: int
    operation: Operation
    inputs: tuple[str, ...]


CELLS = (
    Cell("down1_a", 1, "2d", ("down1_start",)),
    Cell("down1_b", 1, "pseudo_3d", ("down1_a", "down1_start")),
    Cell("down2_a", 2, "3d", ("down1_b",)),
    Cell("down2_b", 2, "3d", ("down2_a",)),
    Cell("down3_a", 3, "3d", ("down2_b",)),
    Cell("bottom_a", 4, "2d", ("down3_a",)),
    Cell("up3_a", 3, "3d", ("down3_a", "bottom_a")),
    Cell("up3_b", 3, "3d", ("up3_a",)),
    Cell("up2_a", 2, "pseudo_3d", ("down2_b", "up3_b")),
    Cell("up1_a", 1, "3d", ("down1_b", "up2_a")),
    Cell("up1_b", 1, "2d", ("up1_a",)),
    Cell("up1_c", 1, "3d", ("up1_b", "up1_a")),
)
"""The network, in its order; what the last two cells give is joined for the logits."""


def build(settings: C2FNASStyleSettings, input_channels: int, num_outputs: int, seed: int) -> keras.Model:
    """Build a network of cells.

    A 3x3x3 convolution at the size of the volume, one of stride 2, then the cells of `CELLS`, whose filters double with
    every halving. A cell is a 1x1x1 convolution of each input, their sum, ReLU, its operation, normalisation, and a
    1x1x1 convolution. On the way down to a level stand ReLU, a 3x3x3 convolution of stride 2 and normalisation; on the
    way up trilinear enlargement, ReLU, a 1x1x1 convolution and normalisation. What the last two cells give is joined,
    convolved to half the channels, enlarged, convolved to half of these, and becomes logits.

    Args:
        settings: filters and normalisation.
        input_channels: channels of a volume.
        num_outputs: channels of the logits.
        seed: of the initial weights.

    Returns:
        A Keras model from (N, D, H, W, input_channels) to logits (N, D, H, W, num_outputs).

    >>> build(C2FNASStyleSettings(base_filters=2), 1, 3, seed=0).output_shape
    (None, None, None, None, 3)
    """
    convolve = Convolutions(settings.normalisation, settings.groups, seed)
    base = settings.base_filters
    volumes, maps = open_images(input_channels, settings.size_multiples)
    start = convolve(maps, "down0_start", base, is_activated=False)
    made = {"down1_start": _halved(start, "down1_start", 2 * base, convolve)}
    levels = {"down1_start": 1, **{cell.name: cell.level for cell in CELLS}}
    ways = {1: _halved, 0: lambda maps, *_: maps, -1: _enlarged}
    for cell in CELLS:
        filters = base * 2**cell.level
        inputs = [
            ways[cell.level - levels[name]](made[name], f"{cell.name}_from{number}", filters, convolve)
            for number, name in enumerate(cell.inputs)
        ]
        made[cell.name] = _cell(inputs, cell, filters, convolve)
    joined = layers.Concatenate(name="up1_join")([made[cell.name] for cell in CELLS[-2:]])
    maps = convolve(joined, "up1_narrow", 2 * base)
    maps = LinearEnlargement((2, 2, 2), name="up0_linear")(maps)
    maps = convolve(maps, "up0_narrow", base)
    return keras.Model(volumes, read_logits(maps, volumes, num_outputs, seed), name="c2fnas_style")


def _cell(inputs: Sequence[Any], cell: Cell, filters: int, convolve: Convolutions) -> Any:
    """Apply a cell to maps of its own level."""
    parts = [_mixed(maps, f"{cell.name}_mix{number}", filters, convolve.seed) for number, maps in enumerate(inputs)]
    maps = layers.Add(name=f"{cell.name}_add")(parts) if len(parts) > 1 else parts[0]
    maps = convolve.activate(maps, cell.name)
    *first, kernel = OPERATIONS[cell.operation]
    for number, flat in enumerate(first):
        maps = _mixed(maps, f"{cell.name}_operation{number}", filters, convolve.seed, flat)
    maps = convolve(maps, f"{cell.name}_operation", filters, kernel, is_activated=False)
    return _mixed(maps, f"{cell.name}_end", filters, convolve.seed)


def _mixed(maps: Any, name: str, filters: int, seed: int, kernel: Sequence[int] = (1, 1, 1)) -> Any:
    """Convolve without bias, normalisation or activation."""
    return layers.Conv3D(
        filters, tuple(kernel), padding="same", use_bias=False, kernel_initializer=he_normal(seed, name), name=name
    )(maps)


def _halved(maps: Any, name: str, filters: int, convolve: Convolutions) -> Any:
    return convolve(convolve.activate(maps, f"{name}_halve"), f"{name}_halve", filters, stride=2, is_activated=False)


def _enlarged(maps: Any, name: str, filters: int, convolve: Convolutions) -> Any:
    maps = convolve.activate(LinearEnlargement((2, 2, 2), name=f"{name}_linear")(maps), f"{name}_enlarge")
    return convolve(maps, f"{name}_enlarge", filters, 1, is_activated=False)
