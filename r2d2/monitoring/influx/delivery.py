"""A run sent to a server, batch by batch, with what was sent written down."""

from __future__ import annotations

from contextlib import suppress

from dist_training.record.run_folder import RunFolder
from r2d2.monitoring.influx.backlog import Batch, next_batch
from r2d2.monitoring.influx.ledger import Ledger
from r2d2.monitoring.influx.target import Target
from r2d2.monitoring.influx.unsent import waiting
from r2d2.monitoring.influx.writer import NotTakenError, Writer
from r2d2_base.errors import R2D2Error

__all__ = ["MOST_POINTS", "Delivery"]

MOST_POINTS = 5000
"""That are in memory at a time; InfluxDB's own advice for the size of a batch."""


class Delivery:
    """Sends what a run has left, from where the ledger says.

    Args:
        folder: of the run.
        target: the server.
        ledger: of this run and server; is kept up to date, in the run folder too where that can be written.
        timeout_s: seconds that the server has to answer.
        counts_united: whether records that were thinned count as such; not where they are sent anew.
    """

    def __init__(
        self, folder: RunFolder, target: Target, ledger: Ledger, timeout_s: float, *, counts_united: bool = True
    ) -> None:
        self._folder, self.ledger, self._counts_united = folder, ledger, counts_united
        self._writer = Writer(target, timeout_s)

    def send_next(self) -> int | None:
        """Send what comes next.

        Returns:
            How many points; None: nothing waits.

        Raises:
            NotTakenError: the server does not take it at present.
        """
        try:
            batch = next_batch(self._folder, self.ledger.places, self.ledger.tags, MOST_POINTS)
            if not batch:
                return None
            refused = self._writer.write(batch.lines) if batch.lines else 0
        except OSError as error:
            raise NotTakenError(f"the run folder cannot be read ({error})") from error
        except NotTakenError as fault:
            self.note_fault(str(fault))
            raise
        self._note(batch, refused)
        return len(batch.lines)

    def note_fault(self, fault: str) -> None:
        """Write down why nothing is sent."""
        self.ledger.fault = fault
        self._write()

    def waiting(self) -> int:
        """Count the records and events that were not sent."""
        return waiting(self._folder, self.ledger.places)

    def _note(self, batch: Batch, refused: int) -> None:
        ledger = self.ledger
        ledger.places.update(batch.places)
        ledger.sent += len(batch.lines) - refused
        ledger.refused += refused
        ledger.united += batch.united if self._counts_united else 0
        ledger.fault = None
        self._write()

    def _write(self) -> None:
        with suppress(OSError, R2D2Error):  # a full disk: what is sent twice is there once
            self.ledger.write(self._folder)
