"""The texts of a model about to be published, searched for names of its source."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from dist_training.architectures.network_file import CONFIG, read_members
from dist_training.errors import WeightsError
from dist_training.inference.model_card import ModelCard
from r2d2.zoo.publishing.author_words import AuthorWords
from r2d2.zoo.publishing.privacy import NameSearch, SourceNames, folded_parts, strings_in_json, strings_in_text

__all__ = ["NamedText", "names_in_texts"]

MOST_NAMED = 5
OWN_WORDS = (
    "affine", "architecture", "background", "batch", "best", "case", "cases", "channels", "clip", "contact",
    "dataset", "depth", "dice", "dropout", "elastic", "epoch", "epochs", "false", "float", "gamma", "group",
    "groups", "high", "image", "images", "jaccard", "keras", "label", "labels", "learned", "licence", "linear",
    "low", "mean", "median", "metrics", "model", "network", "none", "normalisation", "null", "order", "paragraph",
    "patients", "percentiles", "precision", "prediction", "predictions", "published", "quality", "random", "rank",
    "reference", "references", "region", "regions", "resample", "scan", "scanners", "scans", "scores", "sensitivity",
    "sha", "slice", "slices", "software", "source", "spacing", "specificity", "split", "splits", "structure",
    "structures", "surface", "test", "train", "training", "true", "unet", "unknown", "used", "validation", "value",
    "values", "version", "versions", "volume", "volumes", "voxels", "weights", "worst", "zoom",
)  # fmt: skip
"""Words that stand in every card, and so tell nothing of anybody."""


@dataclass(frozen=True)
class NamedText:
    """A text with names of the source.

    Attributes:
        sentence: says where, and not what.
        with_names: says both.
    """

    sentence: str
    with_names: str


def names_in_texts(
    texts: Mapping[str, str], network: Path, names: SourceNames, words: AuthorWords | None, card: ModelCard
) -> list[NamedText]:
    """Search every text of a model for names of its source.

    Args:
        texts: content by file.
        network: its model.keras, whose configuration is a text too.
        names: of the source.
        words: of the author, who may be called like a folder of theirs, and allow words; None: there are none.
        card: model.json, whose labels and channels must be named.
    """
    search = _search(names, words, card)
    with suppress(WeightsError):  # it is refused for that
        texts = {**texts, f"{CONFIG} in {network.name}": read_members(network)[CONFIG].decode("utf-8", "replace")}
    found = []
    for file, text in texts.items():
        strings = strings_in_json(text) if ".json" in file else strings_in_text(text)
        places: dict[str, dict[str, str]] = {}
        for place, string in strings:
            for one in search.find(string):
                places.setdefault(place, {})[one.name] = one.kind
        if places:
            found.append(_sentences(file, places))
    return found


def _search(names: SourceNames, words: AuthorWords | None, card: ModelCard) -> NameSearch:
    author = set() if words is None else {words.author, *_runs(f"{words.author} {words.contact or ''}")}
    own = {folded_parts(text) for text in author}
    folders = frozenset(folder for folder in names.of_folders if folded_parts(folder) not in own)
    structures = [*card.labels, *card.regions, *card.channels, *(card.scan_preparation.source_channels or ())]
    return NameSearch(
        dataclasses.replace(names, of_folders=folders),
        () if words is None else words.allowed_words,
        (*OWN_WORDS, *structures, *_runs(" ".join(structures))),
    )


def _runs(text: str) -> list[str]:
    return re.findall(r"[^\W_]+", text)


def _sentences(file: str, places: Mapping[str, Mapping[str, str]]) -> NamedText:
    kinds = dict.fromkeys(kind for each in places.values() for kind in each.values())
    shown = list(places)[:MOST_NAMED]
    more = f" and {len(places) - MOST_NAMED} more places" if len(places) > MOST_NAMED else ""
    where = f"{file} has {' and '.join(kinds)} at {', '.join(shown)}{more}"
    names = list(dict.fromkeys(name for each in places.values() for name in each))
    what = ", ".join(map(repr, names[:MOST_NAMED])) + (" ..." if len(names) > MOST_NAMED else "")
    remedy = "; write it otherwise, or, where it names nobody, list it under allowed_words in the description"
    return NamedText(f"{where}{remedy}", f"{where}, {what}{remedy}")
