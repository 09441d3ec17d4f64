"""Named masks that may overlap, many of them in little memory."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

import numpy as np

__all__ = ["Masks"]


class Masks(Mapping[str, np.ndarray]):
    """Masks by name, each (i, j, k) bool, held as one bit a voxel; those without a voxel are left out.

    Args:
        shape: of each mask.
        named: names and masks; a name that occurs again gets a number: "lesion", "lesion (2)".

    >>> masks = Masks((1, 1, 2), [("a", np.array([[[True, False]]])), ("b", np.array([[[False, False]]]))])
    >>> list(masks), masks["a"].tolist()
    (['a'], [[[True, False]]])
    """

    def __init__(self, shape: tuple[int, int, int], named: Iterable[tuple[str, np.ndarray]]) -> None:
        self.shape = shape
        self._bits: dict[str, np.ndarray] = {}
        for name, mask in named:
            if mask.any():
                self._bits[self._unused(name)] = np.packbits(mask)

    def _unused(self, name: str) -> str:
        unused, number = name, 1
        while unused in self._bits:
            number += 1
            unused = f"{name} ({number})"
        return unused

    def __getitem__(self, name: str) -> np.ndarray:
        count = int(np.prod(self.shape))
        return np.unpackbits(self._bits[name], count=count).view(bool).reshape(self.shape)

    def __iter__(self) -> Iterator[str]:
        return iter(self._bits)

    def __len__(self) -> int:
        return len(self._bits)

    def only(self, names: Collection[object]) -> Masks:
        """Return the masks of these names."""
        kept = Masks(self.shape, ())
        kept._bits = {name: bits for name, bits in self._bits.items() if name in names}
        return kept

    def together(self) -> np.ndarray:
        """Return the mask (i, j, k) bool of what is in any of them."""
        mask = np.zeros(self.shape, bool)
        for name in self:
            mask |= self[name]
        return mask
