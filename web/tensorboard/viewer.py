"""Keeps TensorBoard's process: started when somebody asks, ended when nobody does."""

from __future__ import annotations

import io
import json
import logging
import secrets
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

__all__ = ["Viewer"]

IDLE_S = 15 * 60.0
ENDS_S = 5.0
_log = logging.getLogger(__name__)


class Viewer:
    """TensorBoard over a folder, on a free port of this host's loopback.

    Args:
        folder: what it shows.
        idle_s: seconds without a question after which its process ends.
    """

    def __init__(self, folder: Path, idle_s: float = IDLE_S) -> None:
        self._folder, self._idle_s = folder, idle_s
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._address: str | None = None
        self._asked = 0.0

    def address(self) -> str | None:
        """Give where it answers, with the secret first part of its paths; None: it begins just now."""
        with self._lock:
            self._asked = time.monotonic()
            if self._process is None or self._process.poll() is not None:
                self._start()
            return self._address

    def end(self) -> None:
        """End the process, if there is one."""
        with self._lock:
            process, self._process, self._address = self._process, None, None
        if process is None:
            return
        with suppress(OSError):
            if process.stdin is not None:
                process.stdin.close()
        try:
            process.wait(ENDS_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _start(self) -> None:
        prefix = f"/{secrets.token_urlsafe(24)}"
        command = [sys.executable, "-P", "-m", f"{__package__}.viewer_process"]
        self._address = None
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._process = process
        with suppress(BrokenPipeError):
            if process.stdin is not None:
                process.stdin.write(json.dumps({"folder": str(self._folder), "prefix": prefix}).encode() + b"\n")
                process.stdin.flush()
        threading.Thread(target=self._follow, args=(process, prefix), daemon=True).start()

    def _follow(self, process: subprocess.Popen[bytes], prefix: str) -> None:
        """Learn the port, then end the process once it is idle."""
        with process.stdout or io.BytesIO() as said:
            line = said.readline()
        try:
            port = int(json.loads(line)["port"])
        except (ValueError, KeyError, TypeError):
            _log.error("TensorBoard ended without a word; its own words stand above")
            return
        with self._lock:
            if self._process is process:
                self._address = f"http://127.0.0.1:{port}{prefix}"
        while process.poll() is None:
            left = self._asked + self._idle_s - time.monotonic()
            if left <= 0:
                self.end()
                return
            time.sleep(min(left, 1.0) if self._idle_s > 1 else 0.05)
