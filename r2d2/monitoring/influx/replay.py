"""What a server missed of a run, sent later from the run folder."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from dist_training.errors import RunFolderError
from dist_training.record.run_folder import RunFolder
from r2d2.config import configure, read_layer
from r2d2.monitoring.influx.delivery import Delivery
from r2d2.monitoring.influx.ledger import Ledger, open_ledger, sole_sender
from r2d2.monitoring.influx.target import read_token, target_of
from r2d2.monitoring.influx.writer import NotTakenError
from r2d2_base.errors import BusyFolderError, ConfigurationError, R2D2Error

__all__ = ["ReplayError", "replay"]

TIMEOUT_S = 30.0
_LEAST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 10.0


class ReplayError(R2D2Error):
    """A server that does not take what it missed; the same command may do tomorrow."""

    exit_code = 1


def replay(
    run_dir: Path,
    assignments: Sequence[str] = (),
    *,
    is_all: bool = False,
    patience_s: float = 30.0,
    progress: Callable[[int], None] = lambda sent: None,
) -> Ledger:
    """Send what InfluxDB has not got of a run.

    Args:
        run_dir: the run's folder.
        assignments: ``key=value`` words over the run's own settings, such as another server.
        is_all: send everything anew; points that are there already stay as they are.
        patience_s: for how long the server may take nothing.
        progress: told how many points were sent.

    Returns:
        What is there now.

    Raises:
        ConfigurationError: no server is named, or its token cannot be used.
        RunFolderError: no run was started there, or it is being sent.
        ReplayError: the server does not take it.
    """
    folder = RunFolder(run_dir)
    if not folder.holds_run():
        raise RunFolderError(f"{run_dir} is no run folder; name the --run-dir of a training")
    layer = read_layer(folder.config)
    settings = configure(layer, assignments=assignments, origin=str(folder.config)).monitoring
    target = target_of(settings, os.environ)
    if target is None:
        raise ConfigurationError(
            "the run was sent to no server; name one, like monitoring.influx_url=https://influx.example:8086"
        )
    read_token(target.token_file)
    folder.monitoring.mkdir(exist_ok=True)
    try:
        with sole_sender(folder):
            ledger = open_ledger(folder, target)
            if ledger is None:
                raise RunFolderError(f"{run_dir} has no record of a training yet")
            if is_all:
                ledger = ledger.model_copy(update={"places": {}, "sent": 0, "refused": 0})
            _deliver(Delivery(folder, target, ledger, TIMEOUT_S, counts_united=not is_all), patience_s, progress)
    except BusyFolderError:
        raise RunFolderError(f"{run_dir} is being sent by another process; wait for its end") from None
    return ledger


def _deliver(delivery: Delivery, patience_s: float, progress: Callable[[int], None]) -> None:
    sent, pause_s, end = 0, 1.0, time.monotonic() + patience_s
    while True:
        try:
            count = delivery.send_next()
        except NotTakenError as fault:
            wait_s = pause_s if fault.wait_s is None else max(fault.wait_s, _LEAST_PAUSE_S)
            if time.monotonic() + wait_s > end:
                raise ReplayError(
                    f"InfluxDB at {delivery.ledger.url} takes no points: {fault}; "
                    f"{delivery.waiting()} records wait; try again later"
                ) from None
            time.sleep(wait_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
            continue
        if count is None:
            return
        sent += count
        progress(sent)
        pause_s, end = 1.0, time.monotonic() + patience_s
