"""What of a run was sent, how far that is and what was lost: ``monitoring/influx.json`` of its folder.

It never holds the token.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field, ValidationError

from dist_training.record.events import EventTail
from dist_training.record.run_folder import RunFolder
from r2d2.monitoring.influx.target import Target
from r2d2_base.errors import BusyFolderError
from r2d2_base.files import read_json, write_json
from r2d2_base.folders import locked_folder

__all__ = ["Ledger", "Place", "ledger_file", "open_ledger", "read_ledger", "sole_sender"]


class Place(BaseModel):
    """The last thing in a file that was sent.

    Attributes:
        at: byte where its line begins; of events, the byte behind it.
        time: of a record, its time: it is looked for by that where the file was thinned meanwhile.
    """

    at: int = 0
    time: float = 0.0


class Ledger(BaseModel):
    """How far a run was sent.

    Attributes:
        url, org, bucket: where to.
        run, job: tags of all its points; job: None where the engine did not run it.
        begun: when the run began, in seconds since 1970, which tells it from another in the same folder.
        places: how far each file was sent, by its name in the run folder.
        sent: points that the server took.
        refused: points that it would not have, which are lost to it.
        united: records that were thinned before they were sent, so that means of longer stretches went in their place.
        fault: why nothing is sent at present; None: it is.
        updated: when this was written, in seconds since 1970.
    """

    schema_version: Literal[1] = 1
    url: str
    org: str
    bucket: str
    run: str
    job: str | None = None
    begun: float
    places: dict[str, Place] = Field(default_factory=dict)
    sent: int = 0
    refused: int = 0
    united: int = 0
    fault: str | None = None
    updated: float = 0.0

    @property
    def tags(self) -> dict[str, str]:
        """Tags of all points."""
        return {"run": self.run} if self.job is None else {"run": self.run, "job": self.job}

    def write(self, folder: RunFolder) -> None:
        """Put it into the run folder.

        Raises:
            R2D2Error: it cannot be written.
        """
        self.updated = time.time()
        write_json(ledger_file(folder), self.model_dump(mode="json", exclude_none=True))


def ledger_file(folder: RunFolder) -> Path:
    """Name the file."""
    return folder.monitoring / "influx.json"


def read_ledger(folder: RunFolder) -> Ledger | None:
    """Read how far a run was sent; None where it never was, or where what stands there is damaged."""
    try:
        return Ledger.model_validate(read_json(ledger_file(folder)))
    except (OSError, ValueError, ValidationError):
        return None


@contextmanager
def sole_sender(folder: RunFolder, patience_s: float = 0.0, *, locked: Path | None = None) -> Iterator[None]:
    """Have nobody else send a run while the block runs, where the file system knows such locks.

    Args:
        folder: of the run.
        locked: folder that stands for the sending; None: `monitoring/`, for InfluxDB.
        patience_s: for how long another process may still send it.

    Raises:
        BusyFolderError: another process sends it.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(locked_folder(locked or folder.monitoring, folder.path, patience_s))
        except BusyFolderError:
            raise
        except OSError:  # network file systems may lock no folders; what is sent twice is there once
            pass
        yield


def open_ledger(folder: RunFolder, target: Target) -> Ledger | None:
    """Go on with what was sent to a server; of another run or to another server, begin anew.

    Returns:
        None: the run has not begun.
    """
    first = next(EventTail(folder.events).new(), None)
    if first is None:
        return None
    known = read_ledger(folder)
    if known is not None:
        same = (known.url, known.org, known.bucket, known.begun) == (target.url, target.org, target.bucket, first.time)
        if same:
            return known
    job = target.job if target.job is not None or known is None or known.begun != first.time else known.job
    name = f"{folder.path.absolute().name}-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime(first.time))}"
    return Ledger(url=target.url, org=target.org, bucket=target.bucket, run=name, job=job, begun=first.time)
