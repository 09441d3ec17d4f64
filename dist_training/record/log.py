"""The log file of a rank, and the failure that it ended with."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from r2d2_base.files import make_folder, writing

__all__ = ["last_failure", "log_failure", "log_to_file"]

_log = logging.getLogger(__name__)
_FAILURE = re.compile(rf"ERROR {re.escape(__name__)}: the run failed: (.+)")


@contextmanager
def log_to_file(path: Path) -> Iterator[None]:
    """Send this process's log records to a file of its own.

    Args:
        path: the log file, appended to.
    """
    make_folder(path.parent)
    with writing(path):
        handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.getLogger().addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)
        with suppress(OSError):
            handler.close()


def log_failure(cause: BaseException, error: BaseException) -> None:
    """Write why a run failed.

    Args:
        cause: in our words.
        error: as it was raised; its traceback is written too.
    """
    _log.error("the run failed: %s", cause, exc_info=error)


def last_failure(path: Path) -> str | None:
    """Give the reason that ``log_failure`` wrote last; None where it wrote none.

    Args:
        path: the log file of a rank; it may be missing.
    """
    if not path.exists():
        return None
    reasons = _FAILURE.findall(path.read_text(encoding="utf-8", errors="replace"))
    return reasons[-1] if reasons else None
