"""Models as pages show them: listed with where they are, and each with its card."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from werkzeug.exceptions import NotFound

from r2d2.tasks.zoo import ListedModel, Listing, ListSettings, ModelPage, list_models, model_page, model_pictures
from r2d2.zoo.card.blocks import Block, Command, Paragraph, Points
from r2d2.zoo.card.pictures import CardPicture
from r2d2.zoo.registries.names import ZooName
from r2d2.zoo.registries.registry import local_zoo, shipped_models

__all__ = ["HERE", "CardPage", "Catalogue", "card_of", "catalogue", "is_removable", "kind_of", "listed", "picture_of"]

HERE = ("local", "shipped")


@dataclass(frozen=True)
class Catalogue:
    """Models, and what is known of the registries.

    Attributes:
        models: those that hold the words.
        listing: all that was found.
        words: that were looked for.
    """

    models: tuple[ListedModel, ...]
    listing: Listing
    words: str


@dataclass(frozen=True)
class CardPage:
    """A model with its card.

    Attributes:
        name: with its version.
        where: "local", "shipped", or the registries that have it.
        listed: what an index says of it; None: it is damaged.
        page: its card; None: it is not on this machine.
        pictures: on its card, where it was published with pictures.
    """

    name: ZooName
    where: tuple[str, ...]
    listed: ListedModel | None
    page: ModelPage | None
    pictures: tuple[CardPicture, ...] = ()


def catalogue(words: str) -> Catalogue:
    """List models of this machine, and of the registries as they were when last asked; asks no network."""
    settings = ListSettings(words=tuple(words.split()), remembered=True)
    listing = list_models(settings)
    return Catalogue(listing.models, listing, words)


def listed(name: ZooName) -> ListedModel | None:
    """Find what an index says of a model."""
    found = [model for model in list_models(ListSettings(remembered=True)).models if model.name == name]
    return next((model for model in found if set(HERE) & set(model.where)), found[0] if found else None)


def card_of(name: ZooName) -> CardPage:
    """Give the card of a model.

    Raises:
        NotFound: there is none of that name.
        R2D2Error: it is damaged.
    """
    entry, page = listed(name), model_page(name)
    if entry is None and page is None:
        raise NotFound(f"there is no model {name} in the zoo")
    where = entry.where if entry is not None else ()
    return CardPage(name, where, entry, page, () if page is None else model_pictures(name))


def picture_of(name: ZooName, number: int) -> bytes:
    """Give a picture on a model's card, as PNG.

    Args:
        name: of the model, with its version.
        number: of the picture, from 1.

    Raises:
        NotFound: there is none.
        R2D2Error: the model is damaged.
    """
    pictures = model_pictures(name)
    if not 1 <= number <= len(pictures):
        raise NotFound(f"{name} has no picture {number} on its card")
    return pictures[number - 1].png


def is_removable(name: ZooName) -> bool:
    """Whether a model is in the local zoo, and did not come with R2D2."""
    return local_zoo().holds(name) and not shipped_models().holds(name)


def kind_of(block: Block) -> str:
    """Say what a part of a card is, for templates."""
    kinds: dict[type[Any], str] = {Paragraph: "paragraph", Points: "points", Command: "command"}
    return kinds.get(type(block), "table")
