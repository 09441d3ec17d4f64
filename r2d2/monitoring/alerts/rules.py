"""The rules: what each kind of alert is found by, its limit with the reason for it, and what to do."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median

from r2d2.curves.course import divergence_of
from r2d2.monitoring.alerts.alert import Finding, Kind, Severity
from r2d2.monitoring.alerts.observation import LONGEST_WINDOW_S, RANK_WINDOW_S, Observation
from r2d2.monitoring.schema import key_of, split_key
from r2d2.monitoring.series import Record

__all__ = ["RULES", "Rule", "findings"]

LAG_WINDOW_S = RANK_WINDOW_S
LAG_FACTOR = 1.5
LAG_LEAST = 0.1
MEMORY_WINDOW_S = 30.0
GPU_WINDOW_S = LONGEST_WINDOW_S
GPU_IDLE_PERCENT = 10.0
PLATEAU_LEAST_GAIN = 0.001
_GIB = 2**30


@dataclass(frozen=True)
class Rule:
    """How one kind of alert is found.

    Attributes:
        kind: of the alert.
        severity: of it.
        limit: from where on it is raised, in words.
        reason: why there.
        advice: what to do.
        find: gives, of a run, what it is about and what is so, for each that is found.
    """

    kind: Kind
    severity: Severity
    limit: str
    reason: str
    advice: str
    find: Callable[[Observation], Iterator[tuple[str, str]]]


def findings(seen: Observation) -> list[Finding]:
    """Give what all rules find in a run."""
    found = []
    for rule in RULES:
        for subject, message in rule.find(seen):
            found.append(Finding(rule.kind, rule.severity, message, rule.advice, subject))
    return found


def _divergence(seen: Observation) -> Iterator[tuple[str, str]]:
    told = "The loss, or the weights, exploded: this training has ended." if seen.has_diverged else None
    told = told or divergence_of(seen.view)
    if told is not None:
        yield "", told


def _silent(seen: Observation) -> Iterator[tuple[str, str]]:
    for rank, records in seen.ranks.items():
        seconds = seen.newest - records[-1]["time"]
        if seconds > seen.settings.alert_silent_s:
            yield (
                f"rank {rank}",
                f"Rank {rank} is silent, while others of the run, or its host's sampler, still report.",
            )


def _lagging(seen: Observation) -> Iterator[tuple[str, str]]:
    """Compare the time that each rank needs for its own part of the same steps, in both halves of the window."""
    half = LAG_WINDOW_S / 2
    halves = [
        {
            rank: own
            for rank, records in seen.ranks.items()
            if (own := _own_part(records, seen.newest - half * (at + 1), seen.newest - half * at)) is not None
        }
        for at in range(2)
    ]
    for rank in seen.ranks:
        factors = [_lag(parts, rank) for parts in halves]
        if all(factor is not None and factor >= LAG_FACTOR for factor in factors):
            yield f"rank {rank}", f"Rank {rank} is slower than the other workers, which wait for it."


def _own_part(records: Sequence[Record], first: float, last: float) -> float | None:
    """Give the part of a stretch of time that a rank spent on input and compute; None where it has too few records."""
    own, seconds = 0.0, 0.0
    for one in records:
        if first < one["time"] <= last and key_of("work", "compute") in one:
            own += one["seconds"] * sum(_mean(one[key_of("work", share)]) for share in ("input", "compute"))
            seconds += one["seconds"]
    return own / seconds if seconds >= (last - first) / 2 else None


def _lag(parts: dict[int, float], rank: int) -> float | None:
    others = [part for other, part in parts.items() if other != rank]
    if rank not in parts or not others or parts[rank] - median(others) < LAG_LEAST:
        return None
    return parts[rank] / max(median(others), 1e-6)


def _memory(seen: Observation) -> Iterator[tuple[str, str]]:
    limit = seen.settings.alert_memory_percent
    for host, records in seen.hosts.items():
        newest = [one for one in records if one["time"] > records[-1]["time"] - MEMORY_WINDOW_S]
        if records[-1]["time"] - records[0]["time"] < MEMORY_WINDOW_S - seen.settings.host_interval_s - 1:
            continue
        used = [100 * part for part in map(_memory_part, newest) if part is not None]
        if used and min(used) >= limit:
            yield f"host {host}", f"Memory of host {host} is more than {limit:g} % full: the system may kill a worker."


def _memory_part(record: Record) -> float | None:
    """Give how full the host is, or what its workers have of what they are granted, whichever is more."""
    used, total = (record.get(key_of("host", name)) for name in ("memory_used_bytes", "memory_total_bytes"))
    limit = record.get(key_of("host", "memory_limit_bytes"))
    parts = [_mean(used) / _mean(total)] if used is not None and total else []
    if limit:
        workers = (_mean(value) for key, value in record.items() if _is_of(key, "worker", "memory_bytes"))
        parts.append(sum(workers) / _mean(limit))
    return max(parts, default=None)


def _disk(seen: Observation) -> Iterator[tuple[str, str]]:
    """Look at the host that reported last: the run folder, which all of them write into, lies on one file system."""
    limit = seen.settings.alert_disk_free_gib
    key = key_of("host", "disk_free_bytes")
    newest = max((records[-1] for records in seen.hosts.values()), key=lambda one: float(one["time"]), default={})
    if key in newest and _mean(newest[key]) < limit * _GIB:
        yield "", f"Less than {limit:g} GiB are free on the disk of the run folder."


def _gpu_idle(seen: Observation) -> Iterator[tuple[str, str]]:
    """Look at as many GPUs of a host as it has workers, the busiest ones: others may be there for somebody else."""
    for host, records in seen.hosts.items():
        loads: dict[str, list[float]] = {}
        workers: set[str] = set()
        for record in records:
            for key, value in record.items():
                measurement, own, field = split_key(key)
                if own is not None and measurement == "worker":
                    workers.add(own)
                elif own is not None and (measurement, field) == ("gpu", "load_percent"):
                    loads.setdefault(own, []).append(_mean(value))
        seconds = records[-1]["time"] - records[0]["time"]
        if not loads or seconds < GPU_WINDOW_S - 2 * max(seen.settings.gpu_interval_s, seen.settings.host_interval_s):
            continue
        means = sorted(((sum(all_) / len(all_), device) for device, all_ in loads.items()), reverse=True)
        for mean, device in means[: max(len(workers), 1)]:
            if mean < GPU_IDLE_PERCENT:
                whose = f"GPU {device} of host {host}"
                yield whose, f"{whose} had less than {GPU_IDLE_PERCENT:g} % load for {GPU_WINDOW_S / 60:g} minutes."


def _plateau(seen: Observation) -> Iterator[tuple[str, str]]:
    patience = seen.settings.alert_plateau_epochs
    dice = [one.validation_dice for one in seen.view.epochs if one.validation_dice is not None]
    if len(dice) > patience and max(dice[-patience:]) < max(dice[:-patience]) + PLATEAU_LEAST_GAIN:
        yield "", f"Validation Dice has not become better for {patience} epochs; the best is {max(dice):.3f}."


def _is_of(key: str, measurement: str, field: str) -> bool:
    found, _, name = split_key(key)
    return (found, name) == (measurement, field)


def _mean(value: float | list[float]) -> float:
    return value[1] if isinstance(value, list) else value


RULES: tuple[Rule, ...] = (
    Rule(
        "divergence",
        "critical",
        "the loss is no number, or lately more than twice its least and more than at the beginning; or the run has "
        "ended for that (`training.divergence_factor`)",
        "as means over stretches of a fortieth of the run, which odd batches do not reach",
        "Stop it early, which keeps the best network; then train again with a tenth of the learning rate, or with "
        "training.clip_norm=1.",
        _divergence,
    ),
    Rule(
        "silent",
        "critical",
        "nothing from a rank for `monitoring.alert_silent_s` (60 s), while others of the run report",
        "Horovod itself warns of a stall after 60 s",
        "Look on its host whether the process was stopped, or waits for a disk or the network, and at logs/ in the run "
        "folder. If it does not go on: cancel, then resume, from the last checkpoint.",
        _silent,
    ),
    Rule(
        "lagging",
        "warning",
        f"input and compute take a rank {LAG_FACTOR:g} times as long as the median of the others, and "
        f"{100 * LAG_LEAST:g} % of the time more, for {LAG_WINDOW_S:g} s",
        "1.5 times the median is what Mantri (Ananthanarayanan et al., OSDI 2010) calls an outlier",
        "Look what else runs on its host, whether its processor or GPU is throttled, and where it reads scans from; "
        "or train without that host.",
        _lagging,
    ),
    Rule(
        "memory",
        "critical",
        "a host's memory, or what a container grants its workers, is `monitoring.alert_memory_percent` (90 %) full for "
        f"{MEMORY_WINDOW_S:g} s",
        "90 % is where node exporters' usual rules warn; the system kills a process at 100 %",
        "End other programs there, or resume with fewer workers on that host; else train with smaller batches.",
        _memory,
    ),
    Rule(
        "disk",
        "critical",
        "less than `monitoring.alert_disk_free_gib` (2 GiB) are free where the run folder lies",
        "some checkpoints of a large network and its optimizer",
        "Free space there: old run folders, or checkpoints of runs that are done. A run that finds the disk full "
        "fails, and resumes from its last checkpoint.",
        _disk,
    ),
    Rule(
        "gpu_idle",
        "warning",
        f"of as many GPUs of a host as it has workers, one has less than {GPU_IDLE_PERCENT:g} % load on average for "
        f"{GPU_WINDOW_S / 60:g} minutes",
        "validation and checkpoints take less; no sound training leaves a GPU below it",
        "See with r2d2 doctor whether TensorFlow finds the GPU, and in the run's report what the time goes into: a "
        "slow feed starves it.",
        _gpu_idle,
    ),
    Rule(
        "plateau",
        "info",
        f"for `monitoring.alert_plateau_epochs` (20) epochs no validation Dice was {PLATEAU_LEAST_GAIN:g} better than "
        "the best before",
        "twice the 10 epochs after which Keras's ReduceLROnPlateau acts by default",
        "Try a smaller learning rate while it runs; else stop it early, which keeps the best network.",
        _plateau,
    ),
)
"""All that are found in run folders; that a job has ended, its engine says."""
