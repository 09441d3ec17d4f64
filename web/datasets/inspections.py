"""Inspections of sources: each in a process beside the server, two at a time; what was found is kept for a while."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
from collections import OrderedDict
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from r2d2.engine.errors import RefusedError
from r2d2.tasks.inspection import InspectSettings

__all__ = ["Inspections", "Look"]

KEPT = 100
AT_A_TIME = 2
MOST_WAITING = 10
LONGEST_S = 3600.0
_log = logging.getLogger(__name__)


@dataclass
class Look:
    """One inspection.

    Attributes:
        settings: what is looked at, and how.
        stage: what is done now, and how far: (name, done, total).
        found: what was found, as `r2d2 inspect --json` gives it, with the proposed ``choices``; None: not yet.
        fault: why nothing was found; empty: nothing went wrong.
    """

    settings: InspectSettings
    stage: tuple[str, int, int] = ("waiting", 0, 0)
    found: Mapping[str, Any] | None = None
    fault: str = ""
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    _is_unwanted: bool = False

    @property
    def is_done(self) -> bool:
        """Whether it has ended."""
        return self.found is not None or bool(self.fault)

    def run(self) -> None:
        """Look, in a process of its own, and wait for it."""
        command = [sys.executable, "-P", "-m", f"{__package__}.work"]
        try:
            with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
                self._process = process
                if self._is_unwanted:
                    process.terminate()
                ends = threading.Timer(LONGEST_S, process.terminate)
                ends.start()
                try:
                    self._follow(process)
                finally:
                    ends.cancel()
        except (OSError, ValueError):
            _log.exception("an inspection failed")
        if not self.is_done:
            self.fault = "cancelled" if self._is_unwanted else "the inspection broke off: the server's log says more"

    def cancel(self) -> None:
        """End it; what was unpacked for it is removed."""
        self._is_unwanted = True
        if self._process is not None:
            self._process.terminate()

    def _follow(self, process: subprocess.Popen[bytes]) -> None:
        if process.stdin is None or process.stdout is None:
            return
        with suppress(BrokenPipeError):
            process.stdin.write(self.settings.model_dump_json().encode() + b"\n")
            process.stdin.flush()
        for line in process.stdout:
            said = json.loads(line)
            if "progress" in said:
                stage, done, total = said["progress"]
                self.stage = (str(stage), int(done), int(total))
            elif "fault" in said:
                self.fault = str(said["fault"])
            else:
                self.found = said["found"]


class Inspections:
    """Those that were asked for, by what they look at."""

    def __init__(self) -> None:
        self._looks: OrderedDict[str, Look] = OrderedDict()
        self._lock = threading.Lock()
        self._workers = ThreadPoolExecutor(AT_A_TIME, "inspection")

    def find(self, settings: InspectSettings) -> Look | None:
        """Give the latest inspection of a source; None: there is none, or it was forgotten."""
        with self._lock:
            return self._looks.get(_key(settings))

    def start(self, settings: InspectSettings) -> Look:
        """Look at a source anew; one that is being looked at so is not begun again.

        Raises:
            RefusedError: too many others wait.
        """
        with self._lock:
            known = self._looks.get(_key(settings))
            if known is not None and not known.is_done:
                return known
            if sum(not look.is_done for look in self._looks.values()) >= MOST_WAITING:
                raise RefusedError(f"{MOST_WAITING} other sources are being inspected: try again when one is done")
            look = self._looks[_key(settings)] = Look(settings)
            self._looks.move_to_end(_key(settings))
            for key in [key for key, one in self._looks.items() if one.is_done][: max(0, len(self._looks) - KEPT)]:
                del self._looks[key]
        self._workers.submit(look.run)
        return look


def _key(settings: InspectSettings) -> str:
    return settings.model_dump_json()
