"""Processes that write checkpoints one after the other and say which have been written, until they are killed.

Every array of the checkpoint of step n is filled with n, so that a mixture of two would show.
"""

import os
import signal
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

from dist_training.checkpoints import CheckpointStore, TrainingProgress

ARRAYS = 8
CALLS = {"open", "flush", "fsync", "replace", "unlink", "close"}
"""Those between which the disk changes; each array ends with a ``close``."""


def state_of(step: int, values: int) -> dict[str, Any]:
    arrays = [np.full(values, step, np.float64) for _ in range(ARRAYS)]
    return {
        "step": step,
        "progress": TrainingProgress(epoch=step),
        "network": {"architecture": "unet", "depth": step},
        "facts": {"training_slices": step},
        "model": arrays[: ARRAYS // 2],
        "optimizer": arrays[ARRAYS // 2 :],
    }


def say(word: str, value: object) -> None:
    """Write a line at once: under PYTHONUNBUFFERED, print would write it in pieces, between which a kill may come."""
    sys.stdout.write(f"{word} {value}\n")
    sys.stdout.flush()


class Kill:
    """SIGKILL just before the ``call``-th of ``CALLS`` in the thread that writes, counted once ``is_armed``."""

    def __init__(self, call: int) -> None:
        self.left, self.is_armed = call, False
        threading.setprofile(self)

    def __call__(self, frame: FrameType, event: str, function: Any) -> None:
        if self.is_armed and event == "c_call" and function.__name__ in CALLS:
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


def write_on(folder: Path, step: int, count: int, kill_at: int, values: int) -> None:
    """Write ``count`` checkpoints from the step after ``step`` on (0: without end), or until killed (0: never)."""
    last, kill = step + count, Kill(kill_at)
    with CheckpointStore(folder) as store:
        while step < last or count == 0:
            step += 1
            store.write(**state_of(step, values))
            if step % 2 == 0:  # else the next one comes while this one is being written
                store.wait()
            for path in store.take_written():
                say("written", path.stem.removeprefix("step-"))
                kill.is_armed = True


def main() -> None:
    """For each line "STEP COUNT KILL" fork a writer: what is imported, is imported once. Arguments: folder, values."""
    folder, values = Path(sys.argv[1]), int(sys.argv[2])
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            say("writer", os.getpid())
            write_on(folder, *map(int, line.split()), values)
            return
        _, status = os.waitpid(child, 0)
        say("ended", os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main()
