"""A run with a million points, as if it had been trained."""

from __future__ import annotations

import json
import time
from pathlib import Path

from dist_training.record.run_folder import RunEnd, RunFolder
from r2d2.config import commented_yaml, configure

__all__ = ["write_long_run"]

STEPS_PER_EPOCH = 1000


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
