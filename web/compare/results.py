"""Comparisons of evaluations: computed once, one after the other, in a process beside the server; then kept."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

__all__ = ["Results"]

KEPT = 64
MOST_WAITING = 8
LONGEST_S = 300.0
_FILES = ("summary.json", "cases.csv")
_log = logging.getLogger(__name__)

Shown = Mapping[str, Any]


class Results:
    """What the page shows of each comparison that was asked for; once made, it is at hand."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, Future[Shown]] = OrderedDict()
        self._lock = threading.Lock()
        self._worker = ThreadPoolExecutor(1, "comparison")

    def of(self, evaluations: Sequence[Path], metrics: Sequence[str], unmatched: str) -> Shown | None:
        """Give a comparison, or why there is none (``faults``); None: it is being computed.

        Args:
            evaluations: folders, in the order of their letters.
            metrics: none: those of `r2d2 compare`.
            unmatched: what becomes of cases that only some have: "error" or "leave_out".
        """
        asked = {
            "evaluations": [str(folder) for folder in evaluations],
            "metrics": list(metrics),
            "on_unmatched": unmatched,
        }
        key = json.dumps([asked, [_stamp(folder) for folder in evaluations]])
        with self._lock:
            found = self._kept.get(key)
            if found is None:
                if sum(not one.done() for one in self._kept.values()) >= MOST_WAITING:
                    return {"faults": ["other comparisons are being computed: this one begins when they are done"]}
                found = self._kept[key] = self._worker.submit(_computed, asked)
                while len(self._kept) > KEPT:
                    self._kept.popitem(last=False)
            self._kept.move_to_end(key)
        return found.result() if found.done() else None


def _stamp(folder: Path) -> list[int]:
    """Give what changes where an evaluation does."""
    return [(folder / name).stat().st_mtime_ns if (folder / name).exists() else 0 for name in _FILES]


def _computed(asked: Mapping[str, Any]) -> Shown:
    command = [sys.executable, "-P", "-m", f"{__package__}.work"]
    try:
        done = subprocess.run(command, input=json.dumps(asked).encode(), capture_output=True, timeout=LONGEST_S)
        said: Shown = json.loads(done.stdout)
        return said
    except subprocess.TimeoutExpired:
        return {"faults": [f"this takes longer than {LONGEST_S:.0f} s: use r2d2 compare on the server"]}
    except ValueError:
        _log.exception("a comparison failed: %s", done.stderr.decode(errors="replace")[-2000:])
        return {"faults": ["a fault of the server: its log says more"]}
