"""Workers whose launcher was killed end by themselves: with a checkpoint where a step ends in time, else without."""

from __future__ import annotations

import json
import logging
import os
import signal
import threading
import time
from contextlib import suppress

from r2d2_base.process_identity import ProcessIdentity

__all__ = ["launcher_in_environment", "watch_launcher"]

LAUNCHER = "R2D2_LAUNCHER"
LOOK_SECONDS = 0.5
STOP_SECONDS = 4.0
"""For the step in progress and its checkpoint; with a look that comes late it stays below 5 s."""
_log = logging.getLogger(__name__)


def launcher_in_environment() -> dict[str, str]:
    """Give the environment variable that names this process as the launcher of the workers that get it."""
    return {LAUNCHER: json.dumps(ProcessIdentity.of_this_process().to_json())}


def watch_launcher() -> None:
    """Have this worker end soon after its launcher, also where that was killed; call it first of all.

    It gets a SIGTERM: one that trains stops after its step, with a checkpoint; one that does not train yet ends. Who is
    still there some seconds later is killed. A process that no launcher of ours started is left alone.
    """
    launcher = None
    with suppress(ValueError):
        launcher = ProcessIdentity.from_json(json.loads(os.environ.pop(LAUNCHER, "")))
    if launcher is not None:
        threading.Thread(target=_watch, args=(launcher,), daemon=True, name="launcher watch").start()


def _watch(launcher: ProcessIdentity) -> None:
    while launcher.is_alive() is not False:
        time.sleep(LOOK_SECONDS)
    _log.warning("the process that started this worker is gone: it stops")
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(STOP_SECONDS)
    os.kill(os.getpid(), signal.SIGKILL)
