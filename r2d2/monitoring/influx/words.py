"""What became of a run's points, in a sentence or two."""

from __future__ import annotations

from pathlib import Path

from dist_training.record.events import is_being_written
from dist_training.record.run_folder import RunFolder
from r2d2.monitoring.influx.ledger import Ledger, read_ledger
from r2d2.monitoring.influx.unsent import waiting

__all__ = ["sentence", "told"]


def told(run: Path) -> str | None:
    """Say what of a run was sent, what was lost and what waits; None where nothing was to be sent.

    Args:
        run: its folder.
    """
    folder = RunFolder(run)
    ledger = read_ledger(folder)
    if ledger is None:
        return None
    is_underway = ledger.fault is None and is_being_written(folder.events)
    return sentence(ledger, 0 if is_underway else waiting(folder, ledger.places))


def sentence(ledger: Ledger, left: int) -> str:
    """Say so of what is known.

    Args:
        ledger: how far the run was sent.
        left: records and events that were not.

    >>> print(sentence(Ledger(url="http://a", org="o", bucket="b", run="r", begun=0, sent=1), 2))
    InfluxDB at http://a has 1 point of this run. 2 records wait; 'r2d2 monitor replay' sends them.
    """
    text = f"InfluxDB at {ledger.url} has {_counted(ledger.sent, 'point')} of this run"
    if ledger.refused:
        text += f", and refused {ledger.refused}"
    if ledger.united:
        text += f"; {_counted(ledger.united, 'record')} had been united with others before it took them"
    text += "."
    if left:
        why = f" ({ledger.fault})" if ledger.fault else ""
        text += f" {_counted(left, 'record')} wait{'s' if left == 1 else ''}{why}; 'r2d2 monitor replay' sends them."
    return text


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
