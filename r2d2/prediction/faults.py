"""What is said of scans that cannot be predicted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from r2d2_base.errors import R2D2Error

__all__ = ["listed", "sentence", "with_what_is_kept"]

LEAVE_OUT = "--on-error skip leaves such scans out"


def sentence(error: Exception, scan: str, told: Callable[[object], str] = str) -> str:
    """Say what is wrong with a scan, and with which.

    >>> sentence(MemoryError(), "a/b.nii")
    'a/b.nii: needs more memory than there is'
    """
    if isinstance(error, MemoryError):
        return f"{scan}: needs more memory than there is"
    if isinstance(error, OSError) and not isinstance(error, R2D2Error):
        return told(f"{error.filename or scan}: cannot be read ({error.strerror or 'input or output failed'})")
    text = told(error)
    return text if str(Path(scan).parent) in text else f"{scan}: {text}"


def listed(faults: Sequence[str], scans: int) -> str:
    """Say what is wrong with some of several scans.

    >>> listed(["a.nii: no scan"], 1)
    'a.nii: no scan'
    """
    if len(faults) == 1:
        return faults[0] if scans == 1 else f"{faults[0]}; {LEAVE_OUT}"
    lines = "\n".join(f"  {fault}" for fault in faults)
    advice = f" ({LEAVE_OUT})" if scans > len(faults) else ""
    return f"{len(faults)} of {scans} scans cannot be predicted{advice}:\n{lines}"


def with_what_is_kept(fault: str, done: int, scans: int) -> str:
    """Say so of one scan, and how many label maps stay for the next call."""
    if not done:
        return listed([fault], scans)
    maps = "1 label map is" if done == 1 else f"{done} label maps are"
    return f"{fault}; {maps} kept, and the same command goes on after them ({LEAVE_OUT})"
