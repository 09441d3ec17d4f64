"""The folder that TensorBoard shows: a link to the files of each training, by the number of its job."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from pathlib import Path

from r2d2.engine import JobQuery, Jobs

__all__ = ["RunLinks"]

MOST_RUNS = 200
"""The newest; TensorBoard keeps what it has read of each in memory."""
AGAIN_S = 5.0


class RunLinks:
    """See the module.

    Args:
        folder: of the links, the server's own; it need not exist.
        jobs: all of the engine.
    """

    def __init__(self, folder: Path, jobs: Jobs) -> None:
        self.folder, self._jobs = folder, jobs
        self._lock, self._renewed = threading.Lock(), -AGAIN_S

    def renew(self) -> None:
        """Have a link for each of the newest trainings, and no others; at most every five seconds."""
        with self._lock:
            if time.monotonic() - self._renewed < AGAIN_S:
                return
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            found = self._jobs.list(JobQuery(tasks=("train", "cross-validate"), limit=MOST_RUNS)).jobs
            wanted = {f"job-{job.id}": _target(job.task, Path(job.output)) for job in found if job.output is not None}
            for link in self.folder.iterdir():
                if not link.is_symlink() or wanted.get(link.name) != link.readlink():
                    link.unlink()
            for name, target in wanted.items():
                with suppress(FileExistsError):
                    (self.folder / name).symlink_to(target)
            self._renewed = time.monotonic()


def _target(task: str, output: Path) -> Path:
    """Of a cross-validation all: each of its folds is a run below."""
    return output / "tensorboard" if task == "train" else output
