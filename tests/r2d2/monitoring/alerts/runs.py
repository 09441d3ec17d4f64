"""Run folders in which something is wrong, or nothing is, as trainings leave them."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from dist_training.record.events import EpochEnded, EventLog, Running, StepTaken
from dist_training.record.run_folder import RunFolder
from r2d2.config import Configuration, commented_yaml
from r2d2.monitoring.series import Record, SeriesFile

BEGIN = 1_796_000_000.0
GOOD = {"memory_used_bytes": 4 * 2**30, "memory_total_bytes": 16 * 2**30, "disk_free_bytes": 100 * 2**30}
SHARES = {"input": 0.05, "compute": 0.6, "exchange": 0.3, "validation": 0.0, "checkpoint": 0.0}


def write_run(path: Path, losses: Sequence[float] = (2.0, 1.0), **monitoring: object) -> RunFolder:
    """Write a run's settings and steps."""
    folder = RunFolder(path)
    folder.monitoring.mkdir(parents=True)
    configuration = Configuration.model_validate({"monitoring": monitoring})
    folder.config.write_text(commented_yaml(configuration, "a run"))
    log = EventLog(folder.events)
    log.record(
        Running(
            time=BEGIN - 1,
            epochs=100,
            steps_per_epoch=10,
            training_slices=80,
            validation_slices=8,
            global_batch_size=8,
            parameters=1,
        )
    )
    for step, loss in enumerate(losses, 1):
        times = {"learning_rate": 0.1, "seconds": 1.0, "images_per_second": 8.0}
        log.record(StepTaken(time=BEGIN + step, step=step, epoch=1, loss=loss, **times))
    log.close()
    return folder


def add_epochs(folder: RunFolder, dice: Sequence[float | None]) -> None:
    log = EventLog(folder.events)
    for epoch, value in enumerate(dice, 1):
        log.record(EpochEnded(time=BEGIN + epoch, epoch=epoch, step=epoch, loss=1.0, validation_dice=value))
    log.close()


def add_host(folder: RunFolder, seconds: int, values: Mapping[str, float], first: int = 0, host: str = "node1") -> None:
    """Add a record a second; keys without a measurement are the host's."""
    series = SeriesFile(folder.monitoring / f"host-{host}.jsonl")
    named = {key if "." in key else f"host.{key}": value for key, value in {**GOOD, **values}.items()}
    for at in range(first, first + seconds):
        series.append({"time": BEGIN + at, "seconds": 1.0, **named})


def add_rank(
    folder: RunFolder,
    rank: int,
    seconds: int,
    first: int = 0,
    shares: Callable[[int], Mapping[str, float]] | None = None,
) -> None:
    """Add a record a second; shares: at each of them, where they are others than `SHARES`."""
    series = SeriesFile(folder.monitoring / f"rank-{rank}.jsonl")
    for at in range(first, first + seconds):
        own = {**SHARES, **(shares(at) if shares is not None else {})}
        record: Record = {"time": BEGIN + at, "seconds": 1.0, "work.step": at}
        series.append(record | {f"work.{share}": part for share, part in own.items()})
