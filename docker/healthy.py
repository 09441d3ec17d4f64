"""Whether `r2d2 serve` of this container answers, and its engine: exit code 0 or 1. Loads the standard library alone.

`R2D2_PORT` is the port, 8017 unless it is set. A container that does something else than serving is not asked.
"""

import contextlib
import os
import socket
import sys
import urllib.request
from pathlib import Path

PATIENCE_S = 4


def serves() -> bool:
    """Whether a process of this container is a server, or is about to become one."""
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has just ended
            words = (process / "cmdline").read_bytes().split(b"\0")
            if b"r2d2_web" in words or b"serve" in words:
                return True
    return False


def main() -> int:
    """Ask the web server for its log-in page, and the engine for a connection."""
    if not serves():
        return 0
    try:
        address = f"http://127.0.0.1:{os.environ.get('R2D2_PORT', '8017')}/login"
        with urllib.request.urlopen(address, timeout=PATIENCE_S) as answer:
            answer.read(1)
        with socket.socket(socket.AF_UNIX) as engine:
            engine.settimeout(PATIENCE_S)
            engine.connect(f"{os.environ['R2D2_WORK_ROOT']}/engine.sock")
    except OSError as error:
        print(error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
