"""Patients' names, numbers and birth dates, kept out of what is shown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from imgmed.errors import ImgMedError
from imgmed.formats import dicom

__all__ = ["Redaction", "redaction_for"]

FEWEST_LETTERS = 3  # shorter values are no names: hiding every "1" would hide everything
FEWEST_WITHIN_WORDS = 5  # such values are also found inside longer words


class Redaction:
    """Replaces what identifies a patient, wherever it occurs in a text.

    Args:
        identities: for each patient the values to hide: names (DICOM's carets and spaces part them), numbers, dates.

    >>> Redaction([("Doe^Jane", "4711")]).apply("study/DOE_JANE/scan 4711.dcm")
    'study/[patient 1]/scan [patient 1].dcm'
    """

    def __init__(self, identities: Sequence[Iterable[str]]) -> None:
        self._numbers: dict[str, int] = {}
        for number, values in enumerate(identities, start=1):
            for value in values:
                for part in (value, *re.split(r"[\^=\s,]+", value)):
                    if len(part) >= FEWEST_LETTERS:
                        self._numbers.setdefault(part.casefold(), number)
        longest_first = sorted(self._numbers, key=lambda part: (-len(part), part))
        self._pattern = re.compile("|".join(map(_as_pattern, longest_first)), re.IGNORECASE) if longest_first else None

    def apply(self, text: str) -> str:
        """Return the text with "[patient N]" in place of what identifies patient N."""
        if self._pattern is None:
            return text
        hidden = self._pattern.sub(lambda found: f"[patient {self._number(found[0])}]", text)
        return re.sub(r"(\[patient \d+\])(?:[_\-. ^,]*\1)+", r"\1", hidden)

    def _number(self, found: str) -> int:
        return self._numbers.get(found.casefold(), 0)


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
