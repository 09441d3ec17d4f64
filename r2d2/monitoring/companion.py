"""A process beside a worker, which ends when that does, however that ends, and keeps it waiting for seconds at most."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

__all__ = ["companion"]

_OF_THE_JOB = ("HOROVOD_", "OMPI_", "PMIX_", "PMI_", "SLURM_", "R2D2_LAUNCHER")
"""Of the environment: what would make it look like a worker."""
_KILLED_SECONDS = 2.0
_FAILED_SECONDS = 1.0
"""A worker that fails has to say so before its launcher kills it: Horovod's does five seconds after it lost another."""


@contextmanager
def companion(module: str, asked: Mapping[str, Any], ending_s: float, **environment: str) -> Iterator[None]:
    """Have a module run while the block does.

    Args:
        module: is run as a program, with `asked` as JSON for its argument; it ends when its standard input does.
        asked: what it is told; everybody on the host can read it.
        ending_s: seconds that it has to end by itself; a second at most where the block fails.
        environment: variables that it gets besides.
    """
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(_OF_THE_JOB)}
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", module, json.dumps(asked)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        env={**inherited, **environment},
    )
    try:
        yield
    except BaseException:
        ending_s = min(ending_s, _FAILED_SECONDS)
        raise
    finally:
        if process.stdin is not None:
            with suppress(OSError):
                process.stdin.close()
        try:
            process.wait(ending_s)
        except subprocess.TimeoutExpired:
            process.kill()
            with suppress(subprocess.TimeoutExpired):  # one that hangs in a file system ends when that answers
                process.wait(_KILLED_SECONDS)
