"""Remote registries: which ones a user added, and what their indexes say."""

from __future__ import annotations

import hashlib
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from r2d2.errors import ZooError
from r2d2.zoo.registries.index import INDEX, LARGEST_INDEX, RegistryIndex, read_index
from r2d2.zoo.registries.names import check_name
from r2d2.zoo.registries.pins import LARGEST_SIGNATURE, SIGNATURE, check_pin
from r2d2.zoo.registries.places import FolderPlace, Place, check_address, is_address
from r2d2.zoo.registries.registry import FolderRegistry
from r2d2.zoo.registries.web import WebPlace
from r2d2_base.files import make_folder, read_json, remove_leftovers_of, write_bytes, write_json
from r2d2_base.progress import Watcher
from r2d2_base.settings_faults import settings_faults

__all__ = [
    "REGISTRIES",
    "Remote",
    "RemoteIndex",
    "fetch_index",
    "forget_index",
    "keep_index",
    "last_indexes",
    "open_place",
    "read_remotes",
    "write_remotes",
]

REGISTRIES = "registries.json"
INDEXES = ".indexes"
"""Folder in the local zoo of the indexes as they were when last fetched: what is where is known without a network."""
RESERVED = ("local", "shipped")


class Remote(BaseModel):
    """A remote registry.

    Attributes:
        location: a folder's absolute path, or an address.
        pin: see `parse_pin`; None: any index is taken.
        insecure: whether plain HTTP to other machines will do.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    location: str
    pin: str | None = None
    insecure: bool = False


class _Remotes(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    registries: dict[str, Remote] = {}


@dataclass(frozen=True)
class RemoteIndex:
    """What a remote registry has, and where its files are read from.

    Attributes:
        name: of the registry.
        index: what it has.
        data: bytes of index.json.
        place: its folder or address.
    """

    name: str
    index: RegistryIndex
    data: bytes
    place: Place

    @property
    def sha256(self) -> str:
        """Of index.json, which may be pinned."""
        return hashlib.sha256(self.data).hexdigest()


def read_remotes(zoo: FolderRegistry) -> dict[str, Remote]:
    """Read which remote registries there are, by name.

    Raises:
        ZooError: the file is damaged.
    """
    path = zoo.folder / REGISTRIES
    try:
        return dict(_Remotes.model_validate(read_json(path)).registries) if path.exists() else {}
    except ValidationError as error:
        reason = settings_faults(error, _Remotes)[0]
        raise ZooError(f"{path} is damaged ({reason}); remove it, and add the registries again") from error
    except ValueError as error:
        raise ZooError(f"{path} is damaged ({error}); remove it, and add the registries again") from error


def write_remotes(zoo: FolderRegistry, remotes: dict[str, Remote]) -> None:
    """Write which remote registries there are; whoever calls it has locked the zoo."""
    for name in remotes:
        if check_name(name) in RESERVED:
            raise ZooError(f"{name} is a word for models that are here already; call the registry otherwise")
    path = zoo.folder / REGISTRIES
    remove_leftovers_of(path)
    write_json(path, _Remotes(registries=remotes).model_dump(mode="json"))


def open_place(location: str, *, is_insecure: bool = False, watcher: Watcher) -> Place:
    """Give what a registry is read from.

    Args:
        location: a folder's path, or an address.
        is_insecure: whether plain HTTP to other machines will do.
        watcher: may ask that nothing more is fetched.

    Raises:
        ZooError: it can be neither; there is no such folder.
    """
    if not is_address(location):
        folder = Path(location)
        if not folder.is_dir():
            raise ZooError(f"no such registry: {location}; name a folder that holds index.json, or an https address")
        return FolderPlace(folder, watcher)
    check_address(location, is_insecure=is_insecure)
    return WebPlace(location.rstrip("/") + "/", is_insecure, watcher)


def fetch_index(name: str, remote: Remote, watcher: Watcher) -> RemoteIndex:
    """Read the index of a remote registry.

    Raises:
        ZooError: there is none, it is damaged, or not the one that is pinned.
        FetchError: a server cannot be reached.
    """
    place = open_place(remote.location, is_insecure=remote.insecure, watcher=watcher)
    data = place.read(INDEX, LARGEST_INDEX)
    if data is None:
        raise ZooError(
            f"{place.shown} is no registry ({INDEX} is missing); 'r2d2 zoo index FOLDER' makes the index of a folder"
        )
    origin = f"{INDEX} of {place.shown}"
    if remote.pin is not None:
        again = shlex.join(["r2d2", "zoo", "add", name, remote.location, *(["--insecure"] * remote.insecure)])
        check_pin(remote.pin, data, lambda: place.read(SIGNATURE, LARGEST_SIGNATURE), again, origin)
    return RemoteIndex(name, read_index(data, origin), data, place)


def keep_index(zoo: FolderRegistry, fetched: RemoteIndex) -> None:
    """Keep the index of a registry as the last one seen, for `last_indexes`."""
    path = zoo.folder / INDEXES / f"{fetched.name}.json"
    make_folder(path.parent)
    write_bytes(path, fetched.data)


def last_indexes(zoo: FolderRegistry) -> dict[str, RegistryIndex]:
    """Read the indexes of the remote registries as they were when last fetched; no network is used."""
    found = {}
    for name in read_remotes(zoo):
        path = zoo.folder / INDEXES / f"{name}.json"
        try:
            found[name] = read_index(path.read_bytes(), str(path))
        except (OSError, ZooError):  # never fetched; or damaged, and fetched again when it is asked for
            continue
    return found


def forget_index(zoo: FolderRegistry, name: str) -> None:
    """Remove the index of a registry that is no more."""
    (zoo.folder / INDEXES / f"{name}.json").unlink(missing_ok=True)
