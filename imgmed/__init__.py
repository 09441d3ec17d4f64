"""ImgMed: medical volumes in, prepared datasets and slices out. Names are imported on first use."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from imgmed.augmentation.settings import AugmentationSettings
    from imgmed.dataset import Case, PreparedDataset
    from imgmed.errors import ImgMedError
    from imgmed.formats import case_stem, has_known_suffix, known_suffixes, read_volume, write_volume
    from imgmed.intensity import IntensityStatistics, Normalisation
    from imgmed.labels import class_indices, values_of_classes
    from imgmed.phantom import write_phantom_study
    from imgmed.preparation.prepare import prepare_dataset
    from imgmed.resampling import fit_slices
    from imgmed.scan import PreparedScan, ScanPreparation, prepare_case, prepare_scan
    from imgmed.selection import SliceSelection, select_slices
    from imgmed.settings import PreparationSettings
    from imgmed.slices import SliceGrid, with_neighbours
    from imgmed.splits import Splits
    from imgmed.volume import Volume

__all__ = [
    "AugmentationSettings",
    "Case",
    "ImgMedError",
    "IntensityStatistics",
    "Normalisation",
    "PreparationSettings",
    "PreparedDataset",
    "PreparedScan",
    "ScanPreparation",
    "SliceGrid",
    "SliceSelection",
    "Splits",
    "Volume",
    "case_stem",
    "class_indices",
    "fit_slices",
    "has_known_suffix",
    "known_suffixes",
    "prepare_case",
    "prepare_dataset",
    "prepare_scan",
    "read_volume",
    "select_slices",
    "values_of_classes",
    "with_neighbours",
    "write_phantom_study",
    "write_volume",
]

_HOMES = {
    "AugmentationSettings": "augmentation.settings",
    "Case": "dataset",
    "ImgMedError": "errors",
    "IntensityStatistics": "intensity",
    "Normalisation": "intensity",
    "PreparationSettings": "settings",
    "PreparedDataset": "dataset",
    "PreparedScan": "scan",
    "ScanPreparation": "scan",
    "SliceGrid": "slices",
    "SliceSelection": "selection",
    "Splits": "splits",
    "Volume": "volume",
    "case_stem": "formats",
    "class_indices": "labels",
    "fit_slices": "resampling",
    "has_known_suffix": "formats",
    "known_suffixes": "formats",
    "prepare_case": "scan",
    "prepare_dataset": "preparation.prepare",
    "prepare_scan": "scan",
    "read_volume": "formats",
    "select_slices": "selection",
    "values_of_classes": "labels",
    "with_neighbours": "slices",
    "write_phantom_study": "phantom",
    "write_volume": "formats",
}


def __getattr__(name: str) -> Any:
    """Import a public name on first use (keeps `import imgmed` quick)."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'imgmed' has no attribute {name!r}")
    value = getattr(import_module(f"imgmed.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
