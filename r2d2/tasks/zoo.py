"""The zoo: models listed, shown, fetched, checked, published and removed."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from dist_training.inference.model_card import ModelCard, read_model_card
from imgmed.archives import is_archive
from r2d2.errors import ZooError
from r2d2.zoo.card.blocks import Section
from r2d2.zoo.card.description import ModelDescription, read_description
from r2d2.zoo.card.page import card_sections, card_warnings
from r2d2.zoo.card.pictures import CardPicture, pictures_of_page
from r2d2.zoo.publishing.author_words import description_template
from r2d2.zoo.publishing.publish import PublishSettings, publish_model
from r2d2.zoo.registries.index import INDEX, ModelEntry, read_index
from r2d2.zoo.registries.names import ZooName, check_name, is_zoo_name, parse_name
from r2d2.zoo.registries.pins import SIGNATURE
from r2d2.zoo.registries.places import is_address
from r2d2.zoo.registries.printable import printable
from r2d2.zoo.registries.published import declared_file, faults_of
from r2d2.zoo.registries.pulling import PulledModel, fetch_indexes, pull_file, pull_named
from r2d2.zoo.registries.registry import FolderRegistry, local_zoo, shipped_models
from r2d2.zoo.registries.remotes import Remote, RemoteIndex, last_indexes, read_remotes
from r2d2.zoo.registries.resolution import find_here, nearest_names, resolve
from r2d2_base.files import written_beside
from r2d2_base.progress import Progress, StopRequest, Watcher

__all__ = [
    "CheckedModel",
    "ListSettings",
    "ListedModel",
    "Listing",
    "ModelPage",
    "PublishToZooSettings",
    "PublishedVersion",
    "PullSettings",
    "ShownModel",
    "channels_of_model",
    "describe",
    "list_models",
    "model_page",
    "model_pictures",
    "publish",
    "pull",
    "remove_model",
    "show_model",
    "verify_models",
]

CARD = "card.md"
LARGEST_CARD = 1_000_000
PAGE = "card.html"
LARGEST_PAGE = 20_000_000


class ListSettings(BaseModel):
    """Which models are listed.

    >>> ListSettings(words=["hippocampus"]).offline
    False
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    words: tuple[str, ...] = Field(default=(), description="words that a model names: title, labels, channels, dataset")
    offline: bool = Field(default=False, description="list what is on this machine, and ask no remote registry")
    remembered: bool = Field(
        default=False, description="ask no remote registry, and list what each had when it was last asked"
    )


class PullSettings(BaseModel):
    """A model to be brought into the local zoo.

    >>> PullSettings(model="hippocampus-unet:1").registry is None
    True
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str | Path = Field(description="NAME or NAME:VERSION, or the path of an archive or folder")
    registry: str | None = Field(default=None, description="remote registry to fetch it from; none: any that has it")
    name: str | None = Field(default=None, description="what a model of an archive is called; none: as published")


class PublishToZooSettings(BaseModel):
    """A trained network to be published under a name."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    run: Path = Field(description="run folder of a training")
    name: str = Field(description="of the model; it gets the next version")
    to: Path | None = Field(default=None, description="folder of a registry; none: the local zoo")
    wishes: PublishSettings = Field(description="what is published with it, and how")


@dataclass(frozen=True)
class ListedModel:
    """A version of a model, what an index says of it, and where it is: "local", "shipped" or a remote registry."""

    name: ZooName
    entry: ModelEntry
    where: tuple[str, ...]


@dataclass(frozen=True)
class Listing:
    """Models of the zoo.

    Attributes:
        models: by name and version; another model of the same name and version, elsewhere, is another entry.
        remotes: the remote registries that were added.
        faults: a sentence for each model that is damaged, and each registry that could not be asked.
    """

    models: tuple[ListedModel, ...]
    remotes: dict[str, Remote]
    faults: tuple[str, ...]


@dataclass(frozen=True)
class ShownModel:
    """A model's card as text."""

    name: ZooName
    where: str
    card: str


@dataclass(frozen=True)
class ModelPage:
    """A model's card in its parts: what was said of it, what must be read first, and all under headings."""

    name: ZooName
    description: ModelDescription
    card: ModelCard
    warnings: tuple[str, ...]
    sections: tuple[Section, ...]


@dataclass(frozen=True)
class CheckedModel:
    """A model whose files were checked: its name, its folder, and what is wrong, if anything."""

    name: ZooName
    folder: Path
    faults: tuple[str, ...]


@dataclass(frozen=True)
class PublishedVersion:
    """A model that was published: its name and version, its folder, and what its publisher should know."""

    name: ZooName
    folder: Path
    notices: tuple[str, ...]


