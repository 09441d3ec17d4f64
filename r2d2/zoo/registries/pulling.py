"""Models brought into the local zoo from remote registries and archives: whole and as published, or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from imgmed.archives import opened_source
from r2d2.errors import FetchError, ZooError
from r2d2.zoo.registries.index import FILES, ModelEntry
from r2d2.zoo.registries.names import ZooName
from r2d2.zoo.registries.places import FolderPlace, Place
from r2d2.zoo.registries.published import entry_of, faults_of, name_on_card
from r2d2.zoo.registries.registry import FolderRegistry, local_zoo, shipped_models
from r2d2.zoo.registries.remotes import Remote, RemoteIndex, fetch_index, keep_index, read_remotes
from r2d2.zoo.registries.resolution import nearest_names
from r2d2_base.errors import BusyFolderError, CancelledError
from r2d2_base.files import check_free_space, remove, sha256_of
from r2d2_base.folders import resumable_folder
from r2d2_base.progress import Watcher

__all__ = ["PulledModel", "fetch_indexes", "pull_file", "pull_named"]

PARTS = ".parts"  # folder of begun files, in the one that is being filled
DEEPEST = 3  # folders within an archive, above the model's


@dataclass(frozen=True)
class PulledModel:
    """A model in the local zoo.

    Attributes:
        name: with its version.
        folder: of the model.
        origin: where it came from: a remote registry, or a file.
        is_new: whether it was fetched now; else it was here, with the same files.
    """

    name: ZooName
    folder: Path
    origin: str
    is_new: bool


def fetch_indexes(
    zoo: FolderRegistry, remotes: Mapping[str, Remote], watcher: Watcher
) -> tuple[list[RemoteIndex], list[ZooError]]:
    """Read the indexes of remote registries, and keep them; give those that can be had, and what is wrong else."""
    found, faults = [], []
    for name, remote in remotes.items():
        try:
            found.append(fetch_index(name, remote, watcher))
            keep_index(zoo, found[-1])
        except ZooError as error:
            faults.append(error)
    return found, faults


def pull_named(wanted: ZooName, registry: str | None, watcher: Watcher) -> PulledModel:
    """Bring a model from a remote registry into the local zoo; what an interrupted call has fetched is used.

    Args:
        wanted: which; without a version the newest.
        registry: name of the remote registry; None: all are asked.
        watcher: told of the bytes that came; may ask the work to end.

    Raises:
        ZooError: no remote registry has it, or what it has is not as its index says.
        FetchError: a server cannot be reached, or breaks off.
    """
    zoo = local_zoo()
    remotes = read_remotes(zoo)
    if registry is not None and registry not in remotes:
        known = f"there are {', '.join(remotes)}" if remotes else "none was added"
        raise ZooError(f"no remote registry is called {registry}; {known}: r2d2 zoo add NAME LOCATION")
    if not remotes:
        raise ZooError(f"{wanted} can be fetched from nowhere: add a remote registry first, r2d2 zoo add NAME LOCATION")
    chosen = remotes if registry is None else {registry: remotes[registry]}
    indexes, faults = fetch_indexes(zoo, chosen, watcher)
    offers = [(index, name) for index in indexes for name in index.index.entries() if _is_meant(name, wanted)]
    if not offers:
        if faults:
            raise faults[0]
        raise ZooError(_nowhere(wanted, indexes))
    newest = max(name for _, name in offers)
    sources = [index for index, name in offers if name == newest]
    entries = [source.index.entries()[newest] for source in sources]
    if any(entry.files != entries[0].files for entry in entries):
        names = ", ".join(source.name for source in sources)
        raise ZooError(f"{newest} is another model in each of {names}; choose one: --from {sources[0].name}")
    origin = f"{sources[0].name} ({sources[0].place.shown})"
    return _install(zoo, newest, entries[0], sources[0].place, f"{newest.name}/{newest.version}/", origin, watcher)


def _is_meant(name: ZooName, wanted: ZooName) -> bool:
    return name.name == wanted.name and wanted.version in (None, name.version)


def _nowhere(wanted: ZooName, indexes: Iterable[RemoteIndex]) -> str:
    versions = sorted({name for index in indexes for name in index.index.entries() if name.name == wanted.name})
    asked = ", ".join(index.name for index in indexes)
    if versions:
        return f"no {wanted} in {asked}; there is {', '.join(map(str, versions))}"
    near = [name for name in nearest_names(wanted.name) if name != wanted.name]
    return f"no model {wanted} in {asked}" + (f"; did you mean {' or '.join(near)}?" if near else "")


def pull_file(path: Path, called: ZooName | None, watcher: Watcher) -> PulledModel:
    """Bring a published model from an archive, or from a folder that somebody copied, into the local zoo.

    Args:
        path: a .zip, .tar.gz ... or a folder that holds one published model.
        called: the name that it gets, and perhaps the version; None: those that it was published under.
        watcher: told of the bytes that came; may ask the work to end.

    Raises:
        ZooError: it holds no published model, several, or one that is not as it was published.
        ImgMedError: an archive is damaged, or names places outside its folder.
    """
    zoo = local_zoo()
    if not path.exists():
        raise ZooError(f"no such file or folder: {path}; name an archive of a published model, or NAME of one")
    with opened_source(path, watcher.progress, watcher.stop) as (unpacked, _):
        folder = _published_in(unpacked, path)
        faults = faults_of(folder)
        if faults:
            raise ZooError(f"{path} is not as it was published: {'; '.join(faults)}; nothing was installed")
        entry, name = entry_of(folder), called or name_on_card(folder)
        if name is None:
            raise ZooError(f"{path} does not say what its model is called; give it a name: --name NAME")
        if name.version is None:
            newest = [found.version or 0 for one in (zoo, shipped_models()) for found in one.versions(name.name)]
            name = ZooName(name.name, max(newest, default=0) + 1)
        return _install(zoo, name, entry, FolderPlace(folder, watcher), "", str(path), watcher)


def _published_in(unpacked: Path, origin: Path) -> Path:
    """Find the one published model in a folder, or some folders below it."""
    found = []
    for parent, folders, names in os.walk(unpacked):
        if FILES in names:
            found.append(Path(parent))
        if FILES in names or len(Path(parent).relative_to(unpacked).parts) >= DEEPEST:
            folders.clear()
    if len(found) != 1:
        what = f"holds {len(found)} published models" if found else f"holds no published model ({FILES} is missing)"
        raise ZooError(f"{origin} {what}; give an archive or folder of one, as 'r2d2 zoo publish' makes it")
    return found[0]


def _install(
    zoo: FolderRegistry, name: ZooName, entry: ModelEntry, place: Place, below: str, origin: str, watcher: Watcher
) -> PulledModel:
    """Bring a model's files into the local zoo, where its folder appears when all are there and checked."""
    folder = zoo.folder_of(name)
    if folder.is_dir():
        return _here_already(zoo, name, entry, origin)
    check_free_space(zoo.folder, entry.size)
    stays = [True]
    try:
        with ExitStack() as after, resumable_folder(folder, lambda staging: stays[0]) as staging:
            stays[0] = not folder.exists()
            if stays[0]:
                _fetch_all(place, below, entry, staging, str(name), watcher, stays)
                after.enter_context(zoo.changing())
            if folder.exists():  # another process was quicker
                stays[0] = False
                raise _Overtaken
    except _Overtaken:
        return _here_already(zoo, name, entry, origin)
    except BusyFolderError as error:
        raise ZooError(f"{name} is being fetched by another process; wait until it is there") from error
    return PulledModel(name, folder, origin, is_new=True)


