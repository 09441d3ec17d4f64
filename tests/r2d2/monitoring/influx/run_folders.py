"""Run folders as trainings leave them, without a training."""

from pathlib import Path

from dist_training.record.events import EpochEnded, EventLog, Starting, StepTaken
from dist_training.record.run_folder import RunFolder
from r2d2.config import Configuration, commented_yaml
from r2d2.monitoring.influx.ledger import Ledger, open_ledger
from r2d2.monitoring.influx.target import Target
from r2d2.monitoring.series import MOST_RECORDS, SeriesFile

BEGIN = 1_796_000_000.0


def write_run(path: Path, steps: int = 20, **monitoring: object) -> RunFolder:
    """Write a run of two workers on one host: an event a step, and a record a second."""
    folder = RunFolder(path)
    folder.monitoring.mkdir(parents=True)
    configuration = Configuration.model_validate({"monitoring": monitoring})
    folder.config.write_text(commented_yaml(configuration, "a run"))
    log = EventLog(folder.events)
    log.record(Starting(time=BEGIN, world_size=2))
    log.close()
    add_steps(folder, 0, steps)
    return folder


def add_steps(folder: RunFolder, first: int, count: int) -> None:
    log = EventLog(folder.events)
    for step in range(first + 1, first + count + 1):
        loss = 1 / (3 * step)
        log.record(
            StepTaken(
                time=BEGIN + step + 0.123456,
                step=step,
                epoch=1,
                loss=loss,
                learning_rate=1e-3 / step,
                seconds=1.0,
                images_per_second=100 / 7,
            )
        )
    dice = {"left ventricle": 1 / 3, "b=c,d": None, "tumour": 0.0}
    log.record(
        EpochEnded(time=BEGIN + first + count + 0.5, epoch=1, step=count, loss=0.5, validation_dice_per_label=dice)
    )
    log.close()
    add_records(folder, first, count)


def add_records(folder: RunFolder, first: int, count: int, most: int = MOST_RECORDS) -> None:
    host = SeriesFile(folder.monitoring / "host-node1.jsonl", most)
    ranks = [SeriesFile(folder.monitoring / f"rank-{rank}.jsonl", most) for rank in range(2)]
    for at in range(first, first + count):
        own = {f"worker.{rank}.cpu_percent": 50.0 + rank + at for rank in range(2)}
        host.append({"time": BEGIN + at, "seconds": 1.0, "host.cpu_percent": at / 7, "gpu.0.load_percent": 3, **own})
        for rank, series in enumerate(ranks):
            series.append({"time": BEGIN + at + 0.25, "seconds": 1.0, "work.input": 0.1, "work.step": at + rank})


def ledger_of(folder: RunFolder, target: Target) -> Ledger:
    ledger = open_ledger(folder, target)
    assert ledger is not None
    return ledger
