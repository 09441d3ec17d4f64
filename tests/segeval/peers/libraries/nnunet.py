"""nnU-Net v2: its compute_metrics on arrays that a reader hands out, and its whole command on NIfTI files."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tests.segeval.peers.masks import LabelMapPair, MaskPair

COUNTS = ("TP", "FP", "FN", "TN")
METRICS = ("Dice", "IoU", *COUNTS)
Regions = list[int | tuple[int, ...]]


class _ArrayReader:
    """Stands where nnU-Net's file readers stand: a "file" is an array."""

    @staticmethod
    def read_seg(array: np.ndarray) -> tuple[np.ndarray, dict[str, Any]]:
        return array[None], {}


def regions_of(pair: LabelMapPair) -> Regions:
    """Every foreground label; of three or more, also the region of all and that of the first and the last."""
    foreground = list(range(1, pair.classes))
    return [*foreground, tuple(foreground), (1, foreground[-1])] if len(foreground) > 2 else list(foreground)


def measure_masks(pairs: Sequence[MaskPair]) -> dict[str, np.ndarray]:
    values: dict[str, list[float]] = defaultdict(list)
    for pair in pairs:
        _add(values, _measure(pair.reference, pair.prediction, [pair.label])[pair.label])
    return _arrays(values)


def measure_label_maps(pairs: Sequence[LabelMapPair]) -> dict[str, np.ndarray]:
    values: dict[str, list[float]] = defaultdict(list)
    for pair in pairs:
        measured = _measure(pair.reference, pair.prediction, regions_of(pair), pair.ignore_label)
        for region in regions_of(pair):
            _add(values, measured[region])
    return _arrays(values)


def write_summary(reference_dir: Path, prediction_dir: Path, regions: Regions, out: Path) -> None:
    """Run its evaluation of a folder of NIfTI files; 255 is ignored."""
    from nnunetv2.evaluation.evaluate_predictions import compute_metrics_on_folder
    from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the mean of nothing but NaN
        compute_metrics_on_folder(
            str(reference_dir), str(prediction_dir), str(out), SimpleITKIO(), ".nii.gz", regions, 255, 1, False
        )


def _measure(reference: np.ndarray, prediction: np.ndarray, regions: Regions, ignore_label: int | None = None) -> Any:
    from nnunetv2.evaluation.evaluate_predictions import compute_metrics

    return compute_metrics(reference, prediction, _ArrayReader(), regions, ignore_label)["metrics"]


def _add(values: dict[str, list[float]], measured: Mapping[str, float]) -> None:
    for name in METRICS:
        values[name].append(measured[name])


def _arrays(values: Mapping[str, list[float]]) -> dict[str, np.ndarray]:
    return {name: np.array(column, np.int32 if name in COUNTS else np.float64) for name, column in values.items()}
