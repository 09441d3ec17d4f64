"""Patients' names, numbers and birth dates, kept out of what is shown."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from imgmed.errors import ImgMedError
from imgmed.formats import dicom

__all__ = ["Redaction", "redaction_for"]

FEWEST_LETTERS = 3  # shorter values are no names: hiding every "1" would hide everything
FEWEST_WITHIN_WORDS = 4  # such values are also found inside longer words


class Redaction:
    """Replaces what identifies a patient, wherever it occurs in a text.

    Args:
        identities: for each patient the values to hide: names (DICOM's carets and spaces part them), numbers, dates.
        names: what stands in each patient's place; None: "[patient 1]", "[patient 2]", ...

    >>> Redaction([("Doe^Jane", "4711")]).apply("study/DOE_JANE/scan 4711.dcm")
    'study/[patient 1]/scan [patient 1].dcm'
    """

    def __init__(self, identities: Sequence[Iterable[str]], names: Sequence[str] | None = None) -> None:
        self._names = names or [f"[patient {number}]" for number in range(1, len(identities) + 1)]
        self._numbers: dict[str, int] = {}
        for number, values in enumerate(identities, start=1):
            for part in (part for value in values for part in _parts(value)):
                self._numbers.setdefault(part, number)
        longest_first = sorted(self._numbers, key=lambda part: (-len(part), part))
        patterns = [f"(?P<p{self._numbers[part]}_{n}>{_as_pattern(part)})" for n, part in enumerate(longest_first)]
        self._pattern = re.compile("|".join(patterns), re.IGNORECASE) if patterns else None

    def apply(self, text: str) -> str:
        """Return the text with "[patient N]" in place of what identifies patient N."""
        if self._pattern is None:
            return text
        hidden = self._pattern.sub(self._name_of, text)
        names = "|".join(re.escape(name) for name in self._names)
        return re.sub(rf"({names})(?:[_\-. ^,]*\1)+", r"\1", hidden)

    def _name_of(self, found: re.Match[str]) -> str:
        number = (found.lastgroup or "p1_").removeprefix("p").partition("_")[0]
        return self._names[int(number) - 1]


def _parts(value: str) -> Iterator[str]:
    """A value, its words, its first two words written together, a date with dashes or dots, each composed and
    decomposed (as macOS does).
    """
    words = [word for word in re.split(r"[\^=\s,]+", value) if word]
    joined = ["".join(words[:2]), "".join(reversed(words[:2]))] if len(words) > 1 else []
    if re.fullmatch(r"[12]\d{7}", value):
        year, month, day = value[:4], value[4:6], value[6:]
        joined += [f"{year}-{month}-{day}", f"{day}.{month}.{year}", f"{year}_{month}_{day}", f"{day}-{month}-{year}"]
    for part in (value, *words, *joined):
        for form in (part, unicodedata.normalize("NFC", part), unicodedata.normalize("NFD", part)):
            if len(form) >= FEWEST_LETTERS:
                yield form


def redaction_for(files: Iterable[Path]) -> Redaction:
    """Return the redaction of the patients that DICOM files name; one file a folder is looked at.

    Args:
        files: DICOM files; those that cannot be read are passed over.
    """
    first = {path.parent: path for path in reversed(list(files))}
    identities: dict[tuple[str, ...], None] = {}
    for path in sorted(first.values()):
        try:
            found = dicom.find_series((path,))
        except (ImgMedError, OSError):
            continue
        for one in found:
            identities.setdefault((one.identity.name, one.identity.patient_id, one.identity.birth_date))
    return Redaction(list(identities))


def _as_pattern(part: str) -> str:
    escaped = re.escape(part)
    return escaped if len(part) >= FEWEST_WITHIN_WORDS else rf"(?<![^\W_]){escaped}(?![^\W_])"
