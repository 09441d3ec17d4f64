"""Registries of the zoo: remote ones added and forgotten, the index of a folder written anew."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from r2d2.errors import ZooError
from r2d2.zoo.registries.names import check_name
from r2d2.zoo.registries.pins import parse_pin
from r2d2.zoo.registries.places import is_address
from r2d2.zoo.registries.registry import FolderRegistry, local_zoo
from r2d2.zoo.registries.remotes import Remote, fetch_index, forget_index, keep_index, read_remotes, write_remotes
from r2d2_base.progress import Progress, StopRequest, Watcher

__all__ = ["AddSettings", "AddedRegistry", "add_registry", "forget_registry", "index_registry"]


class AddSettings(BaseModel):
    """A remote registry to be known by a name."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(description="what the registry is called from now on")
    location: str = Field(description="a folder that holds index.json, or an http(s) address")
    pin: str | None = Field(
        default=None, description="sha256:HEX of its index.json, or ed25519:BASE64 of the key that signs it"
    )
    insecure: bool = Field(default=False, description="fetch by plain HTTP from another machine")


@dataclass(frozen=True)
class AddedRegistry:
    """A remote registry that was added.

    Attributes:
        name: of the registry.
        models: number of versions of models that it has.
        sha256: of its index, which may be pinned.
        replaced: where the registry of this name was before; None: there was none.
    """

    name: str
    models: int
    sha256: str
    replaced: str | None


def add_registry(
    settings: AddSettings, *, progress: Progress | None = None, stop: StopRequest | None = None
) -> AddedRegistry:
    """Know a remote registry by a name, once its index can be read; a registry of that name is replaced.

    Raises:
        ZooError: there is no registry, its index is damaged, or is not the one that is pinned.
        FetchError: a server cannot be reached.
    """
    zoo, name = local_zoo(), check_name(settings.name)
    location = settings.location if is_address(settings.location) else str(Path(settings.location).absolute())
    pin = None if settings.pin is None else parse_pin(settings.pin)
    remote = Remote(location=location, pin=pin, insecure=settings.insecure)
    fetched = fetch_index(name, remote, Watcher(progress, stop))
    with zoo.locked():
        known = read_remotes(zoo)
        before = known.get(name)
        write_remotes(zoo, {**known, name: remote})
        keep_index(zoo, fetched)
    return AddedRegistry(
        name, len(fetched.index.entries()), fetched.sha256, None if before is None else before.location
    )


def forget_registry(name: str) -> None:
    """Forget a remote registry; models that came from there stay.

    Raises:
        ZooError: none is called so.
    """
    zoo = local_zoo()
    with zoo.locked():
        known = read_remotes(zoo)
        if name not in known:
            raise ZooError(f"no remote registry is called {name}; there are {', '.join(known) or 'none'}")
        write_remotes(zoo, {other: remote for other, remote in known.items() if other != name})
        forget_index(zoo, name)


def index_registry(folder: Path) -> tuple[str, ...]:
    """Write the index of a registry anew from the folders of its models.

    Returns:
        A sentence for each model that is left out because it is damaged.

    Raises:
        ZooError: there is no such folder.
    """
    if not folder.is_dir():
        raise ZooError(f"no such folder: {folder}")
    return tuple(FolderRegistry(folder, str(folder)).index())
