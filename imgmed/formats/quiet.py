"""Other libraries' remarks kept off the screen: they repeat our errors, or quote a patient's name."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["quiet"]


@contextmanager
def quiet(logger_name: str) -> Iterator[None]:
    """Drop Python warnings, and what the logger of a library says, while the block (or decorated function) runs.

    >>> with quiet("pydicom"):
    ...     logging.getLogger("pydicom").warning("Doe^Jane")
    """
    logger = logging.getLogger(logger_name)
    level = logger.level
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logger.setLevel(logging.CRITICAL + 1)
        try:
            yield
        finally:
            logger.setLevel(level)
