"""The model.keras of a published model: the run's own, its weights rounded to half precision where that is wanted."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any, Literal

import numpy as np

from dist_training.architectures.network_file import CONFIG, METADATA, WEIGHTS, read_members
from r2d2.errors import ZooError

__all__ = ["Precision", "stored_network"]

Precision = Literal["float16", "float32", "float64"]

BEGINNING = (1980, 1, 1, 0, 0, 0)  # the first date that zip files know: the same network gives the same file
KEPT = ("keras_version",)


def stored_network(network: Path, *, is_half: bool) -> tuple[bytes, Precision]:
    """Write a network's file again, without the moment of its saving; the same network gives the same bytes.

    In half precision the kernels are stored as float16 and all else stays: Keras gives each weight the precision of
    its layer when it reads them, so that the network computes as before.

    Args:
        network: the run's model.keras.
        is_half: whether kernels are rounded.

    Returns:
        Content of the new file, and the precision that most of it is stored in.

    Raises:
        WeightsError: the file is damaged.
        ZooError: a weight is too large for half precision.
    """
    members = read_members(network)
    weights, precision = _rewritten(members[WEIGHTS], is_half)
    metadata = json.loads(members.get(METADATA, b"{}"))
    contents = {
        METADATA: json.dumps({key: metadata[key] for key in KEPT if key in metadata}).encode(),
        CONFIG: members[CONFIG],
        WEIGHTS: weights,
    }
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in contents.items():
            archive.writestr(zipfile.ZipInfo(name, BEGINNING), content, zipfile.ZIP_DEFLATED)
    return stream.getvalue(), precision


def _rewritten(weights: bytes, is_half: bool) -> tuple[bytes, Precision]:
    """Copy a file of weights, so that what lies in it without a name stays behind."""
    import h5py

    stream, precisions = io.BytesIO(), set[str]()
    with h5py.File(h5py.h5f.open_file_image(weights)) as source, h5py.File(stream, "w") as target:

        def copy(name: str, entry: Any) -> None:
            if isinstance(entry, h5py.Group):
                copied: Any = target.create_group(name)
            else:
                values = entry[()]
                copied = target.create_dataset(name, data=_rounded(name, values) if is_half else values)
                precisions.add(str(copied.dtype))
            for key, value in entry.attrs.items():
                copied.attrs[key] = value

        source.visititems(copy)
    if "float16" in precisions:
        return stream.getvalue(), "float16"
    return stream.getvalue(), "float64" if "float64" in precisions else "float32"


def _rounded(name: str, values: np.ndarray) -> np.ndarray:
    """Round a kernel; biases, scales and statistics are few, and their range may be large: they stay."""
    if np.ndim(values) < 2 or values.dtype.kind != "f":
        return values
    with np.errstate(over="ignore"):
        rounded = values.astype(np.float16)
    if not np.isfinite(rounded).all():
        raise ZooError(f"its weights {name} reach {np.abs(values).max():.3g}, too large for half precision")
    return rounded