class _Overtaken(Exception):  # noqa: N818  # no error: what was to be made is there
    """Another process has installed the same model meanwhile."""


def _here_already(zoo: FolderRegistry, name: ZooName, entry: ModelEntry, origin: str) -> PulledModel:
    try:
        is_same = zoo.entry(name).files == entry.files
    except ZooError:
        is_same = False
    if not is_same:
        raise ZooError(
            f"{name} in {zoo.called} is not that of {origin}, or damaged, as 'r2d2 zoo verify {name}' tells;"
            f" 'r2d2 zoo remove {name}' makes room"
        )
    return PulledModel(name, zoo.folder_of(name), origin, is_new=False)


def _fetch_all(
    place: Place, below: str, entry: ModelEntry, staging: Path, called: str, watcher: Watcher, stays: list[bool]
) -> None:
    """Fetch the files that an earlier call has not, check all, and leave no other in the folder."""
    done, parts = 0, staging / PARTS
    try:
        _remove_others(staging, entry)
        for path, facts in sorted(entry.files.items(), key=lambda item: item[1].size):
            target, told = staging / path, partial(_tell, watcher, f"fetching {called}", done, entry.size)
            told(0)
            if target.is_file() and target.stat().st_size == facts.size and sha256_of(target) == facts.sha256:
                told(facts.size)
            else:
                place.fetch(below + path, facts, target, parts, told)
            done += facts.size
        shutil.rmtree(parts, ignore_errors=True)
        faults = faults_of(staging, entry)
        if faults:
            said = f"{called} from {place.shown} is not what it should be"
            raise ZooError(f"{said}: {'; '.join(faults)}; nothing was installed")
    except Exception as error:
        stays[0] = isinstance(error, FetchError | CancelledError)
        raise


def _tell(watcher: Watcher, stage: str, before: int, total: int, came: int) -> None:
    watcher.report(stage, before + came, total)


def _remove_others(staging: Path, entry: ModelEntry) -> None:
    """Remove what a killed call left that is no file of the model, nor a begun one."""
    for parent, _, names in os.walk(staging):
        for left in (Path(parent, name) for name in names):
            if left.parent.name != PARTS and left.relative_to(staging).as_posix() not in entry.files:
                remove(left)