def list_models(
    settings: ListSettings | None = None, *, progress: Progress | None = None, stop: StopRequest | None = None
) -> Listing:
    """List the models of the local zoo, those that R2D2 ships, and those of the remote registries.

    Args:
        settings: which; None: all.
        progress: told of what is fetched.
        stop: ends it where it is made.

    Returns:
        Those that hold all words, and what could not be asked.
    """
    wanted, zoo = settings or ListSettings(), local_zoo()
    remotes = read_remotes(zoo)
    found: dict[tuple[ZooName, str], ListedModel] = {}
    faults: list[str] = []
    for where, registry in (("local", zoo), ("shipped", shipped_models())):
        entries, damaged = registry.entries()
        faults += damaged
        _collect(found, entries, where)
    if wanted.remembered:
        for where, index in last_indexes(zoo).items():
            _collect(found, index.entries(), where)
    is_asking = not (wanted.offline or wanted.remembered)
    asked, unasked = fetch_indexes(zoo, remotes if is_asking else {}, Watcher(progress, stop))
    for remote in asked:
        _collect(found, remote.index.entries(), remote.name)
    models = [found[key] for key in sorted(found) if _holds(found[key], wanted.words)]
    return Listing(tuple(models), remotes, (*faults, *map(str, unasked)))


def _collect(found: dict[tuple[ZooName, str], ListedModel], entries: dict[ZooName, ModelEntry], where: str) -> None:
    """Add what a registry has; the same files under the same name are one model that is in several places."""
    for name, entry in entries.items():
        key = (name, entry.files["files.json"].sha256)
        before = found[key].where if key in found else ()
        found[key] = ListedModel(name, entry, (*before, where))


def _holds(model: ListedModel, words: Sequence[str]) -> bool:
    entry = model.entry
    said = (str(model.name), entry.title, *entry.labels, *entry.channels, entry.dataset, entry.architecture)
    text = " ".join(said).casefold()
    return all(word.casefold() in text for word in words)


def show_model(name: str | Path, *, progress: Progress | None = None, stop: StopRequest | None = None) -> ShownModel:
    """Give the card of a model: of this machine, or else of the first remote registry that has it.

    Args:
        name: NAME or NAME:VERSION.
        progress: told of what is fetched.
        stop: ends it where it is made.

    Raises:
        ZooError: there is no such model.
    """
    wanted, zoo = parse_name(name), local_zoo()
    here = find_here(wanted)
    if here is not None:
        text = (here.folder / CARD).read_text(encoding="utf-8", errors="replace")
        return ShownModel(here.name, "local" if here.registry == zoo else "shipped", printable(text, kept="\n\t"))
    asked, faults = fetch_indexes(zoo, read_remotes(zoo), Watcher(progress, stop))
    for remote in asked:
        meant = [one for one in remote.index.entries() if wanted in (one, ZooName(one.name))]
        if meant:
            return ShownModel(max(meant), remote.name, printable(_remote_card(remote, max(meant)), kept="\n\t"))
    if faults:
        raise faults[0]
    near = nearest_names(wanted.name)
    hint = f"did you mean {' or '.join(near)}?" if near else "'r2d2 zoo list' shows what there is"
    raise ZooError(f"there is no model {wanted} in the zoo; {hint}")


def model_page(name: str | Path | ZooName) -> ModelPage | None:
    """Give the card of a model on this machine in its parts; None: it is not here.

    Args:
        name: NAME or NAME:VERSION.

    Raises:
        ZooError: it is no name, or the model is damaged.
        ModelError: likewise.
    """
    here = find_here(name if isinstance(name, ZooName) else parse_name(name))
    if here is None:
        return None
    description, (_, card) = read_description(here.folder), read_model_card(here.folder)
    warnings, sections = card_warnings(description, card), card_sections(description, card)
    return ModelPage(here.name, description, card, tuple(warnings), tuple(sections))


def model_pictures(name: str | Path | ZooName) -> tuple[CardPicture, ...]:
    """Give the pictures on the page of a model on this machine, where it was published with pictures.

    Args:
        name: NAME or NAME:VERSION.

    Raises:
        ZooError: it is no name, or the model is damaged.
    """
    here = find_here(name if isinstance(name, ZooName) else parse_name(name))
    if here is None:
        return ()
    page = declared_file(here.folder, PAGE, LARGEST_PAGE)
    return () if page is None else pictures_of_page(page.decode("utf-8", "replace"))


def channels_of_model(model: str | Path) -> int:
    """Count the channels that a scan has for a model.

    Args:
        model: run folder, folder of a cross-validation, or zoo:NAME[:VERSION].

    Raises:
        R2D2Error: there is no such model.
    """
    folder = resolve(model).folder if is_zoo_name(model) else Path(model)
    _, card = read_model_card(min(folder.glob("fold-*/model.keras"), default=folder))
    return len(card.channels)


