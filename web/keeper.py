"""Keeps the engine's process: started with the server, started again where it dies, ended with the server."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
import time
from contextlib import suppress

from r2d2.engine import EngineSettings
from r2d2.engine.errors import EngineError, error_from_json

__all__ = ["Keeper"]

AGAIN_S = 1.0
LONGEST_PAUSE_S = 60.0
ENDS_S = 15.0
_log = logging.getLogger(__name__)


class Keeper:
    """The engine of a server.

    Args:
        settings: of the engine.
    """

    def __init__(self, settings: EngineSettings) -> None:
        self._settings = settings
        self._is_ending = threading.Event()
        self._is_held = True
        self._process = self._start()

    def await_ready(self) -> None:
        """Wait until the engine works.

        Raises:
            EngineError: it cannot; says why.
        """
        error = _answer(self._process)
        if error is not None:
            raise error
        threading.Thread(target=self._keep, daemon=True).start()

    def let_go(self) -> None:
        """Hold the engine no more, in a process forked from the server's: else it would outlive the server."""
        self._is_held = False
        if self._process.stdin is not None:
            self._process.stdin.close()

    def end(self) -> None:
        """End the engine, and wait for that; its jobs go on. Where it was let go, it is another process's to end."""
        if not self._is_held:
            return
        self._is_ending.set()
        with suppress(OSError):
            self.let_go()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(ENDS_S)

    def _start(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-P", "-m", f"{__package__}.engine_process"]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        with suppress(BrokenPipeError):
            if process.stdin is not None:
                process.stdin.write(self._settings.model_dump_json().encode() + b"\n")
                process.stdin.flush()
        return process

    def _keep(self) -> None:
        """Start the engine again where it ended and nobody wanted that; its jobs have gone on meanwhile."""
        pause = AGAIN_S
        while True:
            began = time.monotonic()
            self._process.wait()
            if self._is_ending.is_set():
                return
            pause = AGAIN_S if time.monotonic() - began > LONGEST_PAUSE_S else min(2 * pause, LONGEST_PAUSE_S)
            _log.error("the engine ended; it is started again")
            if self._is_ending.wait(pause):
                return
            self._process = self._start()
            error = _answer(self._process)
            if error is not None:
                _log.error("the engine cannot start: %s", error)


def _answer(process: subprocess.Popen[bytes]) -> EngineError | None:
    """Read what the engine says of its start; None: it works."""
    line = process.stdout.readline() if process.stdout is not None else b""
    try:
        said = json.loads(line)
    except ValueError:
        said = {}
    if said.get("ready"):
        return None
    if "error" in said:
        return error_from_json(said["error"])
    return EngineError("the engine ended without a word")
