"""A .keras file from anywhere, looked at before Keras builds anything from it.

It is a zip file of config.json, which says what to build, and model.weights.h5, which holds the numbers. Keras builds
first: a configuration may ask for any amount of memory, name files elsewhere, and make objects of any class of Keras.
"""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

from dist_training.architectures.network_config import check_config
from dist_training.errors import WeightsError

__all__ = [
    "CONFIG", "METADATA", "WEIGHTS", "check_network_file", "count_numbers", "network_file_fault", "read_members",
]  # fmt: skip

CONFIG, METADATA, WEIGHTS = "config.json", "metadata.json", "model.weights.h5"
LARGEST_TEXT = 1 << 24
SMALL = 1 << 24  # bytes that a member may unpack to, however small it is packed
MOST_EXPANSION = 50  # times that a larger one may grow
BFLOAT16 = "V2"  # as HDF5, which does not know it, has it


def check_network_file(path: Path, known: Collection[str] | None = None) -> None:
    """Refuse a .keras file that is damaged, names classes other than Keras's and R2D2's, or asks for absurd memory.

    Nothing is built, no number of the weights is used, and no code but this is run: it takes milliseconds.

    Args:
        path: the file.
        known: see ``network_file_fault``.

    Raises:
        WeightsError: says in a line what is refused.
    """
    fault = network_file_fault(path, known)
    if fault is not None:
        raise WeightsError(f"{path}: not a readable Keras model ({fault})")


def network_file_fault(path: Path, known: Collection[str] | None = None) -> str | None:
    """Say what is wrong with a .keras file, see ``check_network_file``; None: nothing.

    Args:
        path: the file.
        known: registered names of classes, of a network of the user's own, that are in memory already; None: such
            classes are passed over, as by who builds nothing.
    """
    try:
        members = read_members(path)
        try:
            config = json.loads(members[CONFIG])
        except (ValueError, RecursionError) as error:
            raise WeightsError(f"{CONFIG} is no JSON ({type(error).__name__})") from error
        check_config(config, _stored_numbers(members[WEIGHTS]), known)
    except WeightsError as error:
        return str(error)
    return None


def read_members(path: Path) -> dict[str, bytes]:
    """Read the members of a .keras file.

    Args:
        path: the file.

    Returns:
        Content of config.json, model.weights.h5 and, where it is there, metadata.json.

    Raises:
        WeightsError: it is no whole zip file of just these, or they would unpack to far more than it has.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            _check_members(archive.infolist(), path.stat().st_size)
            return {name: archive.read(name) for name in archive.namelist()}
    except (OSError, zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, ValueError) as error:
        if isinstance(error, WeightsError):
            raise
        raise WeightsError(f"no whole zip file: {error}") from error


def _check_members(members: list[zipfile.ZipInfo], size: int) -> None:
    names = [member.filename for member in members]
    others = [name for name in names if name not in (CONFIG, METADATA, WEIGHTS)]
    if others:
        raise WeightsError(f"it holds {others[0]!r:.60}, which a saved network does not")
    missing = [name for name in (CONFIG, WEIGHTS) if names.count(name) != 1]
    if missing or len(set(names)) < len(names):
        raise WeightsError(f"it must hold {CONFIG} and {WEIGHTS}, each once; received {', '.join(names) or 'nothing'}")
    if sum(member.compress_size for member in members) > size:
        raise WeightsError("its members overlap")
    for member in members:
        most = LARGEST_TEXT if member.filename != WEIGHTS else max(SMALL, MOST_EXPANSION * member.compress_size)
        if member.file_size > most:
            raise WeightsError(f"{member.filename} would unpack to {member.file_size} bytes")


def _stored_numbers(weights: bytes) -> int:
    """Count the numbers in a file of weights, which must all be in it."""
    import h5py

    try:
        with h5py.File(h5py.h5f.open_file_image(weights)) as file:
            return count_numbers(file, WEIGHTS)
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        if isinstance(error, WeightsError):
            raise
        raise WeightsError(f"{WEIGHTS} is damaged: {' '.join(str(error).split()):.120}") from error


def count_numbers(group: Any, of: str) -> int:
    """Count the numbers in an HDF5 file or group, which must all be in the file, once and as they are.

    Args:
        group: what h5py opened.
        of: what it is called in messages.

    Raises:
        WeightsError: there are links, or numbers that lie elsewhere, are packed, or missing.
    """
    import h5py

    stored, pending, seen = 0, [group], set()
    while pending:
        inner = pending.pop()
        for name in inner:
            if not isinstance(inner.get(name, getlink=True), h5py.HardLink):
                raise WeightsError(f"{of} has a link at {name!r:.60}, not the numbers themselves")
            entry = inner[name]
            place = h5py.h5o.get_info(entry.id).addr
            if place in seen:
                raise WeightsError(f"{of} has the same numbers in two places, {name!r:.60} being one")
            seen.add(place)
            if isinstance(entry, h5py.Group):
                pending.append(entry)
                continue
            stored += _size_of(entry, name, of)
    return stored


def _size_of(entry: Any, name: str, of: str) -> int:
    """Give how many numbers a data set holds: plain ones, all of them within the file."""
    import h5py

    if not isinstance(entry, h5py.Dataset) or not (entry.dtype.kind in "biuf" or entry.dtype == BFLOAT16):
        raise WeightsError(f"{of} has something other than numbers at {name!r:.60}")
    if entry.external or entry.is_virtual or entry.id.get_create_plist().get_nfilters():
        raise WeightsError(f"{of} has numbers at {name!r:.60} that lie elsewhere, or are packed")
    size = math.prod(entry.shape or (0,)) if entry.shape != () else 1
    if entry.id.get_storage_size() < size * entry.dtype.itemsize:
        raise WeightsError(f"{of} has numbers at {name!r:.60} that are not in it")
    return size
