"""What would count for a training if nothing were said: settings with their reasons, and the room that there is."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from dist_training.architectures import UNetSettings
from imgmed import PreparedDataset
from r2d2.config import FILE_NAME, Configuration, configure, read_layer
from r2d2.proposal import propose_here
from r2d2.setting_fields import flat
from r2d2.training_memory import training_bytes
from r2d2_base.machine import format_bytes, usable_memory, whole_cores

__all__ = ["Basis", "basis_of", "room_for"]


@dataclass(frozen=True)
class Basis:
    """What is known of a training before anything is said.

    Attributes:
        values: by dotted key, as JSON has them; empty: not known before the dataset is there.
        reasons: why some are as they are.
        origin: where they come from, in words.
        facts: what is in the dataset, in words.
        slices: training slices of the dataset; None: not known.
        folds: of its cross-validation.
        tests: its test cases.
        configuration: the settings as one; None: not known.
        channels: of an image.
        classes: that a network decides between.
        size: height and width of a slice.
    """

    values: Mapping[str, Any] = field(default_factory=dict)
    reasons: Mapping[str, str] = field(default_factory=dict)
    origin: str = ""
    facts: str = ""
    slices: int | None = None
    folds: int = 0
    tests: int = 0
    configuration: Configuration | None = None
    channels: int = 1
    classes: int = 2
    size: tuple[int, int] | None = None

    @property
    def is_known(self) -> bool:
        """Whether there are values."""
        return bool(self.values)


def basis_of(dataset: Path | None) -> Basis:
    """Find what would count for a dataset, as a training would; what is proposed depends on this machine's memory.

    Args:
        dataset: folder of it; None: it is still to be made.

    Raises:
        R2D2Error: it cannot be read.
    """
    if dataset is None or not (dataset / "dataset.json").is_file():
        return Basis(origin="what suits the dataset, once it is there")
    stamps = tuple(_stamp(dataset / name) for name in ("dataset.json", "cases.json", "splits.json", FILE_NAME))
    return _read(dataset, stamps)


def _stamp(file: Path) -> int:
    try:
        return file.stat().st_mtime_ns
    except OSError:
        return 0


@lru_cache(maxsize=32)
def _read(dataset: Path, stamps: tuple[int, ...]) -> Basis:
    read = PreparedDataset.read(dataset)
    proposal = propose_here(read)
    own = dataset / FILE_NAME
    configuration, origin = proposal.configuration, "proposed for the dataset"
    if own.exists():
        configuration, origin = configure(read_layer(own), origin=str(own)), f"of {FILE_NAME} in the dataset's folder"
    values, proposed = (flat(one.model_dump(mode="json")) for one in (configuration, proposal.configuration))
    reasons = {key: reason for key, reason in proposal.reasons.items() if values.get(key) == proposed.get(key)}
    splits = read.original_splits
    count = sum(read.case(case_id).slices_to_train_on for case_id in read.splits.train)
    labels = ", ".join(name for name, value in read.labels.items() if value)
    facts = (
        f"{read.name}: {len(splits.train)} training, {len(splits.validation)} validation and {len(splits.test)} test "
        f"cases, {count:,} training slices of {read.scan_preparation.slice_size[0]} × "
        f"{read.scan_preparation.slice_size[1]} pixels; {', '.join(read.channels)}; {labels}"
    )
    return Basis(
        values,
        reasons,
        origin,
        facts,
        count,
        len(splits.folds),
        len(splits.test),
        configuration,
        len(read.channels),
        len(read.class_values),
        read.scan_preparation.slice_size,
    )


def room_for(configuration: Configuration | None, basis: Basis, max_workers: int | None = None) -> tuple[str, ...]:
    """Say how many workers a training can have on this machine, in sentences.

    Args:
        configuration: of the training; None: not known.
        basis: of its dataset.
        max_workers: of all jobs of an engine together; None: any number.
    """
    cores, free = _machine(int(time.monotonic()))
    memory = "" if free is None else f" and {format_bytes(free)} of free memory"
    plural = "core" if cores == 1 else "cores"
    lines = [f"This machine has {cores} {plural}{memory}; more workers than cores are no faster."]
    if max_workers is not None:
        lines.append(f"All jobs together have at most {max_workers} workers.")
    if configuration is None:
        return tuple(lines)
    together = configuration.training.global_batch_size
    if together is not None:
        lines.append(f"A step has {together} slices, which at most {together} workers share.")
    needed = _worker_bytes(configuration, basis)
    if needed is not None:
        enough = "" if free is None else f": there is room for {free // needed}"
        lines.append(f"A worker of this training takes about {format_bytes(needed)}{enough}.")
    return tuple(lines)


@lru_cache(maxsize=1)
def _machine(second: int) -> tuple[int, int | None]:
    """Look at cores and free memory, once a second: that reads a hundred files of control groups."""
    return whole_cores(), usable_memory()[1]


def _worker_bytes(configuration: Configuration, basis: Basis) -> int | None:
    """Estimate the memory of a worker, of the network that the estimate is for."""
    network, training = configuration.network, configuration.training
    size = basis.size if len(network.size_multiples) == 2 else training.patch_size
    if not isinstance(network, UNetSettings) or size is None:
        return None
    outputs = 1 if basis.classes == 2 else basis.classes
    at_once = -(-training.batch_size_per_worker // training.accumulation_steps)
    return training_bytes(network, size, basis.channels, outputs, at_once)
