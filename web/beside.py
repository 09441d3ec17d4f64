"""What takes long to make and many ask for: made beside the requests, now and then, once for all who ask."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from time import monotonic
from typing import Generic, TypeVar

__all__ = ["Beside"]

PATIENCE_S = 1.5
"""How long the first who asks waits."""
QUICK_S = 0.1
"""What took no longer the last time is waited for."""
REST = 50
"""What was made is good for as many times as long as that took, and for a second."""
KEPT = 64

_log = logging.getLogger(__name__)
_Key = TypeVar("_Key", bound=Hashable)
_Value = TypeVar("_Value")


@dataclass
class _Made(Generic[_Value]):
    """A value, when it was made, and how long that took."""

    value: _Value
    ended: float | None = None
    took_s: float = 0.0
    is_going_on: bool = False
    done: threading.Event = field(default_factory=threading.Event)

    @property
    def is_old(self) -> bool:
        return self.ended is None or monotonic() - self.ended > max(REST * self.took_s, 1.0)


class Beside(Generic[_Key, _Value]):
    """Makes values by their keys in a thread of its own, one after the other; so it takes a fiftieth of a core at most.

    Args:
        make: makes one; where it fails, the one before stays, and the server's log says why.
        nothing: what there is before the first was made.
    """

    def __init__(self, make: Callable[[_Key], _Value], nothing: _Value) -> None:
        self._make, self._nothing = make, nothing
        self._made: dict[_Key, _Made[_Value]] = {}
        self._lock = threading.Lock()
        self._worker = ThreadPoolExecutor(1, "beside")

    def get(self, key: _Key) -> tuple[_Value, bool]:
        """Give the value of a key as it was made last, and whether the first is still being made."""
        with self._lock:
            made = self._made.setdefault(key, _Made(self._nothing))
            while len(self._made) > KEPT:
                del self._made[next(iter(self._made))]
            if made.is_old and not made.is_going_on:
                made.is_going_on = True
                made.done.clear()
                self._worker.submit(self._renew, key, made)
            is_quick = made.ended is not None and made.took_s < QUICK_S
        if made.ended is None or is_quick:
            made.done.wait(QUICK_S if is_quick else PATIENCE_S)
        return made.value, made.ended is None

    def _renew(self, key: _Key, made: _Made[_Value]) -> None:
        began = monotonic()
        try:
            made.value = self._make(key)
        except Exception:  # whoever asks gets what there was
            _log.exception("%s could not be made", key)
        made.took_s = monotonic() - began
        made.ended = monotonic()
        made.is_going_on = False
        made.done.set()
