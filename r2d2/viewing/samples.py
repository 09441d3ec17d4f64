"""Sample predictions of a training as they are looked at: which there are, and each as a picture."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import yaml
from PIL import Image

from dist_training.record.run_folder import RunFolder
from dist_training.record.samples import SampleFolder
from imgmed.slice_pictures import edges_of, png_of, size_of, turned
from r2d2.errors import R2D2Error
from r2d2.reports.palette import colours_of, rgb
from r2d2.viewing.pictures import UNKNOWN

__all__ = ["SAMPLE_LAYERS", "SampleLayer", "sample_picture", "samples_of", "why_no_samples"]

SampleLayer = Literal["scan", "reference", "prediction"]
SAMPLE_LAYERS: tuple[SampleLayer, ...] = get_args(SampleLayer)

LONGEST_PX = 320
FILLED = 0.35
"""How opaque the inside of a label is; its outline is opaque."""


def samples_of(run: Path) -> SampleFolder:
    """Give the folder of a run's sample predictions, which may not be there."""
    return SampleFolder(RunFolder(run).samples)


def sample_picture(samples: SampleFolder, place: int, layer: SampleLayer, *, epoch: int = 0, channel: int = 0) -> bytes:
    """Draw a slice: the scan, and over it the reference or what was predicted after an epoch.

    Args:
        samples: of the run.
        place: of the slice among those that are kept, from 0.
        layer: what is drawn over the scan; "scan": nothing.
        epoch: of the prediction, from 1.
        channel: of the scan; pictures are shown in their colours.

    Returns:
        The PNG file, its longer side of 320 pixels, as long to the other as in the patient.

    Raises:
        RunFolderError: the files are damaged, or not there any more.
        R2D2Error: there is no such slice or channel.
    """
    kept = samples.read_slices()
    if not 0 <= place < len(kept.scans) or not 0 <= channel < kept.scans[place].shape[2]:
        raise R2D2Error("there is no such slice, or it has no such channel")
    one, scan = kept.description.slices[place], kept.scans[place]
    is_coloured = one.is_picture and scan.shape[2] >= 3
    plane = turned(scan[..., :3] if is_coloured else scan[..., channel])
    width_mm, height_mm = (side * mm for side, mm in zip(scan.shape[:2], one.pixel_mm, strict=True))  # as it is turned
    size = size_of(width_mm, height_mm, LONGEST_PX)
    pixels = np.array(Image.fromarray(plane).convert("RGB").resize(size, Image.Resampling.BILINEAR))
    if layer == "scan":
        return png_of(pixels)
    label_map = kept.references[place] if layer == "reference" else samples.read_epoch(epoch)[place]
    drawn = Image.fromarray(turned(label_map).astype(np.int32)).resize(size, Image.Resampling.NEAREST)
    return png_of(_with_labels(pixels, np.asarray(drawn), kept.description.labels))


def _with_labels(pixels: np.ndarray, label_map: np.ndarray, labels: dict[str, int]) -> np.ndarray:
    """Lay a label map over pixels (rows, columns, 3): its labels see-through, their outlines not."""
    values = {name: value for name, value in labels.items() if value != 0}
    table = np.full((int(label_map.max(initial=0)) + 1, 3), rgb(UNKNOWN), np.float32)
    for name, colour in colours_of(values).items():
        if values[name] < len(table):
            table[values[name]] = rgb(colour)
    opacity = np.where(edges_of(label_map), 1.0, FILLED) * (label_map != 0)
    mixed = pixels + opacity[..., np.newaxis] * (table[label_map] - pixels)
    return np.rint(mixed).astype(np.uint8)


def why_no_samples(config: Path | None, *, validation_slices: int | None, is_active: bool) -> str:
    """Say why a training has no sample predictions.

    Args:
        config: the run's config.yaml; None: there is none yet.
        validation_slices: that the run has; None: it has not begun to train.
        is_active: whether it is to train, or does.
    """
    settings = None if config is None else _training_settings(config, config.stat().st_mtime_ns)
    if settings is not None and settings.get("sample_predictions") == 0:
        return "This training keeps none: training.sample_predictions is 0."
    if validation_slices == 0:
        return "There are none: nothing is left to validate on."
    if is_active:
        return "They come with the end of an epoch."
    if settings is not None and "sample_predictions" not in settings:
        return "There are none: this training was begun before R2D2 kept them."
    return "There are none: no epoch has ended."


@lru_cache(maxsize=64)
def _training_settings(config: Path, stamp: int) -> dict[str, Any] | None:
    """Read the section of the training; None: it cannot be read."""
    try:
        content = yaml.safe_load(config.read_text(encoding="utf-8"))
        return dict(content["training"])
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
        return None
