"""Patients' names, numbers and birth dates, kept out of what is shown."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache

__all__ = ["Redaction"]

FEWEST_LETTERS = 2  # a single letter is no name, a number of two digits is none either
FEWEST_WITHIN_WORDS = 4  # shorter values are found as words of their own only
FEWEST_DIGITS = 6  # of a number that tells a patient without the words beside it
FEWEST_UMLAUTS = 4  # "Loew" may be spelt "Löw"; "Doe" is not taken for "Dö"
BETWEEN = r"[\W_]{0,2}"  # what may stand between the words of a name: "Doe_Jane", "DoeJane", "Doe, Jane"
LETTER, DIGIT, EITHER = r"[^\W\d_]", r"\d", r"[^\W_]"
BASE = {"æ": "a", "œ": "o", "ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "ı": "i"}
UMLAUTS = {"a": "ea", "o": "e", "u": "e"}  # what may follow a vowel whose mark is written out: "Mueller", "Aaberg"
MONTHS = ("jan", "feb", "mar", "apr", "ma[iy]", "jun", "jul", "aug", "sep", "o[ck]t", "nov", "de[cz]")
IN_FOLDERS = (
    "anon", "anonym", "anonymised", "anonymized", "case", "ct", "dicom", "image", "images", "label", "labels", "mr",
    "mri", "pat", "patient", "pet", "scan", "series", "study", "sub", "subject", "test", "train", "unknown", "visit",
)  # fmt: skip
IN_SENTENCES = (
    "an", "and", "as", "at", "be", "by", "do", "each", "for", "from", "has", "in", "is", "it", "no", "not", "of",
    "on", "or", "that", "the", "to", "with",
)  # fmt: skip
GENERIC = frozenset((*IN_FOLDERS, *IN_SENTENCES))  # words that name nobody alone


class Redaction:
    """Replaces what identifies a patient, wherever it occurs in a text and however it is spelt.

    Case, accents, umlauts ("Müller", "Mueller", "Muller"), separators and the order of names play no part; birth
    dates are found in the usual notations.

    Args:
        identities: for each patient the values to hide: names (DICOM's carets and spaces part them), numbers, dates.
        names: what stands in each patient's place; None: "[patient 1]", "[patient 2]", ...

    >>> Redaction([("Doe^Jane", "4711")]).apply("study/DOE_JANE/scan 4711.dcm")
    'study/[patient 1]/scan [patient 1].dcm'
    >>> Redaction([("Müller^Jörg", "19700131")]).apply("Joerg-Mueller_born_31.1.1970")
    '[patient 1]_born_[patient 1]'
    """

    def __init__(self, identities: Sequence[Iterable[str]], names: Sequence[str] | None = None) -> None:
        self._names = names or [f"[patient {number}]" for number in range(1, len(identities) + 1)]
        numbers: dict[tuple[int, str], int] = {}
        for number, values in enumerate(identities, start=1):
            for found in (found for value in values for found in _patterns(value)):
                numbers.setdefault(found, number)
        longest_first = sorted(numbers, key=lambda found: (-found[0], found[1]))
        patterns = [f"(?P<p{numbers[one]}_{n}>{one[1]})" for n, one in enumerate(longest_first)]
        self._pattern = re.compile("|".join(patterns)) if patterns else None

    def apply(self, text: str) -> str:
        """Return the text with "[patient N]" in place of what identifies patient N."""
        if self._pattern is None:
            return text
        folded, places = _folded(text)
        places.append(len(text))
        hidden, end = "", 0
        for found in self._pattern.finditer(folded):
            hidden += text[end : places[found.start()]] + self._name_of(found)
            end = places[found.end()]
        names = "|".join(re.escape(name) for name in self._names)
        return re.sub(rf"({names})(?:[_\-. ^,]*\1)+", r"\1", hidden + text[end:])

    def _name_of(self, found: re.Match[str]) -> str:
        number = (found.lastgroup or "p1_").removeprefix("p").partition("_")[0]
        return self._names[int(number) - 1]


def _folded(text: str) -> tuple[str, list[int]]:
    """The text in small letters without marks, and the place in `text` that each of them comes from."""
    letters = [(plain, place) for place, letter in enumerate(text) for plain in _plain(letter)]
    return "".join(plain for plain, _ in letters), [place for _, place in letters]


@lru_cache(maxsize=4096)
def _plain(letter: str) -> str:
    small = "".join(BASE.get(one, one) for one in letter.casefold())
    plain = "".join(one for one in unicodedata.normalize("NFKD", small) if not unicodedata.combining(one))
    return plain or (small if letter.isalnum() else "")


def _patterns(value: str) -> Iterator[tuple[int, str]]:
    """Regular expressions, on folded text, for the ways in which a value is written, with the letters they take."""
    if len(value) >= FEWEST_WITHIN_WORDS and (literal := _folded(value)[0]):
        yield len(literal), re.escape(literal)
    for group in value.split("="):  # DICOM: the same name in several scripts
        folded, _ = _folded(group)
        words = [re.findall(f"{EITHER}+", word) for word in re.split(r"[\^\s,_]+", folded)]
        words = [word for word in words if word]
        parts = [part for word in words for part in word]
        if not _is_telling("".join(parts)):
            continue
        yield from (_bounded(word) for word in (parts, *words) if word is parts or len(word) > 1)
        if len(words) > 1 and not GENERIC.intersection((*words[0], *words[1])):
            first, second = words[:2]
            yield from (_bounded([*first, *second]), _bounded([*second, *first]))
            if folded.isascii() and not any(map(str.isdigit, folded)):
                initials = [*first, second[0][0]], [second[0][0], *first]
                yield from (_bounded(one, within_words=False) for one in initials)
        yield from (_bounded([part]) for part in _single(parts))
        for date in re.findall(r"(?<!\d)[12]\d{7}(?!\d)", folded):
            yield from ((len(date), pattern) for pattern in _dates(date[:4], date[4:6], date[6:]))


def _single(parts: Sequence[str]) -> list[str]:
    """The parts that tell a patient alone: those of a name, also of one with a number ("doe_jane_4711"), but not of
    a numbered word ("case_01").
    """
    if not any(map(str.isdigit, "".join(parts))):
        return [part for part in parts if _is_telling(part) and part not in GENERIC]
    numbers = [part for part in parts if part.isdigit() and len(part) >= FEWEST_DIGITS]
    letters = [part for part in parts if part.isalpha() and part not in GENERIC]
    names = [part for part in letters if len(part) > FEWEST_LETTERS or not part.isascii()]
    return [*(names if numbers or len(letters) > 1 else ()), *numbers]


def _is_telling(part: str) -> bool:
    if part and not part.isascii():
        return True  # a Chinese name may be one character
    return len(part) > FEWEST_LETTERS or (part.isalpha() and len(part) == FEWEST_LETTERS)


def _bounded(parts: Sequence[str], *, within_words: bool = True) -> tuple[int, str]:
    """The parts one after the other; what is short must not be a piece of a longer word or number."""
    letters = "".join(parts)
    pattern = BETWEEN.join(_spellings(part) for part in parts)
    if (within_words and len(letters) >= FEWEST_WITHIN_WORDS) or not letters.isascii():
        return len(letters), pattern
    around = LETTER if letters.isalpha() else DIGIT if letters.isdigit() else EITHER
    return len(letters), f"(?<!{around}){pattern}(?!{around})"


def _spellings(part: str) -> str:
    """A word whose umlauts may be written in any way: with dots, as two letters, or without their marks."""
    if len(part) < FEWEST_UMLAUTS and part.isascii() and part[-1:] == "e":
        return re.escape(part)
    pattern, place = "", 0
    while place < len(part):
        letter, marks = part[place], UMLAUTS.get(part[place], "")
        place += 2 if marks and part[place + 1 : place + 2] in tuple(marks) else 1
        pattern += f"{letter}[{marks}]?" if marks else re.escape(letter)
    return pattern


def _dates(year: str, month: str, day: str) -> Iterator[str]:
    """A day in the order of any country, with or without separators and century."""
    short_day, short_month = f"0?{int(day)}", f"0?{int(month)}"
    maybe, needed = r"[\W_]?", r"[\W_]{1,2}"
    orders = []
    for years in (year, year[2:]):
        orders += [maybe.join(order) for order in ([years, month, day], [day, month, years], [month, day, years])]
        for order in (
            [years, short_month, short_day],
            [short_day, short_month, years],
            [short_month, short_day, years],
        ):
            orders.append(needed.join(order))
    if 1 <= int(month) <= len(MONTHS):
        name = f"{MONTHS[int(month) - 1]}[a-z]*"
        orders += [BETWEEN.join(order) for order in ([short_day, name, year], [name, short_day, year])]
    yield from (f"(?<!{DIGIT}){order}(?!{DIGIT})" for order in orders)
