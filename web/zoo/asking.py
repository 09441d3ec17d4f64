"""Registries asked while somebody waits: not for ever."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from r2d2.engine import StopRequest
from r2d2.engine.errors import RefusedError
from r2d2.errors import R2D2Error

__all__ = ["asked_for_a_while"]

PATIENCE_S = 20.0
Answer = TypeVar("Answer")


def asked_for_a_while(ask: Callable[[StopRequest], Answer]) -> Answer:
    """Ask, and give up after a while.

    Raises:
        RefusedError: a registry did not answer in time.
        R2D2Error: whatever the registry was asked for cannot be had.
    """
    stop = StopRequest()
    timer = threading.Timer(PATIENCE_S, stop.make, ["a registry does not answer"])
    timer.daemon = True
    timer.start()
    try:
        return ask(stop)
    except R2D2Error as error:
        if stop.is_made:
            raise RefusedError(f"a registry did not answer within {PATIENCE_S:g} seconds: try again later") from error
        raise
    finally:
        timer.cancel()
