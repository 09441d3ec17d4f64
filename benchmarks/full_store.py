"""A folder of the engine with thousands of jobs that have ended, and among them a run with a million points."""

from __future__ import annotations

import json
import time
from pathlib import Path

from dist_training.record.run_folder import RunEnd, RunFolder
from r2d2.config import commented_yaml, configure
from r2d2.engine.folder import JobFolder
from r2d2_base.files import write_json

__all__ = ["fill", "write_long_run"]

TASKS = ("prepare", "train", "predict", "evaluate")
STATES = ("completed", "completed", "completed", "failed", "cancelled")
STEPS_PER_EPOCH = 1000


def fill(work_root: Path, jobs: int = 10_000) -> None:
    """Write the folders of jobs that have ended; those of trainings hold a run of three epochs where it is the last 50.

    Args:
        work_root: a folder of the engine's, without one at work.
        jobs: how many.
    """
    for number in range(1, jobs + 1):
        task, state = TASKS[number % len(TASKS)], STATES[number % len(STATES)]
        folder = JobFolder(work_root / "jobs" / str(number))
        folder.path.mkdir(parents=True)
        began = time.time() - 60.0 * (jobs - number) - 3600
        write_json(
            folder.description,
            {
                "schema_version": 1,
                "task": task,
                "settings": {"source": "scans", "out": str(folder.output)},
                "name": f"Study {number % 100:02d} of group {number % 7}",
                "tags": [f"group{number % 7}"],
                "priority": 0,
                "after": [],
                "max_retries": 1,
                "workers": 1,
                "by": "admin",
                "submitted_at": began,
                "output": str(folder.output),
                "roots": [str(work_root)],
                "uses": [],
                "warnings": [],
            },
        )
        attempt = folder.attempt(1)
        attempt.path.mkdir(parents=True)
        write_json(attempt.queued, {"time": began, "why": "submitted", "by": "admin"})
        write_json(attempt.supervisor, {"time": began + 1, "host": "gone", "pid": 1, "start_ticks": 1, "boot_id": "0"})
        write_json(attempt.exit, {"time": began + 50, "state": state, "reason": None})
        attempt.log.write_text("at work\n" * 20)
        if task == "train" and number > jobs - 50:
            write_long_run(folder.output, 3 * STEPS_PER_EPOCH)


def write_long_run(folder: Path, steps: int) -> None:
    """Write a run folder whose record has so many steps, with an epoch after each thousand."""
    run = RunFolder(folder)
    run.path.mkdir(parents=True, exist_ok=True)
    run.config.write_text(commented_yaml(configure({}, assignments=[f"training.epochs={steps // 1000}"]), "a run"))
    begin = time.time() - steps
    with run.events.open("w") as file:
        file.write(json.dumps({"event": "state", "time": begin, "state": "starting", "world_size": 2}) + "\n")
        running = {"epochs": steps // STEPS_PER_EPOCH, "steps_per_epoch": STEPS_PER_EPOCH, "training_slices": 8000}
        running |= {"validation_slices": 800, "global_batch_size": 8, "parameters": 10_000}
        file.write(json.dumps({"event": "state", "time": begin, "state": "running", **running}) + "\n")
        for step in range(1, steps + 1):
            epoch, loss = (
                (step - 1) // STEPS_PER_EPOCH + 1,
                0.1 + 1.0 / (1 + 0.001 * step) + 0.05 * (step * 7919 % 97) / 97,
            )
            file.write(
                f'{{"event": "step", "time": {begin + step}, "step": {step}, "epoch": {epoch}, "loss": {loss}, '
                '"learning_rate": 0.001, "seconds": 1.0, "images_per_second": 8.0}\n'
            )
            if step % STEPS_PER_EPOCH == 0:
                dice = 0.9 - 0.5 / epoch
                labels = json.dumps({"liver": dice, "tumour": dice / 2})
                file.write(
                    f'{{"event": "epoch", "time": {begin + step}, "epoch": {epoch}, "step": {step}, "loss": {loss}, '
                    f'"validation_dice": {dice}, "validation_dice_per_label": {labels}, '
                    '"learning_rate": 0.001, "seconds": 1000.0, "images_per_second": 8.0, "is_best": true}\n'
                )
        file.write(json.dumps({"event": "state", "time": begin + steps, "state": "completed"}) + "\n")
    run.write_exit(RunEnd(state="completed", best_dice=0.89, best_epoch=steps // STEPS_PER_EPOCH))
