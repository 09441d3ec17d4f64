"""Registries in folders: NAME/VERSION/ with models that never change, and the index beside, made from the folders."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from r2d2.errors import ZooError
from r2d2.zoo.registries.index import INDEX, ModelEntry, RegistryIndex
from r2d2.zoo.registries.names import ZooName, check_name, is_name, is_version
from r2d2.zoo.registries.published import entry_of, how_applied
from r2d2_base.errors import R2D2Error
from r2d2_base.files import make_folder, name_beside, remove, remove_leftovers_of, write_json, writing
from r2d2_base.folders import locked_folder, remove_unfinished, staged_folder

__all__ = ["FolderRegistry", "local_zoo", "shipped_models"]

Made = TypeVar("Made")

SHIPPED = Path(__file__).parent.parent / "shipped"
PATIENCE_S = 120.0  # for as long as another process may publish


@dataclass(frozen=True)
class FolderRegistry:
    """Published models in a folder.

    Attributes:
        folder: the registry; it need not be there yet.
        called: what messages call it.
    """

    folder: Path
    called: str

    def folder_of(self, name: ZooName) -> Path:
        """Where a version of a model is, or would be."""
        return self.folder / name.name / str(name.version)

    def holds(self, name: ZooName) -> bool:
        """Whether there is this version of a model."""
        return self.folder_of(name).is_dir()

    def names(self) -> list[ZooName]:
        """All models that have a folder, versions in their order."""
        return sorted(name for model in _folders(self.folder) if is_name(model) for name in self.versions(model))

    def versions(self, name: str) -> list[ZooName]:
        """All versions of a model, the newest last."""
        return sorted(ZooName(name, int(found)) for found in _folders(self.folder / name) if is_version(found))

    def entry(self, name: ZooName) -> ModelEntry:
        """Say of a model what an index says of it; its files are not compared with what files.json tells.

        Raises:
            ZooError: it is no published model, or damaged.
        """
        return entry_of(self.folder_of(name))

    def entries(self) -> tuple[dict[ZooName, ModelEntry], list[str]]:
        """Read all models; give what an index says of them, and a sentence for each that is damaged."""
        entries, faults = {}, []
        for name in self.names():
            try:
                entries[name] = self.entry(name)
            except (R2D2Error, OSError) as error:
                faults.append(f"{name} in {self.called} is damaged: {error}")
        return entries, faults

    def index(self) -> list[str]:
        """Write index.json from the folders; give a sentence for each model that is left out because it is damaged."""
        with self.changing() as faults:
            pass
        return faults

    def add(self, name: str, fill: Callable[[ZooName, Path], Made], *, above: int = 0) -> tuple[ZooName, Made]:
        """Add the next version of a model.

        Args:
            name: of the model.
            fill: called with the name and version, and an empty folder that it fills.
            above: the version is higher than this, such as one that another registry has.

        Returns:
            The name with its version, and what ``fill`` gave.

        Raises:
            ZooError: a version holds the same weights, applied in the same way, already.
            BusyFolderError: another process does not end adding.
        """
        check_name(name)
        make_folder(self.folder)
        with self.changing():
            newest = max((found.version or 0 for found in self.versions(name)), default=0)
            added = ZooName(name, max(newest, above) + 1)
            folder = self.folder_of(added)
            remove_leftovers_of(folder)
            with staged_folder(folder) as staging:
                made = fill(added, staging)
                self._check_new(staging)
        return added, made

    def remove(self, name: ZooName) -> None:
        """Remove a version of a model.

        Raises:
            ZooError: there is none.
        """
        folder = self.folder_of(name)
        remove_unfinished(folder)
        if not self.holds(name):
            raise ZooError(f"{name} is not in {self.called}")
        with self.changing():
            with writing(folder):
                gone = folder.rename(name_beside(folder))  # so that nobody finds half of it
            remove(gone)
            with suppress(OSError):  # where other versions stay
                folder.parent.rmdir()

    def _check_new(self, folder: Path) -> None:
        """Refuse the weights of another version, unless they are applied otherwise: scores are of both together."""
        weights, applied = entry_of(folder).weights, how_applied(folder)
        for name, other in self.entries()[0].items():
            if other.weights == weights and how_applied(self.folder_of(name)) == applied:
                raise ZooError(f"{name} in {self.called} holds these very weights already; nothing was added")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from changing the registry.

        Raises:
            BusyFolderError: another process does not end changing it.
        """
        make_folder(self.folder)
        with locked_folder(self.folder, self.folder, PATIENCE_S):
            yield

    @contextmanager
    def changing(self) -> Iterator[list[str]]:
        """Keep other processes from changing which models there are, and write the index at the end.

        Yields:
            What at the end has a sentence for each model that is left out of the index because it is damaged.
        """
        faults: list[str] = []
        with self.locked():
            yield faults
            entries, damaged = self.entries()
            faults += damaged
            path = self.folder / INDEX
            remove_leftovers_of(path)
            write_json(path, RegistryIndex.of(entries).model_dump(mode="json", exclude_none=True))


def local_zoo() -> FolderRegistry:
    """The user's own models: $R2D2_ZOO, else $XDG_DATA_HOME/r2d2/zoo, else ~/.local/share/r2d2/zoo."""
    named, data = os.environ.get("R2D2_ZOO"), os.environ.get("XDG_DATA_HOME", "")
    above = Path(data) if Path(data).is_absolute() else Path.home() / ".local" / "share"
    return FolderRegistry(Path(named).absolute() if named else above / "r2d2" / "zoo", "the local zoo")


def shipped_models() -> FolderRegistry:
    """The models that came with R2D2; nothing is added to them or removed."""
    return FolderRegistry(SHIPPED, "what R2D2 ships")


def _folders(folder: Path) -> list[str]:
    """Names of the folders in a folder; those that are links elsewhere are none."""
    if not folder.is_dir():
        return []
    return [found.name for found in os.scandir(folder) if found.is_dir(follow_symlinks=False)]
