"""Nothing in a published model names a patient: cases become numbers, and texts are searched for the source's names."""

from __future__ import annotations

import html
import json
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

from dist_training.inference.model_card import ModelCard, UsedCase, salted
from imgmed.privacy.redaction import GENERIC

__all__ = ["Found", "NameSearch", "SourceNames", "anonymous_card", "folded_parts", "strings_in_json", "strings_in_text"]

FEWEST_LETTERS = 3  # of a name: "Doe"
FEWEST_UMLAUTS = 4  # letters of a word that may have lost its umlaut's e
FEWEST_DIGITS = 5  # of a number that may be a patient's: others number cases
UMLAUTS = {"ä": "ae", "ö": "oe", "ü": "ue", "å": "aa", "ø": "oe", "æ": "ae", "ß": "ss"}
IN_PATHS = frozenset(
    (
        *("anat", "data", "dataset", "datasets", "derivatives", "desktop", "documents", "downloads", "dwi", "folder"),
        *("func", "home", "imagestr", "imagests", "imaging", "labelstr", "labelsts", "local", "mask", "masks", "media"),
        *("mnt", "nifti", "opt", "private", "projects", "raw", "rawdata", "root", "scans", "segmentations", "shared"),
        *("source", "src", "srv", "studies", "testing", "tmp", "training", "users", "usr", "validation", "var", "work"),
    )
)
"""Words of paths that name nobody; `GENERIC` has more."""
PARTS = re.compile(r"[^\W\d_]+|\d+")
RUNS = re.compile(r"[^\W_]+")
CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")
PICTURES = re.compile(r"data:[a-z/+.-]*;base64,[A-Za-z0-9+/=]*")


def anonymous_card(card: ModelCard, hash_salt: str, *, dataset: str, model_sha256: str) -> ModelCard:
    """Give the card that is published: cases are numbers, hashes of scans salted, paths gone.

    Cases of a published model that the network started from have their salts already. The order of cases follows
    their salted hashes: not even that of their names is left.

    Args:
        card: of the run.
        hash_salt: drawn for this model.
        dataset: the public name of its data.
        model_sha256: of the published model.keras.
    """
    listed = [
        sorted((_salted_case(case, hash_salt) for case in cases), key=lambda case: (case.split, case.image_sha256))
        for cases in (card.cases, card.seen_before)
    ]
    first = len(listed[0]) + 1
    network = card.network
    if getattr(network, "pretrained_weights", None) not in (None, "imagenet"):  # a path; they have been read
        network = network.model_copy(update={"pretrained_weights": None})
    return card.model_copy(
        update={
            "network": network,
            "cases": _numbered(listed[0], 1),
            "seen_before": _numbered(listed[1], first),
            "dataset": dataset,
            "model_sha256": model_sha256,
        }
    )


def _salted_case(case: UsedCase, hash_salt: str) -> UsedCase:
    if case.hash_salt:
        return case
    return case.model_copy(update={"image_sha256": salted(case.image_sha256, hash_salt), "hash_salt": hash_salt})


def _numbered(cases: Iterable[UsedCase], first: int) -> tuple[UsedCase, ...]:
    return tuple(case.model_copy(update={"case_id": f"case {number}"}) for number, case in enumerate(cases, first))


@dataclass(frozen=True)
class SourceNames:
    """What a source calls its patients, cases, files and folders.

    Attributes:
        of_patients: the names of each patient: its own, and those of its cases, files and folders.
        of_folders: those of folders that hold several patients, or lie above the source.
    """

    of_patients: Mapping[str, frozenset[str]]
    of_folders: frozenset[str]


@dataclass(frozen=True)
class Found:
    """A name that stands in a text.

    Attributes:
        name: as the source writes it.
        kind: what it is.
    """

    name: str
    kind: str


