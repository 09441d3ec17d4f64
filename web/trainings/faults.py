"""What is wrong with a training, at the field where it is mended."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

from r2d2.errors import R2D2Error

__all__ = ["Faults"]


class Faults:
    """Faults by the key of their field; those of no field are general.

    Args:
        keys: of the fields that there are.

    Attributes:
        at: sentences by key.
        general: the others.
    """

    def __init__(self, keys: Collection[str]) -> None:
        self._keys = set(keys)
        self.at: dict[str, list[str]] = {}
        self.general: list[str] = []

    def __bool__(self) -> bool:
        return bool(self.at or self.general)

    def add(self, error: R2D2Error) -> None:
        """Place what an error tells.

        >>> from r2d2.errors import R2D2Error
        >>> faults = Faults(["training.epochs", "training.warmup_epochs", "workers"])
        >>> faults.add(R2D2Error("training.epochs must be at least 3, which the run has begun"))
        >>> faults.note("training", "warmup_epochs must not exceed epochs (2); received 3")
        >>> faults.add(R2D2Error("no Horovod"))
        >>> list(faults.at), faults.general
        (['training.epochs', 'training.warmup_epochs'], ['no Horovod'])
        """
        told: Iterable[tuple[str, str]] = getattr(error, "faults", ()) or [("", str(error))]
        for key, sentence in told:
            self.note(key, sentence)

    def note(self, key: str, sentence: str) -> None:
        """Place a sentence; the key may be that of a section, of a part of a value, or empty."""
        place = self._place(key, sentence)
        text = sentence.removeprefix(f"{key}: ") if key else sentence
        if place is None:
            self.general.append(sentence)
        elif text not in self.at.setdefault(place, []):
            self.at[place].append(text)

    def _place(self, key: str, sentence: str) -> str | None:
        parts = key.split(".") if key else []
        for end in range(len(parts), 0, -1):
            if (whole := ".".join(parts[:end])) in self._keys:
                return whole
        words = re.findall(r"[a-z_]+(?:\.[a-z_]+)*", sentence)
        for word in words:
            found = [one for one in (f"{key}.{word}" if key else "", word) if one in self._keys and "." in one]
            if found:
                return found[0]
        return None
