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
Date = tuple[int, int, int]  # year with or without century, month, day
ENGLISH = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
MONTHS = {name: number for number, name in enumerate(ENGLISH, 1)}
MONTHS |= {"mai": 5, "okt": 10, "dez": 12}
NAMED = f"({'|'.join(MONTHS)})[a-z]*"
YMD, DMY, MDY = (2, 3, 4), (4, 3, 2), (4, 2, 3)  # the groups of a pattern that hold year, month and day
DATES = {  # every place is looked at (?=...), as digits before a date may look like a part of it
    r"(?<!\d)(?=((\d{1,4})[\W_]{1,2}(\d\d?)[\W_]{1,2}(\d{1,4}))(?!\d))": (YMD, DMY, MDY),
    r"(?<!\d)(?=((\d{4})[\W_]?(\d\d)[\W_]?(\d\d))(?!\d))": (YMD,),
    r"(?<!\d)(?=((\d\d)[\W_]?(\d\d)[\W_]?(\d{4}|\d\d))(?!\d))": (YMD, DMY, MDY),
    rf"(?<!\d)(?=((\d\d?){BETWEEN}{NAMED}{BETWEEN}(\d{{4}}))(?!\d))": (DMY,),
    rf"(?<![a-z])(?=({NAMED}{BETWEEN}(\d\d?){BETWEEN}(\d{{4}}))(?!\d))": (MDY,),
}
IN_FOLDERS = (
    "anon", "anonym", "anonymised", "anonymized", "case", "ct", "dicom", "image", "images", "label", "labels", "mr",
    "mri", "pat", "patient", "pet", "roi", "scan", "seg", "segmentation", "series", "study", "sub", "subject", "test",
    "train", "unknown", "visit",
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
        self._spellings: dict[str, tuple[str, int]] = {}  # pattern: what a text must hold for it to match, patient
        self._dates: dict[Date, int] = {}
        for number, values in enumerate(identities):
            for value in values:
                for letters, pattern in _patterns(value):
                    self._spellings.setdefault(pattern, (_skeleton(letters), number))
                for date in _dates_of(value):
                    self._dates.setdefault(date, number)

    def apply(self, text: str) -> str:
        """Return the text with "[patient N]" in place of what identifies patient N."""
        folded, places = _folded(text)
        places.append(len(text))
        hidden, end = "", 0
        for start, stop, number in sorted(self._found_in(folded), key=lambda found: (found[0], -found[1], found[2])):
            if places[start] >= end:
                hidden += text[end : places[start]] + self._names[number]
                end = places[stop]
        if not hidden:
            return text
        names = "|".join(re.escape(name) for name in self._names)
        return re.sub(rf"({names})(?:[_\-. ^,]*\1)+", r"\1", hidden + text[end:])

    def _found_in(self, folded: str) -> Iterator[tuple[int, int, int]]:
        """(start, end, patient) of all that identifies somebody."""
        skeleton = _skeleton(folded)
        for pattern, (needed, number) in self._spellings.items():
            if needed in skeleton:
                yield from ((*found.span(), number) for found in re.finditer(pattern, folded))
        if self._dates:
            for start, end, date in _dates_in(folded):
                if date in self._dates:
                    yield start, end, self._dates[date]


def _skeleton(folded: str) -> str:
    """Letters and digits without those vowels that are spelt in several ways: alike in all spellings of a name."""
    return re.sub(r"[\W_aeou]+", "", folded)


def _folded(text: str) -> tuple[str, list[int]]:
    """The text in small letters without marks, and the place in `text` that each of them comes from."""
    letters = [(plain, place) for place, letter in enumerate(text) for plain in _plain(letter)]
    return "".join(plain for plain, _ in letters), [place for _, place in letters]


@lru_cache(maxsize=4096)
def _plain(letter: str) -> str:
    small = "".join(BASE.get(one, one) for one in letter.casefold())
    plain = "".join(one for one in unicodedata.normalize("NFKD", small) if not unicodedata.combining(one))
    return plain or (small if letter.isalnum() else "")


def _patterns(value: str) -> Iterator[tuple[str, str]]:
    """Letters, and a regular expression on folded text, for each of the ways in which a value is written."""
    if len(value) >= FEWEST_WITHIN_WORDS and (literal := _folded(value)[0]):
        yield literal, re.escape(literal)
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


def _bounded(parts: Sequence[str], *, within_words: bool = True) -> tuple[str, str]:
    """The parts one after the other; what is short must not be a piece of a longer word or number."""
    letters = "".join(parts)
    pattern = BETWEEN.join(_spellings(part) for part in parts)
    if (within_words and len(letters) >= FEWEST_WITHIN_WORDS) or not letters.isascii():
        return letters, pattern
    around = LETTER if letters.isalpha() else DIGIT if letters.isdigit() else EITHER
    return letters, f"(?<!{around}){pattern}(?!{around})"


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


def _dates_of(value: str) -> Iterator[Date]:
    """The days in a value as DICOM writes them, with and without the century."""
    for year, month, day in re.findall(r"(?<!\d)([12]\d{3})(\d\d)(\d\d)(?!\d)", value):
        yield int(year), int(month), int(day)
        yield int(year[2:]), int(month), int(day)


def _dates_in(folded: str) -> Iterator[tuple[int, int, Date]]:
    """(start, end, date) of all that may be read as a day, in the order of any country."""
    for pattern, orders in DATES.items():
        for found in re.finditer(pattern, folded):
            for order in orders:
                year, month, day = (found[group] for group in order)
                if len(year) in (2, 4):
                    number = int(month) if month.isdigit() else MONTHS[month]
                    yield *found.span(1), (int(year), number, int(day))
