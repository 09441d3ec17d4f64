"""The engine of a server, in a process of its own: reloading the server leaves it be, and it ends with the server.

Its settings come as a line of JSON at its standard input, which the server holds open: its end is the engine's. It says
``ready``, or the error that it ended with, in a line of JSON.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
import time
from contextlib import ExitStack

from r2d2.engine import Engine, EngineSettings, StopRequest, error_to_json, open_engine
from r2d2.engine.alerting import alerting
from r2d2.engine.errors import EngineBusyError
from r2d2.engine.server import serving
from r2d2.errors import R2D2Error

__all__ = ["main"]

PATIENCE_S = 10.0  # the engine of a server that was killed just now takes a moment to notice


def main() -> int:
    """Be the engine; gives the exit code."""
    settings = EngineSettings.model_validate_json(sys.stdin.buffer.readline())
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s")
    end = StopRequest()
    settings.work_root.mkdir(parents=True, exist_ok=True)
    os.chdir(settings.work_root)  # where its jobs work too: what is relative means the same to both
    for number in (signal.SIGINT, signal.SIGHUP):  # Ctrl-C in a terminal is told to the server, which ends this
        signal.signal(number, signal.SIG_IGN)
    try:
        with ExitStack() as stack:
            engine = _opened(settings, stack)
            stack.enter_context(serving(engine))
            stack.enter_context(alerting(engine, engine.settings.work_root, os.environ))
            signal.signal(signal.SIGTERM, lambda *_: end.make("SIGTERM"))
            threading.Thread(target=_await_server, args=(engine, end), daemon=True).start()
            _say({"ready": True})
            engine.work(end)
    except R2D2Error as error:
        _say(error_to_json(error))
        return error.exit_code
    return 0


def _opened(settings: EngineSettings, stack: ExitStack) -> Engine:
    give_up = time.monotonic() + PATIENCE_S
    while True:
        try:
            return stack.enter_context(open_engine(settings))
        except EngineBusyError:
            if time.monotonic() >= give_up:
                raise
            time.sleep(0.1)


def _await_server(engine: Engine, end: StopRequest) -> None:
    while os.read(0, 4096):
        continue
    end.make("the server has ended")
    engine.wake()


def _say(content: object) -> None:
    sys.stdout.write(json.dumps(content) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
