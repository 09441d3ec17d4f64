"""Tiny tasks for real processes: they wait, write, fail, leave processes behind, ignore whoever asks them to end."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from r2d2.errors import LaunchError
from r2d2.tasks.registry import Listener, Task, TaskEnd

NAME = f"{__name__}:SMALL"
EARLY = f"{__name__}:EARLY_STOPPING"
SLEEPER = "import sys, time; print('child', flush=True); time.sleep(600)"


class SmallSettings(BaseModel):
    """What a small task does.

    A line is added to ``journal`` by each start and each end, so that a test can count them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    journal: Path
    out: Path
    seconds: float = 0.0
    end: Literal["completed", "fails", "exits", "killed", "segfault", "launch"] = "completed"
    children: int = 0
    deaf: bool = False
    fails_first: bool = False
    word: str = ""
    workers: int = 1


def note(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(descriptor, f"{text}\n".encode())  # one write: whole, whoever else writes
    os.close(descriptor)


def run(settings: SmallSettings, listener: Listener) -> TaskEnd:
    note(settings.journal, f"begin {settings.word} {os.getpid()}")
    if settings.deaf:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    for _ in range(settings.children):  # in sessions of their own, and orphans: as launchers leave theirs
        command = [sys.executable, "-c", SLEEPER]
        middle = f"import subprocess; subprocess.Popen({command!r}, start_new_session=True)"
        subprocess.run([sys.executable, "-c", middle], check=True)
    listener.on_notice(f"at work: {settings.word}")
    begun, is_first = time.monotonic(), not settings.out.exists()
    settings.out.mkdir(parents=True, exist_ok=True)
    while time.monotonic() - begun < settings.seconds:
        if listener.stop.is_made and not settings.deaf:
            break
        passed = time.monotonic() - begun
        listener.progress("waiting", int(100 * passed), int(100 * settings.seconds))
        time.sleep(0.02)
    is_stopped = listener.stop.is_made and not settings.deaf
    _end_badly(settings, is_first)
    if is_stopped and settings.workers < 2:
        note(settings.journal, f"stopped {settings.word}")
        return TaskEnd("stopped_early", listener.stop.reason)
    listener.stop.check()
    note(settings.journal, f"end {settings.word}")
    return TaskEnd(result={"folder": str(settings.out), "word": settings.word})


def _end_badly(settings: SmallSettings, is_first: bool) -> None:
    if settings.fails_first and not is_first:
        return
    if settings.end == "fails":
        raise ZeroDivisionError("by zero")
    if settings.end == "launch":
        raise LaunchError("rank 1 ended with exit code 3", 3)
    if settings.end == "exits":
        os._exit(7)
    if settings.end == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if settings.end == "segfault":
        os.kill(os.getpid(), signal.SIGSEGV)


SMALL = Task("small", SmallSettings, run, output="out", workers=lambda settings: settings.workers)
EARLY_STOPPING = Task("early", SmallSettings, run, output="out", can_stop_early=True)
