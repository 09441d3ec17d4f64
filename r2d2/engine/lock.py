"""One engine for a folder: the lock that it holds, and who that is."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from r2d2.engine.errors import EngineBusyError
from r2d2_base.errors import BusyFolderError
from r2d2_base.files import make_folder, read_json, write_json
from r2d2_base.folders import locked_folder
from r2d2_base.process_identity import ProcessIdentity

__all__ = ["engine_lock", "lock_holder"]

_HOLDER = "engine.json"


@contextmanager
def engine_lock(work_root: Path) -> Iterator[None]:
    """Work on a folder as its only engine. The lock ends with the process, however that ends.

    Raises:
        EngineBusyError: another engine has it; says which.
        NotWritableError: it cannot be made or written into.
    """
    make_folder(work_root)
    make_folder(work_root / "jobs")
    try:
        with locked_folder(work_root, work_root):
            write_json(work_root / _HOLDER, {**ProcessIdentity.of_this_process().to_json(), "time": time.time()})
            yield
    except BusyFolderError as error:
        holder = lock_holder(work_root)
        who = "another process" if holder is None else f"process {holder.pid} on {holder.host}"
        raise EngineBusyError(
            f"an engine works on {work_root} already ({who}): use that one, or end it, or name another --work-root"
        ) from error


def lock_holder(work_root: Path) -> ProcessIdentity | None:
    """Say which process took the lock last; None: nobody did."""
    try:
        return ProcessIdentity.from_json(read_json(work_root / _HOLDER))
    except (OSError, ValueError):
        return None
