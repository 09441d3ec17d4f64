"""How this process gets its memory: what is freed is kept for what comes next."""

from __future__ import annotations

import ctypes

__all__ = ["keep_freed_memory"]

TRIM_THRESHOLD, MMAP_MAX, ARENA_MAX = -1, -4, -8  # of mallopt, in glibc's malloc.h
NEVER = 2**31 - 1


def keep_freed_memory() -> bool:
    """Have glibc keep large blocks that are freed, for the life of this process.

    Usually each block of 32 MiB or more is a mapping of its own: the system fills it with zeros, page by page, and
    takes it back. Maps of a network are such blocks, dozens for each batch of slices, and filling them costs as much as
    what is computed between the convolutions. For a process that does nothing else, such as a command.

    Returns:
        Whether that could be told; only glibc can be.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):  # another C library, another system
        return False
    return all(mallopt(option, value) for option, value in ((MMAP_MAX, 0), (TRIM_THRESHOLD, NEVER), (ARENA_MAX, 1)))
