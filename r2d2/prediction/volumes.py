"""How large the structures of a label map are."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from dist_training.inference.model_card import ModelCard
from imgmed import Volume
from r2d2_base.files import write_bytes

__all__ = ["VOLUMES", "volumes_in", "write_volumes"]

VOLUMES = "volumes.csv"
CUBIC_MM = 1000.0  # of a millilitre


def volumes_in(label_map: Volume, card: ModelCard) -> dict[str, float]:
    """Return the volume of each structure in millilitres: of each region, where the labels overlap.

    Args:
        label_map: (i, j, k) label values.
        card: names them.
    """
    found, counts = np.unique(label_map.array, return_counts=True)
    voxels = dict(zip(found.tolist(), counts.tolist(), strict=True))
    millilitres = float(np.prod(label_map.spacing_mm)) / CUBIC_MM
    structures = card.regions or {name: (value,) for name, value in card.labels.items() if value}
    return {name: sum(voxels.get(value, 0) for value in values) * millilitres for name, values in structures.items()}


def write_volumes(folder: Path, volumes: Iterable[tuple[str, Mapping[str, float]]]) -> None:
    """Write volumes.csv, a row a case and structure; nothing where there are none, as of pictures.

    Args:
        folder: of the label maps.
        volumes: of each case: its name, and {structure: millilitres}.
    """
    rows = [(case_id, name, f"{millilitres:.6g}") for case_id, each in volumes for name, millilitres in each.items()]
    if rows:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([("case_id", "label", "ml"), *rows])
        write_bytes(folder / VOLUMES, text.getvalue().encode())
