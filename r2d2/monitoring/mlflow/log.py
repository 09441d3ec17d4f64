"""A run logged to MLflow from its folder: followed to its end where it is at work, and never twice."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

from dist_training.errors import RunFolderError
from dist_training.record.events import EventTail, is_being_written
from dist_training.record.run_folder import RunFolder
from r2d2.monitoring.influx.ledger import Place, sole_sender
from r2d2.monitoring.influx.unsent import name_of, records_after, series_files
from r2d2.monitoring.mlflow.files import files_of
from r2d2.monitoring.mlflow.ledger import Logged, ledger_folder, read_logged
from r2d2.monitoring.mlflow.metrics import Figure, figures_of_event, figures_of_record
from r2d2.monitoring.mlflow.parameters import fitted, flat, shown_settings, tags_of
from r2d2.monitoring.mlflow.server import MOST_METRICS, TrackingServer, check_address, connected
from r2d2.monitoring.recording import host_file
from r2d2.monitoring.series import Record, united
from r2d2_base.errors import BusyFolderError
from r2d2_base.files import make_folder

__all__ = ["EXPERIMENT", "STRETCH_S", "LoggedNow", "log_run"]

EXPERIMENT = "r2d2"
"""That runs are in, unless another is named."""
STRETCH_S = 10.0
"""Seconds of machines' figures that a value stands for: as often as MLflow's own monitor looks."""
_INTERVAL_S = 5.0


@dataclass
class LoggedNow:
    """What a call has logged.

    Attributes:
        logged: what MLflow has of the run.
        metrics: values that this call logged.
        files: that it uploaded.
        cut: keys of settings whose values were too long.
    """

    logged: Logged
    metrics: int = 0
    files: int = 0
    cut: list[str] = field(default_factory=list)


def log_run(
    run_dir: Path,
    url: str,
    *,
    experiment: str = EXPERIMENT,
    token_file: Path | None = None,
    is_insecure: bool = False,
    with_files: bool = True,
    patience_s: float = 30.0,
    say: Callable[[str], None] = lambda text: None,
) -> LoggedNow:
    """Log what MLflow has not got of a run; of one that is at work, until it ends.

    Args:
        run_dir: the run's folder.
        url: of the tracking server.
        experiment: what the run is in there.
        token_file: file with the server's token, which nobody else may read; None: MLflow's own variables count.
        is_insecure: clear text may go to other hosts.
        with_files: whether report, settings and network are uploaded.
        patience_s: for how long the server may take nothing once the run has ended.
        say: told what is awaited.

    Returns:
        What is there now.

    Raises:
        ConfigurationError: what was asked for cannot work, or MLflow's client is missing.
        RunFolderError: no run was started there, or it is being logged.
        MlflowError: the server does not take it.
    """
    url, folder = check_address(url, is_insecure=is_insecure), RunFolder(run_dir)
    if not folder.holds_run():
        raise RunFolderError(f"{run_dir} is no run folder; name the --run-dir of a training")
    make_folder(ledger_folder(folder))
    try:
        with (
            connected(url, token_file, patience_s, lambda: _is_at_work(folder), say) as server,
            sole_sender(folder, locked=ledger_folder(folder)),
        ):
            return _Course(folder, server, experiment, with_files).follow(say)
    except BusyFolderError:
        raise RunFolderError(f"{run_dir} is being logged by another process; wait for its end") from None


def _is_at_work(folder: RunFolder) -> bool:
    return is_being_written(folder.events) is True or folder.status().is_running


class _Course:
    """A run on its way to a server."""

    def __init__(self, folder: RunFolder, server: TrackingServer, experiment: str, with_files: bool) -> None:
        self._folder, self._server, self._with_files = folder, server, with_files
        begun = self._await_begin()
        known = read_logged(folder, server.url, experiment, begun)
        name = f"{folder.path.absolute().name}-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime(begun))}"
        run_id = server.open_run(experiment, name, begun, known.run_id if known is not None else None)
        if known is None or known.run_id != run_id:
            known = Logged(url=server.url, experiment=experiment, run_id=run_id, begun=begun)
        self._logged, self._now = known, LoggedNow(known)
        known.write(folder)
        self._main_host = host_file(folder, tags_of(folder).get("r2d2.host", "")).stem.partition("-")[2]

    def follow(self, say: Callable[[str], None]) -> LoggedNow:
        """Log what there is until the run has ended, then its files and its end."""
        if _is_at_work(self._folder):
            self._server.set_state(self._logged.run_id, "RUNNING", None)
            say(f"{self._folder.path} is at work; it is followed until it ends")
        while True:
            self._log_settings()
            while _is_at_work(self._folder):
                self._log_metrics(is_over=False)
                time.sleep(_INTERVAL_S)
            self._log_metrics(is_over=True)
            self._log_settings()  # a part of the run that began meanwhile may have others
            if self._with_files:
                self._log_files()
            if self._has_logged_end():
                return self._now

    def _await_begin(self) -> float:
        """Give the time of the first event; of a run whose workers have not met it is waited for."""
        while True:
            is_over = not _is_at_work(self._folder)
            first = next(EventTail(self._folder.events).new(), None)
            if first is not None:
                return first.time
            if is_over:
                raise RunFolderError(f"{self._folder.path} has no record of a training yet")
            time.sleep(_INTERVAL_S)

    def _log_settings(self) -> None:
        run_id, settings = self._logged.run_id, dict(flat(shown_settings(self._folder)))
        new, self._now.cut = fitted(settings, self._server.parameters(run_id))
        self._server.log_settings(run_id, new, tags_of(self._folder))

    def _log_metrics(self, is_over: bool) -> None:
        figures: list[Figure] = []
        places: dict[str, Place] = {}
        for more, name, place in self._new(is_over):
            figures += more
            places[name] = place
            if len(figures) >= MOST_METRICS:
                self._log_batch(figures, places)
                figures, places = [], {}
        self._log_batch(figures, places)

    def _log_batch(self, figures: list[Figure], places: dict[str, Place]) -> None:
        if places:
            self._server.log_metrics(self._logged.run_id, figures)
            self._logged.places.update(places)
            self._logged.metrics += len(figures)
            self._now.metrics += len(figures)
            self._logged.write(self._folder)

    def _new(self, is_over: bool) -> Iterator[tuple[list[Figure], str, Place]]:
        """Give figures that were not logged, with the place in a file up to which they go."""
        folder, places = self._folder, self._logged.places
        tail = EventTail(folder.events, position=places.get(folder.events.name, Place()).at)
        for event in tail.new():
            yield list(figures_of_event(event)), folder.events.name, Place(at=tail.position)
        for path in series_files(folder):
            name, whose = name_of(folder, path), path.stem.partition("-")[2]
            for record, place in _stretches(records_after(path, places.get(name)), is_over):
                figures = figures_of_record(record, whose, self._logged.begun, self._main_host)
                yield list(figures), name, place

    def _log_files(self) -> None:
        with tempfile.TemporaryDirectory() as made:
            for place, source, file in files_of(self._folder, Path(made)):
                if self._logged.files.get(place) == source:
                    continue
                self._server.log_file(self._logged.run_id, file, place.rpartition("/")[0] or None)
                self._logged.files[place] = source
                self._now.files += 1
                self._logged.write(self._folder)

    def _has_logged_end(self) -> bool:
        """Log how the run ended, unless it goes on again."""
        status, end = self._folder.status(), self._folder.read_exit()
        if status.is_running:
            return False
        word = "FINISHED" if status.is_done else "FAILED" if status.state in ("failed", "lost") else "KILLED"
        ended = end.time if end is not None else self._folder.events.stat().st_mtime
        self._server.log_settings(self._logged.run_id, {}, {"r2d2.state": status.state or "unknown"})
        self._server.set_state(self._logged.run_id, word, ended)
        return True


def _stretches(found: Iterator[tuple[Record, Place]], is_over: bool) -> Iterator[tuple[Record, Place]]:
    """Unite records of the same seconds; the last ones may get more, as long as the run goes on."""
    before: list[tuple[Record, Place]] = []
    for _, group in groupby(found, key=lambda one: one[0]["time"] // STRETCH_S):
        if before:
            yield united([record for record, _ in before]), before[-1][1]
        before = list(group)
    if before and is_over:
        yield united([record for record, _ in before]), before[-1][1]