class NameSearch:
    """Finds names of a source in texts, as whole words, whatever stands between them and however they are spelt.

    A word of several patients' names, such as "liver" of liver_001 and liver_002, names none of them; together with
    the rest it does. A word of one patient's names alone does by itself. Short numbers, and words that every source
    has, name nobody.

    Args:
        names: of the source.
        allowed: words and names that may stand in the texts.
        own_words: words that stand in every such text, and of labels and channels, which it must name: these alone
            name nobody.

    >>> names = SourceNames({"1": frozenset({"liver_001_Doe"}), "2": frozenset({"liver_002_Roe"})}, frozenset())
    >>> [found.name for found in NameSearch(names).find("The liver of Mr DOE, as in Liver-002 (Roe)")]
    ['doe', 'liver_002_Roe', 'roe']
    """

    def __init__(self, names: SourceNames, allowed: Iterable[str] = (), own_words: Iterable[str] = ()) -> None:
        self._names = names
        self._allowed = {parts for word in allowed for parts in _spellings(word)}
        self._own_words = {folded_parts(word) for word in own_words}

    def find(self, text: str) -> list[Found]:
        """List the names in a text, in their order."""
        found: dict[Found, None] = {}
        for folded in dict.fromkeys((_folded(text), _folded(_written_out(text)))):
            parts = list(_parts_of(folded))
            for start, (first, is_start, _) in enumerate(parts):
                for sought, name in self._sought.get(first, ()) if is_start else ():
                    window = parts[start : start + len(sought)]
                    if sought == tuple(part for part, _, _ in window) and window[-1][2]:
                        found.setdefault(name)
        return list(found)

    @cached_property
    def _sought(self) -> dict[str, list[tuple[tuple[str, ...], Found]]]:
        sought: dict[tuple[str, ...], Found] = {}
        for name, kind in self._whole_names():
            for parts in _spellings(name):
                sought.setdefault(parts, Found(name, kind))
        for word in self._telling_words():
            for parts in _spellings(word):
                sought.setdefault(parts, Found(word, "a word of one patient's names"))
        by_first: dict[str, list[tuple[tuple[str, ...], Found]]] = {}
        for parts, found in sought.items():
            if parts and parts not in self._allowed:
                by_first.setdefault(parts[0], []).append((parts, found))
        return by_first

    def _whole_names(self) -> Iterator[tuple[str, str]]:
        for name in _of_few(self._names.of_patients):
            if _is_telling(name) and not (len(folded_parts(name)) == 1 and folded_parts(name) in self._own_words):
                yield name, "a name of a patient, case or file"
        for name in self._names.of_folders:
            if _is_telling(name) and folded_parts(name) not in self._own_words:
                yield name, "a folder of the source"

    def _telling_words(self) -> Iterator[str]:
        words = {
            patient: frozenset(run for name in names for run in RUNS.findall(_composed(name)))
            for patient, names in self._names.of_patients.items()
        }
        for word in _of_few(words):
            if _is_telling(word) and folded_parts(word) not in self._own_words:
                yield word


def _of_few(names: Mapping[str, frozenset[str]]) -> list[str]:
    """The names that one patient alone has."""
    owners: dict[str, int] = {}
    for each in names.values():
        for name in each:
            owners[name] = owners.get(name, 0) + 1
    return sorted(name for name, count in owners.items() if count == 1)


def _is_telling(name: str) -> bool:
    """Whether a name can name somebody: not by generic words and short numbers."""
    runs = RUNS.findall(_folded(name))
    return any(
        len(run) >= FEWEST_DIGITS
        if run.isdigit()
        else (len(run) >= FEWEST_LETTERS or not run.isascii()) and run not in GENERIC and run not in IN_PATHS
        for run in runs
    )


def _composed(text: str) -> str:
    """Small letters with their marks, each in one piece."""
    return unicodedata.normalize("NFC", text.casefold())


def _written_out(text: str) -> str:
    return "".join(UMLAUTS.get(letter, letter) for letter in _composed(text))


def _folded(text: str) -> str:
    """Small letters without marks."""
    letters = unicodedata.normalize("NFKD", text.casefold())
    return "".join(letter for letter in letters if not unicodedata.combining(letter))


def folded_parts(text: str) -> tuple[str, ...]:
    """Give the runs of letters and of digits in a text, in small letters without marks: what names are compared by.

    >>> folded_parts("Müller_Anna-007b")
    ('muller', 'anna', '007', 'b')
    """
    return tuple(PARTS.findall(_folded(text)))


def _parts_of(folded: str) -> Iterator[tuple[str, bool, bool]]:
    """Each run of letters or of digits, and whether a word begins or ends with it."""
    for run in RUNS.findall(folded):
        parts = PARTS.findall(run)
        for number, part in enumerate(parts):
            yield part, number == 0, number == len(parts) - 1


def _spellings(name: str) -> set[tuple[str, ...]]:
    """The ways in which a name may be written, as parts."""
    found = {folded_parts(name), folded_parts(_written_out(name)), folded_parts(CAMEL.sub(" ", name))}
    found.add(tuple(_without_umlauts(part) for part in folded_parts(name)))
    for parts in list(found):
        if len(parts) == 2 and all(part.isalpha() for part in parts):
            found |= {parts[::-1], ("".join(parts),), ("".join(parts[::-1]),)}
    return found


def _without_umlauts(part: str) -> str:
    """Write "mueller" as "muller"; what would be a short word, as "loew" is "low", stays."""
    short = re.sub("([aou])e", r"\1", part)
    return short if len(short) >= FEWEST_UMLAUTS else part


def strings_in_json(text: str) -> Iterator[tuple[str, str]]:
    """Give every text in a JSON document, keys too, with the first key of its place: ("data", "Adults").

    Deeper keys may be names themselves: they stand in no message.
    """
    document = json.loads(text)
    for top, content in document.items() if isinstance(document, dict) else [("", document)]:
        pending: list[Any] = [content]
        yield str(top), str(top)
        while pending:
            value = pending.pop()
            if isinstance(value, str):
                yield str(top), value
            elif isinstance(value, Mapping):
                pending += [*value.keys(), *value.values()]
            elif isinstance(value, list):
                pending += value


def strings_in_text(text: str) -> Iterator[tuple[str, str]]:
    """Give every line of a text or page with its place, as it is and without tags, pictures left out."""
    lines = PICTURES.sub("", text).splitlines()
    for number, line in enumerate(lines, 1):
        yield f"line {number}", html.unescape(line)
        yield f"line {number}", html.unescape(re.sub(r"<[^>]*>", " ", line))
    for number, (line, following) in enumerate(pairwise(lines), 1):  # a name that breaks between two
        yield f"line {number}", html.unescape(f"{line[-60:]} {following[:60]}")
