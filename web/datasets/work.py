"""``python -m web.datasets.work``: what looks at a source for the page, in a process of its own that gives way.

Its settings come as a line of JSON at standard input. At standard output it says lines of JSON: ``progress``, and at
the end ``found`` or ``fault``. The end of its input, or SIGTERM, ends it.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from dataclasses import asdict
from typing import Any

from r2d2.engine import StopRequest
from r2d2.errors import R2D2Error
from r2d2.tasks.inspection import InspectSettings, inspect, propose_preparation

__all__ = ["main"]

NICENESS = 10


def main() -> int:
    """Look once; gives the exit code."""
    os.nice(NICENESS)
    settings = InspectSettings.model_validate_json(sys.stdin.buffer.readline())
    stop = StopRequest()
    signal.signal(signal.SIGTERM, lambda *_: stop.make("nobody waits for it any more"))
    threading.Thread(target=_await_end, args=(stop,), daemon=True).start()
    try:
        found = inspect(settings, progress=lambda *stage: _say({"progress": stage}), stop=stop)
        choices = [asdict(choice) for choice in propose_preparation(found.inspection)]
        unpacked = found.unpacked
        archive = None if unpacked is None else {"skipped": unpacked.skipped, "nested": unpacked.nested}
        _say({"found": {**found.inspection.as_json(), "archive": archive, "choices": choices}})
    except R2D2Error as error:
        _say({"fault": str(error)})
        return error.exit_code
    return 0


def _await_end(stop: StopRequest) -> None:
    while os.read(0, 4096):
        continue
    stop.make("the server has ended")


def _say(content: Any) -> None:
    sys.stdout.write(json.dumps(content) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
