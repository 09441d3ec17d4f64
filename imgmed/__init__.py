"""ImgMed: medical volumes in, prepared datasets and slices out. Names are imported on first use.

- one scan: `read_volume`, `read_header`, `read_label`, `write_volume`; operations: `Scan`, `apply_operations` and the
  steps in `imgmed.operations`;
- a folder of scans: `inspect_source` shows what it holds, `read_study` lists its cases, `prepare_dataset` makes a
  `PreparedDataset` of it by `PreparationSettings`, and `read_fingerprint` tells what is odd about it;
- slices for training: `select_slices`, `with_neighbours`, `Normalisation`, `draw_sample` and `apply_draw`;
- a new scan: `prepare_scan` does to it what was done to the dataset, its `SliceGrid` leads back into its own voxels;
- pictures: `convert_folder`.

Packages: formats/ files of volumes, recipes/ layouts of folders, operations/ steps on a scan, augmentation/ variants of
slices, preparation/ from a folder to a dataset, splits/ division of cases, leaks and copies, fingerprint/ measures and
odd cases, privacy/ patients' names, conversion/ pictures.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from imgmed.archives import unpack
    from imgmed.augmentation.apply import apply_draw
    from imgmed.augmentation.draw import draw_sample
    from imgmed.augmentation.settings import AugmentationSettings
    from imgmed.conversion import PictureConversion, SliceConversion, convert_folder
    from imgmed.dataset import Case, PreparedDataset
    from imgmed.errors import ImgMedError
    from imgmed.fingerprint import Fingerprint, read_fingerprint
    from imgmed.formats import (
        VolumeHeader,
        case_stem,
        has_known_suffix,
        known_suffixes,
        read_header,
        read_volume,
        write_volume,
    )
    from imgmed.formats.labels import read_label
    from imgmed.inspection import Inspection, inspect_source
    from imgmed.intensity import IntensityStatistics, Normalisation
    from imgmed.labels import remap_labels
    from imgmed.operations import Scan, apply_operations
    from imgmed.phantom import write_phantom_study
    from imgmed.preparation.prepare import prepare_dataset
    from imgmed.presets import preset_names, read_preset
    from imgmed.recipes import read_study
    from imgmed.scan import PreparedScan, ScanPreparation, prepare_case, prepare_scan
    from imgmed.selection import SliceSelection, select_slices
    from imgmed.settings import PreparationSettings
    from imgmed.slices import SliceGrid, with_neighbours
    from imgmed.splits import Splits, split_cases
    from imgmed.study import CaseSource, Study, VolumeSource
    from imgmed.volume import Volume

__all__ = [
    "AugmentationSettings",
    "Case",
    "CaseSource",
    "Fingerprint",
    "ImgMedError",
    "Inspection",
    "IntensityStatistics",
    "Normalisation",
    "PictureConversion",
    "PreparationSettings",
    "PreparedDataset",
    "PreparedScan",
    "Scan",
    "ScanPreparation",
    "SliceConversion",
    "SliceGrid",
    "SliceSelection",
    "Splits",
    "Study",
    "Volume",
    "VolumeHeader",
    "VolumeSource",
    "apply_draw",
    "apply_operations",
    "case_stem",
    "convert_folder",
    "draw_sample",
    "has_known_suffix",
    "inspect_source",
    "known_suffixes",
    "prepare_case",
    "prepare_dataset",
    "prepare_scan",
    "preset_names",
    "read_fingerprint",
    "read_header",
    "read_label",
    "read_preset",
    "read_study",
    "read_volume",
    "remap_labels",
    "select_slices",
    "split_cases",
    "unpack",
    "with_neighbours",
    "write_phantom_study",
    "write_volume",
]

_HOMES = {
    "AugmentationSettings": "augmentation.settings",
    "Case": "dataset",
    "CaseSource": "study",
    "Fingerprint": "fingerprint",
    "ImgMedError": "errors",
    "Inspection": "inspection",
    "IntensityStatistics": "intensity",
    "Normalisation": "intensity",
    "PictureConversion": "conversion",
    "PreparationSettings": "settings",
    "PreparedDataset": "dataset",
    "PreparedScan": "scan",
    "Scan": "operations",
    "ScanPreparation": "scan",
    "SliceConversion": "conversion",
    "SliceGrid": "slices",
    "SliceSelection": "selection",
    "Splits": "splits",
    "Study": "study",
    "Volume": "volume",
    "VolumeHeader": "formats",
    "VolumeSource": "study",
    "apply_draw": "augmentation.apply",
    "apply_operations": "operations",
    "case_stem": "formats",
    "convert_folder": "conversion",
    "draw_sample": "augmentation.draw",
    "has_known_suffix": "formats",
    "inspect_source": "inspection",
    "known_suffixes": "formats",
    "prepare_case": "scan",
    "prepare_dataset": "preparation.prepare",
    "prepare_scan": "scan",
    "preset_names": "presets",
    "read_fingerprint": "fingerprint",
    "read_header": "formats",
    "read_label": "formats.labels",
    "read_preset": "presets",
    "read_study": "recipes",
    "read_volume": "formats",
    "remap_labels": "labels",
    "select_slices": "selection",
    "split_cases": "splits",
    "unpack": "archives",
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
