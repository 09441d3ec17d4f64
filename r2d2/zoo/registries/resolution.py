"""Which folder a name of the zoo means: zoo:NAME[:VERSION] to a published model on this machine, never by a network."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path

from r2d2.errors import ZooError
from r2d2.zoo.registries.names import ZooName, parse_name
from r2d2.zoo.registries.published import check_no_code
from r2d2.zoo.registries.registry import FolderRegistry, local_zoo, shipped_models
from r2d2.zoo.registries.remotes import last_indexes

__all__ = ["FoundModel", "find_here", "name_of", "nearest_names", "resolve"]

MOST_NAMED = 3


@dataclass(frozen=True)
class FoundModel:
    """A model of the zoo on this machine.

    Attributes:
        name: with its version.
        folder: of the published model.
        registry: that has it.
    """

    name: ZooName
    folder: Path
    registry: FolderRegistry


def resolve(name: str | Path) -> FoundModel:
    """Find the model that a name of the zoo means; without a version the newest of the local zoo and those shipped.

    Args:
        name: zoo:NAME or zoo:NAME:VERSION, as on a command line; or without zoo:.

    Raises:
        ZooError: there is none here: says which remote registry had it when last looked at, or which names are near;
            or its card names code, which no model of the zoo may.
        ModelError: it is damaged.
    """
    wanted = parse_name(name)
    found = find_here(wanted)
    if found is None:
        raise ZooError(_missing(wanted))
    check_no_code(found.folder, f"zoo:{found.name}")
    return found


def find_here(wanted: ZooName) -> FoundModel | None:
    """Find a model in the local zoo, or among those shipped; None: there is none."""
    found = [
        FoundModel(name, registry.folder_of(name), registry)
        for registry in (local_zoo(), shipped_models())
        for name in registry.versions(wanted.name)
        if wanted.version in (None, name.version)
    ]
    return max(found, key=lambda one: one.name.version or 0, default=None)


def name_of(folder: Path) -> ZooName | None:
    """Tell what a folder is called in the local zoo, or among the shipped models; None: it is in neither."""
    path = folder.absolute()
    for registry in (local_zoo(), shipped_models()):
        named = next((name for name in registry.versions(path.parent.name) if registry.folder_of(name) == path), None)
        if named is not None:
            return named
    return None


def nearest_names(wanted: str) -> list[str]:
    """Names of models, here and in remote registries when last looked at, that are spelt alike; the nearest first."""
    known = {name.name for registry in (local_zoo(), shipped_models()) for name in registry.names()}
    known |= {name for index in last_indexes(local_zoo()).values() for name in index.models}
    return difflib.get_close_matches(wanted, sorted(known), MOST_NAMED, cutoff=0.5)


def _missing(wanted: ZooName) -> str:
    elsewhere = [
        remote
        for remote, index in last_indexes(local_zoo()).items()
        if any(wanted in (name, ZooName(name.name)) for name in index.entries())
    ]
    if elsewhere:
        places = " and ".join(elsewhere)
        return f"zoo:{wanted} is not on this machine, but in {places}; fetch it: r2d2 zoo pull {wanted}"
    here = {name for registry in (shipped_models(), local_zoo()) for name in registry.versions(wanted.name)}
    if here:
        return f"zoo:{wanted} is not here; there is {', '.join(map(str, sorted(here)))}"
    near = [name for name in nearest_names(wanted.name) if name != wanted.name]
    hint = f"did you mean {' or '.join(near)}?" if near else "'r2d2 zoo list' shows what there is"
    return f"there is no model {wanted} in the zoo; {hint}"
