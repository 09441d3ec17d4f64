"""Before training, all workers of a job compare what they are about to train: code, configuration, data."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dist_training.errors import WorkersDifferError
from dist_training.ranks.communicator import Communicator
from dist_training.record.environment import versions
from imgmed import PreparedDataset
from r2d2_base.errors import R2D2Error

__all__ = ["WorkerFacts", "check_workers_agree", "code_facts", "configuration_facts", "dataset_facts", "worker_facts"]

PACKAGES = ("r2d2_base", "imgmed", "segeval", "dist_training", "r2d2")
SOURCES = (".py", ".yaml")
DESCRIPTIONS = ("dataset.json", "cases.json", "splits.json")
NAMED_DIFFERENCES = 4
ABSENT = "absent"


@dataclass(frozen=True)
class WorkerFacts:
    """What one worker is about to train.

    Attributes:
        host: the name of its host.
        fault: why it cannot train at all; None where it can.
        code: {file of our packages: SHA-256} and {library: version}.
        configuration: {dotted key: value}.
        dataset: {file: SHA-256 or size}.
    """

    host: str
    fault: str | None = None
    code: Mapping[str, str] = field(default_factory=dict)
    configuration: Mapping[str, str] = field(default_factory=dict)
    dataset: Mapping[str, str] = field(default_factory=dict)


def worker_facts(read_configuration: Callable[[], tuple[Mapping[str, Any], Path, Sequence[str]]]) -> WorkerFacts:
    """Collect the facts of this worker; what it lacks becomes its fault, so that it can be told to the others.

    Args:
        read_configuration: gives the configuration as JSON has it, the folder of the prepared dataset, and the names of
            the user's own modules, of a network or a loss.
    """
    host = platform.node()
    try:
        configuration, folder, own_modules = read_configuration()
        data = dataset_facts(folder)
        code = code_facts((*PACKAGES, *own_modules))
    except (R2D2Error, OSError, ValueError) as error:
        return WorkerFacts(host, fault=" ".join(str(error).split()))
    return WorkerFacts(host, None, code, configuration_facts(configuration), data)


def code_facts(packages: tuple[str, ...] = PACKAGES) -> dict[str, str]:
    """Digest the sources of packages, and name the versions of the libraries.

    Args:
        packages: names of packages, or modules of one file, that can be imported; absent ones are left out.

    >>> "dist_training/run/handshake.py" in code_facts(("dist_training",))
    True
    """
    facts = dict(versions())
    for package in packages:
        facts.update({name: _digest(path.read_bytes()) for name, path in _sources(package)})
    return facts


def _sources(package: str) -> Iterator[tuple[str, Path]]:
    """Find the files of a package, or of a module of one file, each with its path from where it is imported."""
    found = importlib.util.find_spec(package)
    if found is None:
        return
    for root in map(Path, found.submodule_search_locations or ()):
        for path in sorted(path for path in root.rglob("*") if path.suffix in SOURCES):
            yield path.relative_to(root.parent).as_posix(), path
    if found.submodule_search_locations is None and found.has_location:
        path = Path(found.origin or "")
        yield path.name, path


def configuration_facts(configuration: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Flatten a configuration.

    Args:
        configuration: as JSON has it.
        prefix: of the keys.

    >>> configuration_facts({"training": {"seed": 0}, "workers": 2})
    {'training.seed': '0', 'workers': '2'}
    """
    facts: dict[str, str] = {}
    for key, value in configuration.items():
        nested = configuration_facts(value, f"{prefix}{key}.") if isinstance(value, Mapping) else None
        facts.update({f"{prefix}{key}": json.dumps(value)} if nested is None else nested)
    return facts


def dataset_facts(folder: Path) -> dict[str, str]:
    """Open a prepared dataset, digest its descriptions and size its arrays.

    Args:
        folder: the prepared dataset.

    Returns:
        {file: SHA-256, or size in bytes}.

    Raises:
        ImgMedError: no readable dataset.
    """
    PreparedDataset.read(folder)
    described = {name: _digest((folder / name).read_bytes()) for name in DESCRIPTIONS}
    arrays = sorted(folder.rglob("*.npy"))
    return {**described, **{path.relative_to(folder).as_posix(): f"{path.stat().st_size} bytes" for path in arrays}}


def check_workers_agree(communicator: Communicator, facts: WorkerFacts) -> None:
    """Refuse to train with workers that differ; every rank gets the same answer, so that none waits for another.

    Args:
        communicator: the ranks; all must call this.
        facts: of this rank.

    Raises:
        WorkersDifferError: naming host, rank and what differs, or what a worker lacks.
    """
    gathered = communicator.gather_objects(facts)
    unable = [f"rank {rank} on {of.host}: {of.fault}" for rank, of in enumerate(gathered) if of.fault is not None]
    if unable:
        raise WorkersDifferError(
            f"{len(unable)} of {len(gathered)} workers cannot train: {'; '.join(unable)}; dataset and run folder must "
            "lie under the same path on every host"
        )
    differing = [
        f"rank {rank} on {of.host}: {difference}"
        for rank, of in enumerate(gathered)
        if (difference := _differences(of, gathered[0]))
    ]
    if differing:
        raise WorkersDifferError(
            f"workers differ from rank 0 on {gathered[0].host}: {'; '.join(differing)}; "
            "give every host the same version of R2D2, the same configuration and the same dataset"
        )


def _differences(theirs: WorkerFacts, first: WorkerFacts) -> str:
    """Name what differs, most telling first; empty where nothing does."""
    found = []
    for kind in ("code", "configuration", "dataset"):
        one, other = getattr(theirs, kind), getattr(first, kind)
        names = sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))
        found += [_difference(kind, name, one.get(name, ABSENT), other.get(name, ABSENT)) for name in names]
    more = f" and {len(found) - NAMED_DIFFERENCES} more" if len(found) > NAMED_DIFFERENCES else ""
    return ", ".join(found[:NAMED_DIFFERENCES]) + more


def _difference(kind: str, name: str, value: str, expected: str) -> str:
    if ABSENT in (value, expected):
        return f"{kind} {name} is {ABSENT if value == ABSENT else 'extra'}"
    is_digest = len(value) == len(_digest(b""))
    return f"{kind} {name} differs" if is_digest else f"{kind} {name} is {value} instead of {expected}"


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
