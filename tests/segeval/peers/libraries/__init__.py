"""One module for each library: what it says about the masks and the label maps, under its own names.

`measure_masks` and `measure_label_maps` return arrays by metric: a value for each pair of masks; a value for
each pair of label maps and class, one after the other. A library is imported only when it is called: the suite
reads these files without having it. NaN also stands for "raises".
"""

import importlib.metadata
from types import ModuleType

from tests.segeval.peers.libraries import medpy, monai, nnunet, simpleitk, sklearn, surface_distance, torchmetrics

LIBRARIES: dict[str, ModuleType] = {
    "monai": monai,
    "surface-distance": surface_distance,
    "MedPy": medpy,
    "scikit-learn": sklearn,
    "nnunetv2": nnunet,
    "torchmetrics": torchmetrics,
    "simpleitk": simpleitk,
}
"""By the name of the distribution, as in requirements/peers.txt."""


def version(distribution: str) -> str:
    """The installed version, without the mark of a local build (2.13.0+cpu)."""
    return importlib.metadata.version(distribution).split("+")[0]