def _remote_card(remote: RemoteIndex, name: ZooName) -> str:
    facts = remote.index.entries()[name].files[CARD]
    path = f"{name.name}/{name.version}/{CARD}"
    data = remote.place.read(path, min(facts.size, LARGEST_CARD))
    if data is None or hashlib.sha256(data).hexdigest() != facts.sha256:
        raise ZooError(f"{path} of {remote.place.shown} is not the file that the index names; tell who keeps it")
    return data.decode("utf-8", "replace")


def describe(run: Path, out: Path | None = None) -> str:
    """Give the questions that only the author of a model can answer, as YAML to be filled in before publishing.

    Args:
        run: run folder of a training.
        out: file for them, too; one that is there stays.

    Raises:
        ModelError: there is no network in ``run``, or a damaged one.
        OutputExistsError: there is a file.
    """
    text = description_template(run)
    if out is not None:
        with written_beside(out, may_replace=False) as (beside,):
            beside.write_text(text, encoding="utf-8")
    return text


def publish(settings: PublishToZooSettings) -> PublishedVersion:
    """Publish a trained network as the next version of a model, which then never changes.

    Raises:
        ZooError: it cannot be published, or these weights are there already: says under which name.
    """
    zoo, name = local_zoo(), check_name(settings.name)
    registry, above = zoo, 0
    if settings.to is not None:
        if is_address(str(settings.to)):
            raise ZooError(f"--to {settings.to}: give the folder of the registry, which a web server may then serve")
        registry = FolderRegistry(settings.to, str(settings.to))
    else:
        above = max((one.version or 0 for one in shipped_models().versions(name)), default=0)

    def fill(called: ZooName, folder: Path) -> tuple[str, ...]:
        return publish_model(settings.run, folder, settings.wishes.model_copy(update={"name": str(called)})).notices

    published, notices = registry.add(name, fill, above=above)
    if (registry.folder / SIGNATURE).exists():
        notices = (*notices, f"{registry.folder / SIGNATURE} is of the index as it was: sign {INDEX} again")
    return PublishedVersion(published, registry.folder_of(published), notices)


def pull(settings: PullSettings, *, progress: Progress | None = None, stop: StopRequest | None = None) -> PulledModel:
    """Bring a model into the local zoo, whole and checked; an interrupted call is gone on with.

    Args:
        settings: which, and from where.
        progress: told of the bytes that came.
        stop: ends it where it is made; the same call then goes on.

    Raises:
        ZooError: there is no such model, or it is not as it was published.
        FetchError: a server cannot be reached, or breaks off.
        CancelledError: ``stop`` was made.
    """
    watcher, path = Watcher(progress, stop), Path(settings.model)
    if isinstance(settings.model, Path) or "/" in settings.model or is_archive(path):
        if settings.registry is not None:
            raise ZooError(f"{path} is a file or folder; --from goes with the name of a model")
        return pull_file(path, None if settings.name is None else parse_name(settings.name), watcher)
    if settings.name is not None:
        raise ZooError("--name is for a model from an archive; one of a registry keeps its name")
    return pull_named(parse_name(settings.model), settings.registry, watcher)


def verify_models(name: str | None = None, registry: Path | None = None) -> tuple[CheckedModel, ...]:
    """Compare all files of models with what was published, and see that nothing else is there.

    Args:
        name: NAME or NAME:VERSION; None: all.
        registry: folder of a registry, whose index is checked too; None: the local zoo and what R2D2 ships.

    Raises:
        ZooError: there is no such model.
    """
    wanted = None if name is None else parse_name(name)
    places = [FolderRegistry(registry, str(registry))] if registry else [local_zoo(), shipped_models()]
    index = registry / INDEX if registry else None
    said = read_index(index.read_bytes(), str(index)).entries() if index is not None and index.exists() else {}
    checked = [
        CheckedModel(found, place.folder_of(found), tuple(faults_of(place.folder_of(found), said.get(found))))
        for place in places
        for found in place.names()
        if wanted is None or wanted in (found, ZooName(found.name))
    ]
    missing = [found for found in said if wanted in (None, found, ZooName(found.name)) and not places[0].holds(found)]
    checked += [CheckedModel(found, places[0].folder_of(found), ("it is missing",)) for found in missing]
    if wanted is not None and not checked:
        raise ZooError(f"there is no {wanted} in {' or '.join(place.called for place in places)}")
    return tuple(checked)


def remove_model(name: str) -> ZooName:
    """Remove one version of a model from the local zoo.

    Args:
        name: NAME:VERSION.

    Raises:
        ZooError: it is not in the local zoo, such as one that R2D2 ships; or no version is named.
    """
    wanted, zoo = parse_name(name), local_zoo()
    if wanted.version is None:
        there = ", ".join(map(str, zoo.versions(wanted.name))) or f"no version of {wanted} in the local zoo"
        raise ZooError(f"name the version to be removed; there is {there}")
    if not zoo.holds(wanted) and shipped_models().holds(wanted):
        raise ZooError(f"{wanted} came with R2D2 and stays; only models of the local zoo are removed")
    zoo.remove(wanted)
    return wanted
