"""The folder of a published model: what an index says of it, and whether all in it is as it was published."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from pydantic import ValidationError

from dist_training.errors import ModelError
from dist_training.inference.model_card import ModelCard, read_model_card
from r2d2.errors import ZooError
from r2d2.zoo.card.description import CARD, read_description
from r2d2.zoo.registries.index import FILES, FileFacts, ModelEntry, read_files
from r2d2.zoo.registries.names import ZooName, parse_name
from r2d2_base.files import sha256_of
from r2d2_base.settings_faults import settings_faults

__all__ = [
    "MEMBERS",
    "check_no_code",
    "declared_file",
    "entry_of",
    "faults_of",
    "how_applied",
    "name_on_card",
    "networks_in",
]

MEMBERS = "members"

LARGEST_LIST = 1_000_000


def entry_of(folder: Path) -> ModelEntry:
    """Say of a model what an index says of it; its files are not compared with what files.json tells.

    What has not changed since is not read again.

    Raises:
        ZooError: it is no published model, or damaged.
    """
    try:
        states = [(folder / name).stat() for name in (FILES, "model.json", CARD)]
    except OSError:
        return _entry_of(folder)  # says what is missing
    return _remembered(folder, tuple((state.st_ino, state.st_mtime_ns, state.st_size) for state in states))


@lru_cache(maxsize=256)
def _remembered(folder: Path, stamp: tuple[tuple[int, int, int], ...]) -> ModelEntry:
    return _entry_of(folder)


def _entry_of(folder: Path) -> ModelEntry:
    files = dict(_files(folder))
    listed, said = folder / FILES, read_description(folder)
    try:
        card = ModelCard.model_validate_json((folder / "model.json").read_bytes())
        return ModelEntry(
            files={**files, FILES: FileFacts(sha256=sha256_of(listed), size=listed.stat().st_size)},
            title=said.title,
            architecture=card.network.architecture,
            labels=tuple(label for label, value in card.labels.items() if value),
            channels=card.channels,
            dataset=card.dataset,
            licence=said.licence,
            parent=said.parent,
            published=said.published,
        )
    except ValidationError as error:
        raise ZooError(f"{folder} is no published model of this R2D2: {settings_faults(error)[0]}") from error
    except OSError as error:
        raise ZooError(f"{folder} is no published model ({error.strerror}: model.json)") from error


def how_applied(folder: Path) -> tuple[object, ...]:
    """Give what a model does with its networks by itself: the views that they see, and the rules for their label maps.

    Args:
        folder: of a published model that `entry_of` takes.
    """
    card = ModelCard.model_validate_json((folder / "model.json").read_bytes())
    return card.views, card.postprocessing


def networks_in(folder: Path) -> tuple[Path, ...]:
    """List the folders of a model's networks: its own, then those below members/, which are asked together with it.

    Args:
        folder: of a model, published or a run's.
    """
    others = (path for path in (folder / MEMBERS).glob("*") if path.is_dir())
    return (folder, *sorted(others, key=lambda path: (len(path.name), path.name)))


def _files(folder: Path) -> dict[str, FileFacts]:
    try:
        with (folder / FILES).open("rb") as stream:
            return read_files(stream.read(LARGEST_LIST), str(folder / FILES))
    except FileNotFoundError as error:
        raise ZooError(f"{folder} is no published model ({FILES} is missing); 'r2d2 zoo publish' makes one") from error


def declared_file(folder: Path, name: str, largest: int) -> bytes | None:
    """Read a file that belongs to a model; None: there is none, it is no plain file, not as published, or too large.

    Args:
        folder: of a published model.
        name: of the file, as files.json has it.
        largest: bytes at most.

    Raises:
        ZooError: the folder is no published model.
    """
    facts, file = _files(folder).get(name), folder / name
    if facts is None or facts.size > largest or file.resolve() != folder.resolve() / name or not file.is_file():
        return None
    with file.open("rb") as stream:
        content = stream.read(facts.size + 1)
    return content if hashlib.sha256(content).hexdigest() == facts.sha256 else None


def name_on_card(folder: Path) -> ZooName | None:
    """Tell under which name a model was published; None: its card does not say."""
    said = read_description(folder).name
    try:
        return None if said is None else parse_name(said)
    except ZooError:
        return None


def faults_of(folder: Path, entry: ModelEntry | None = None) -> list[str]:
    """Compare every file with files.json, see that there is no other, and that the card belongs to the network.

    Args:
        folder: of a published model.
        entry: what an index says of it; None: nothing is compared with that.

    Returns:
        What is wrong, a few words each; nothing: all is as it was published.
    """
    try:
        listed = _files(folder)
    except ZooError as error:
        return [str(error)]
    faults = []
    there = dict(_walked(folder))
    for path, facts in sorted(listed.items()):
        if path not in there:
            faults.append(f"{path} is missing")
        elif there.pop(path):
            faults.append(f"{path} is no plain file")
        elif (folder / path).stat().st_size != facts.size or sha256_of(folder / path) != facts.sha256:
            faults.append(f"{path} was changed")
    if there.pop(FILES, False):
        faults.append(f"{FILES} is no plain file")
    faults += [f"{path} does not belong to it" for path in sorted(there)]
    if faults:
        return faults
    try:
        found = entry_of(folder)
        if entry is not None and found != entry:
            names = [name for name in ModelEntry.model_fields if getattr(found, name) != getattr(entry, name)]
            faults.append(f"it is not what the index says ({', '.join(names)})")
        check_no_code(folder, folder.name)
    except (ZooError, ModelError, OSError) as error:
        faults.append(str(error))
    return faults


def _walked(folder: Path) -> Iterator[tuple[str, bool]]:
    """Every file in a folder and those below by its path, and whether it is a link, or anything but a plain file."""
    for parent, folders, names in os.walk(folder):
        for name in (*names, *(name for name in folders if Path(parent, name).is_symlink())):
            path = Path(parent, name)
            yield path.relative_to(folder).as_posix(), path.is_symlink() or not path.is_file()


def check_no_code(folder: Path, called: str) -> None:
    """Refuse a model whose card names code: from the zoo none is run, whoever is trusted.

    Args:
        folder: of the model.
        called: what messages call it.

    Raises:
        ZooError: its card names code.
        ModelError: there is no network, or its card does not belong to it.
    """
    for network in networks_in(folder):
        _, card = read_model_card(network)
        named = getattr(card.network, "build", None)
        if named is not None:
            raise ZooError(f"{called}: its card names code that would run, {named}; no model of the zoo may do that")
