"""What watches a run from within a worker: the sampler of its host, a thread for its own times, and who sends them."""

from __future__ import annotations

import logging
import os
import re
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path

from dist_training.ranks.communicator import Communicator
from dist_training.record.run_folder import RunFolder
from dist_training.record.work_times import WORKS, Worked, WorkTimes
from r2d2.monitoring.companion import companion
from r2d2.monitoring.influx.target import ENDING_S, target_of
from r2d2.monitoring.schema import SHARES, key_of
from r2d2.monitoring.series import SeriesFile
from r2d2.monitoring.settings import MonitoringSettings
from r2d2_base.errors import R2D2Error
from r2d2_base.process_identity import ProcessIdentity

__all__ = ["host_file", "monitored", "rank_file"]

_log = logging.getLogger(__name__)
_ENDING_SECONDS = 2.0
_SIGNS = 4
"""Signs of life of a worker that waits, in the time after which it would count as silent."""
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
_OTHER_LETTERS = re.compile(r"[^A-Za-z0-9._-]+")


def host_file(folder: RunFolder, host: str) -> Path:
    """Name the file of a host's sampler.

    >>> host_file(RunFolder(Path("run")), "node 1/a").name
    'host-node_1_a.jsonl'
    """
    return folder.monitoring / f"host-{_OTHER_LETTERS.sub('_', host)}.jsonl"


def rank_file(folder: RunFolder, rank: int) -> Path:
    """Name the file of a rank's times."""
    return folder.monitoring / f"rank-{rank}.jsonl"


@contextmanager
def monitored(folder: RunFolder, settings: MonitoringSettings, communicator: Communicator) -> Iterator[WorkTimes]:
    """Watch a run while the block runs; no fault of watching reaches it.

    Args:
        folder: of the run.
        settings: what is recorded, and how often; the same on every rank.
        communicator: the ranks; all must call this.

    Yields:
        The clock that the training tells what it spends its time on.
    """
    times = WorkTimes()
    if not settings.enabled:
        yield times
        return
    here = ProcessIdentity.of_this_process()
    others = communicator.gather_objects(here)
    workers = {rank: one.pid for rank, one in enumerate(others) if _is_same_host(one, here)}
    with ExitStack() as stack:
        try:
            folder.monitoring.mkdir(exist_ok=True)
            if communicator.rank == 0:  # before all that writes, so that it ends after them
                stack.enter_context(_sender(folder, settings))
            if communicator.rank == min(workers):
                stack.enter_context(_sampler(host_file(folder, here.host), settings, workers))
            stack.enter_context(_recorder(rank_file(folder, communicator.rank), settings, times))
        except OSError as error:
            _log.warning("no monitoring on this worker (%s); the training goes on", error)
        yield times


def _is_same_host(one: ProcessIdentity, other: ProcessIdentity) -> bool:
    return (one.host, one.boot_id) == (other.host, other.boot_id)


def _sampler(file: Path, settings: MonitoringSettings, workers: Mapping[int, int]) -> AbstractContextManager[None]:
    asked = {"file": str(file), "workers": dict(workers)}
    intervals = settings.model_dump(include={"host_interval_s", "gpu_interval_s"})
    return companion("r2d2.monitoring.sampler", {**asked, **intervals}, _ENDING_SECONDS)


def _sender(folder: RunFolder, settings: MonitoringSettings) -> AbstractContextManager[None]:
    """Have the run sent where the settings say; nowhere: nothing."""
    try:
        target = target_of(settings, os.environ)
    except R2D2Error as error:
        _log.warning("nothing is sent (%s); the training goes on", error)
        return nullcontext()
    if target is None:
        return nullcontext()
    asked = {"run": str(folder.path), "target": target.to_json(), "interval_s": settings.influx_interval_s}
    return companion("r2d2.monitoring.influx.sender", asked, ENDING_S + 1, **_ONE_THREAD)


@contextmanager
def _recorder(file: Path, settings: MonitoringSettings, times: WorkTimes) -> Iterator[None]:
    """Write what the worker did, now and then, in a thread: the training waits for no disk."""
    is_over = threading.Event()
    thread = threading.Thread(target=_record, args=(file, settings, times, is_over), name="r2d2-times", daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join(_ENDING_SECONDS)


def _record(file: Path, settings: MonitoringSettings, times: WorkTimes, is_over: threading.Event) -> None:
    """Write the parts of each stretch of time; while none ends, now and then that the worker lives, with no time."""
    series, before, has_failed = SeriesFile(file), times.so_far, False
    sign_s, written = settings.alert_silent_s / _SIGNS, time.monotonic()
    while True:
        is_last = is_over.wait(settings.host_interval_s)
        now = times.so_far
        is_new = now.until > before.until
        if is_new or (not is_last and time.monotonic() - written >= sign_s):
            written = time.monotonic()
            try:
                series.append(_shares(before, now) if is_new else _sign_of_life(now))
            except (OSError, R2D2Error) as error:
                if not has_failed:
                    _log.warning("%s cannot be written (%s); the training goes on", file, error)
                has_failed = True
            before = now
        if is_last:
            return


def _sign_of_life(now: Worked) -> dict[str, float]:
    """Say that a worker is there, though it has ended nothing lately: it waits for others, or validates."""
    return {"time": time.time(), "seconds": 0.0, key_of("work", "step"): now.step}


def _shares(before: Worked, now: Worked) -> dict[str, float]:
    """Say what parts of the time between two looks a worker spent on what: whole laps, so they are 1 at most."""
    seconds = now.until - before.until
    spent: dict[str, float] = {work: now.seconds[at] - before.seconds[at] for at, work in enumerate(WORKS)}
    record = {"time": time.time() - (time.perf_counter() - now.until), "seconds": seconds}
    record |= {key_of("work", share): spent[share] / seconds for share in SHARES}
    trained, images = spent["input"] + spent["compute"] + spent["exchange"], now.images - before.images
    if images and trained > 0:
        record[key_of("work", "images_per_second")] = images / trained
    record[key_of("work", "step")] = now.step
    return record
