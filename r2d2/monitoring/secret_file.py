"""Files with secrets: read where nobody else may read them, and only there."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from r2d2_base.errors import ConfigurationError

__all__ = ["read_secret"]


def read_secret(file: Path, what: str, renewed: str, most: int) -> bytes:
    """Read a file that nobody else may read.

    Args:
        file: its name.
        what: it holds, in words.
        renewed: what to have made if others have read it, in words.
        most: bytes that it may have; one more is read, by which a longer one is told.

    Raises:
        ConfigurationError: it cannot be read, is no file, or others may read it.
    """
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as stream:
            mode = os.fstat(descriptor).st_mode
            content = stream.read(most + 1) if stat.S_ISREG(mode) else b""
    except OSError as error:
        raise ConfigurationError(f"{what} cannot be read: {file}: {(error.strerror or str(error)).lower()}") from error
    if not stat.S_ISREG(mode):
        raise ConfigurationError(f"{what} must stand in a file; {file} is none")
    if stat.S_IMODE(mode) & 0o077:
        raise ConfigurationError(
            f"others than you may use {what} in {file} (mode {stat.S_IMODE(mode):04o}); "
            f"chmod 600 {file}, and have {renewed} made if others were here"
        )
    return content
