"""Deep supervision: the same loss at falling resolutions."""

from __future__ import annotations

from typing import Any

from r2d2_base.errors import ConfigurationError

__all__ = ["as_levels", "classes_at", "level_weights"]

_IGNORED = -1


def as_levels(outputs: Any) -> list[Any]:
    """Give the logits of each resolution, finest first; a network without deep supervision has one."""
    return list(outputs) if isinstance(outputs, list | tuple) else [outputs]


def level_weights(levels: int) -> list[float]:
    """Weigh the resolutions, finest first: each half of the one before, 1 in all (Isensee et al. 2021, nnU-Net).

    >>> level_weights(3)
    [0.5714285714285714, 0.2857142857142857, 0.14285714285714285]
    """
    weights = [0.5**level for level in range(levels)]
    return [weight / sum(weights) for weight in weights]


def classes_at(classes: Any, *wanted: int | None) -> Any:
    """Bring class maps down to the size of coarser logits by taking, of each block of pixels, the one at its centre.

    A block is f pixels long along an axis, f the smallest power of two with which the logits cover the image. Where
    they cover more, the network has padded the image, as much on both sides as ``PadToMultiple`` does, and what it
    has added is ignored. An even block has no centre pixel: the one after its centre is taken, which is a choice. The
    residual U-Net prefers neither side: its convolutions of stride 2, padded alike on all sides, look at the pixel
    before the centre, what it averages and enlarges lies about the centre itself.

    Args:
        classes: int32 (N, H, W), or of volumes (N, D, H, W), -1 where a pixel counts nowhere.
        wanted: the size of the logits along each axis; None: unknown, so that it must be that of the maps.

    Returns:
        int32 (N, *wanted).

    Raises:
        ConfigurationError: larger logits than the class maps, or of an unknown size where that of the maps is known.

    >>> from keras import ops
    >>> classes_at(ops.reshape(ops.arange(16), (1, 4, 4)), 2, 2)[0].numpy().tolist()
    [[5, 7], [13, 15]]
    """
    from keras import ops

    sizes = tuple(classes.shape[1:])
    if sizes == wanted:
        return classes
    known = [count for count, size in zip(wanted, sizes, strict=True) if count and size and count <= size]
    if len(known) < len(sizes):
        raise ConfigurationError(
            f"each of a network's outputs must be at most as large as its input, of known size; received outputs of "
            f"{wanted} for class maps of {sizes}"
        )
    blocks = [_block(size, count) for size, count in zip(sizes, known, strict=True)]
    missing = [block * count - size for block, count, size in zip(blocks, known, sizes, strict=True)]
    margins = [(pixels // 2, pixels - pixels // 2) for pixels in missing]
    padded = ops.pad(classes, [(0, 0), *margins], constant_values=_IGNORED)
    return padded[(slice(None), *(slice(block // 2, None, block) for block in blocks))]


def _block(size: int, count: int) -> int:
    block = 1
    while block * count < size:
        block *= 2
    return block
