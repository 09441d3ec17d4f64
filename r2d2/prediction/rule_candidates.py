"""Rules that might help a model's label maps: what its training references never break."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from dist_training.inference.postprocessing import CUBIC_MM, FillHoles, LargestComponent, MinimumSize, OnlyInside, Rule
from imgmed import PreparedDataset, Volume
from imgmed.fingerprint.measures import labelled_box
from r2d2_base.progress import UNWATCHED, Watcher

__all__ = ["ReferenceParts", "candidates_of"]

QUANTILES = (0.05, 0.25)
SPECK = 0.1  # of the lower quantile: parts that are no structure
DIGITS = 3
FEWEST_CASES = 3  # with a label, before "always at the other label" says something


class ReferenceParts:
    """The connected parts of labels in reference label maps: how large they are, and which other labels they touch.

    Args:
        labels: name to label value, background included.
    """

    def __init__(self, labels: Mapping[str, int]) -> None:
        self._values = {name: value for name, value in labels.items() if value}
        self._sizes_ml: dict[str, list[float]] = {name: [] for name in self._values}
        self._cases = dict.fromkeys(self._values, 0)
        self._apart: set[tuple[str, str]] = set()

    def add(self, label_map: Volume) -> None:
        """Look at a reference.

        Args:
            label_map: (i, j, k) label values; it is not changed.
        """
        from scipy import ndimage

        box = labelled_box(label_map.array)
        if box is None:
            return
        array = label_map.array[tuple(slice(first, last) for first, last in box)]
        voxel_ml = float(np.prod(label_map.spacing_mm)) / CUBIC_MM
        around = np.ones((3, 3, 3), bool)
        parts = np.zeros(array.shape, np.int32)
        own: dict[str, range] = {}
        for name, value in self._values.items():
            numbered, count = ndimage.label(array == value, around)
            first = int(parts.max(initial=0)) + 1
            own[name] = range(first, first + count)
            parts[numbered > 0] = numbered[numbered > 0] + (first - 1)
        sizes = np.bincount(parts.ravel())
        for name, numbers in own.items():
            self._cases[name] += bool(numbers)
            self._sizes_ml[name] += [float(sizes[number]) * voxel_ml for number in numbers]
        for other, value in self._values.items():
            touched = set(np.unique(parts[ndimage.binary_dilation(array == value, around)]).tolist())
            self._apart |= {(name, other) for name, numbers in own.items() if not touched.issuperset(numbers)}

    def candidates(self) -> dict[str, Rule]:
        """Return rules to be tried, in the order in which they follow each other, each by what it is derived from.

        The largest part of each label, parts of at least a quantile of the references' parts or of a tenth of that,
        parts that touch another label where the references' always do, and no holes.

        Returns:
            Rules that may be about the same with other numbers, for references of other cases, have the same names.
        """
        having = [name for name, count in self._cases.items() if count]
        rules: dict[str, Rule] = {f"largest_component:{name}": LargestComponent(label=name) for name in having}
        for name in having:
            low, middle = np.quantile(self._sizes_ml[name], QUANTILES).tolist()
            sizes = {"speck": SPECK * low, "low": low, "middle": middle}
            for size, ml in sizes.items():
                rules[f"minimum_size:{name}:{size}"] = MinimumSize(label=name, ml=float(f"{ml:.{DIGITS}g}"))
        for name in having:
            for other in having:
                if name != other and (name, other) not in self._apart and self._cases[name] >= FEWEST_CASES:
                    rules[f"only_inside:{name}:{other}"] = OnlyInside(label=name, within=other)
        return rules | {f"fill_holes:{name}": FillHoles(label=name) for name in having}


def candidates_of(dataset: PreparedDataset, case_ids: Iterable[str], watcher: Watcher = UNWATCHED) -> dict[str, Rule]:
    """Derive the rules to be tried from references, see `ReferenceParts.candidates`.

    Args:
        dataset: the prepared dataset, whose label maps are read as they were prepared.
        case_ids: cases that the networks were trained on.
        watcher: may ask the work to end between cases.
    """
    parts = ReferenceParts(dataset.labels)
    for case_id in case_ids:
        watcher.check()
        grid = dataset.grid(case_id)
        parts.add(Volume(np.asarray(dataset.label_map(case_id)), grid.stack_affine))
    return parts.candidates()
