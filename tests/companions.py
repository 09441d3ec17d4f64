"""Processes beside a training's workers, as tests find them, hold them and wait for what they do."""

import contextlib
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import psutil

__all__ = ["PATIENCE_S", "held", "of_module", "wait_for"]

PATIENCE_S = 120.0  # only ends what hangs


def of_module(module: str, parent: psutil.Process) -> list[psutil.Process]:
    """The processes below another that run a module; some may have ended and not been waited for."""
    found = []
    for process in parent.children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if module in process.cmdline():
                found.append(process)
    return found


@contextlib.contextmanager
def held(command: list[str], **more: Any) -> Iterator[subprocess.Popen[str]]:
    """Start a process that ends when its standard input does; it is gone after the block."""
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdin=pipe, stderr=pipe, text=True, **more)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stderr):
            if stream is not None:
                stream.close()


def wait_for(condition: Callable[[], object]) -> None:
    """Wait until something is so."""
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)
