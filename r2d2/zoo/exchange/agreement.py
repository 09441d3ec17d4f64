"""Whether two forms of a network decide alike: their label maps, pixel by pixel, but for ties."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dist_training.inference.outputs import NetworkOutputs

__all__ = ["TIE", "Agreement", "compare"]

TIE = 1e-4
"""Two logits that differ by less are as good as equal: float32 computed in another order may decide either way."""


@dataclass(frozen=True)
class Agreement:
    """How far two forms of a network agree.

    Attributes:
        pixels: that were compared.
        differing: of these, that are of another class, without being ties.
        ties: that are of another class, and whose two best scores differ by less than ``TIE``.
        largest_difference: of two logits; NaN where one is no number.
    """

    pixels: int
    differing: int
    ties: int
    largest_difference: float

    def __str__(self) -> str:
        are = "is a tie" if self.ties == 1 else "are ties"
        also = f"; {self.ties:,} {are} within {TIE:g}" if self.ties else ""
        return (
            f"{self.differing:,} of {self.pixels:,} pixels differ{also}; "
            f"logits differ by up to {self.largest_difference:.2g}"
        )

    @property
    def is_kept(self) -> bool:
        """Whether they agree on each pixel that is no tie."""
        return self.differing == 0 and bool(np.isfinite(self.largest_difference))


def compare(outputs: NetworkOutputs, expected: Sequence[np.ndarray], found: Sequence[np.ndarray]) -> Agreement:
    """Compare what two forms of a network give for the same images.

    Args:
        outputs: what the channels of the logits mean.
        expected: logits (N, H, W, outputs) of the one, for each batch.
        found: of the other.

    >>> logits = np.array([[[[0.0, 1.0], [2.0, 2.00001]]]])
    >>> print(compare(NetworkOutputs("classes", 2, 2, {}), [logits], [logits[..., ::-1]]))
    1 of 2 pixels differ; 1 is a tie within 0.0001; logits differ by up to 1
    """
    pixels = differing = ties = 0
    largest = 0.0
    for one, other in zip(expected, found, strict=True):
        if one.shape != other.shape:
            return Agreement(pixels + one[..., 0].size, one[..., 0].size, 0, float("nan"))
        is_other = np.asarray(outputs.decode(one)) != np.asarray(outputs.decode(other))
        is_tie = _margin(one, outputs) < TIE
        pixels += is_other.size
        differing += int((is_other & ~is_tie).sum())
        ties += int((is_other & is_tie).sum())
        largest = float(np.maximum(largest, np.abs(one - other).max()))  # which keeps NaN
    return Agreement(pixels, differing, ties, largest)


def _margin(logits: np.ndarray, outputs: NetworkOutputs) -> np.ndarray:
    """How far the two best scores of each pixel lie apart: of a softmax two logits, of a sigmoid its logit and 0."""
    if outputs.is_softmax:
        best = np.partition(logits, -2, axis=-1)
        return np.asarray(best[..., -1] - best[..., -2])
    return np.abs(logits).min(axis=-1)
