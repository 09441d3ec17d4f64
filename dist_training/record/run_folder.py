"""The run folder: what a training run leaves on disk, and where."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dist_training.errors import RunFolderError
from dist_training.record.events import EventLog
from r2d2_base.files import write_json

__all__ = ["SCHEMA_VERSION", "RunFolder"]

SCHEMA_VERSION = 1


class RunFolder:
    """Paths and small files of one run.

    Args:
        path: the folder; it need not exist yet.

    >>> RunFolder(Path("runs/a")).events.name
    'events.jsonl'
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self.config = self.path / "config.yaml"
        self.environment = self.path / "environment.json"
        self.events = self.path / "events.jsonl"
        self.control = self.path / "control.json"
        self.checkpoints = self.path / "checkpoints"
        self.model = self.path / "model.keras"
        self.card = self.path / "model.json"
        self.start = self.path / "start.json"
        self.tensorboard = self.path / "tensorboard"
        self.logs = self.path / "logs"
        self.exit = self.path / "exit.json"

    def holds_run(self) -> bool:
        """Whether a run was started here."""
        return self.config.exists() or self.events.exists()

    def check_free(self) -> None:
        """Refuse a folder that a new run would overwrite or mix with other files.

        Raises:
            RunFolderError: where the folder holds a run, or anything else.
        """
        if self.holds_run():
            raise RunFolderError(
                f"{self.path} already holds a run; continue it with --resume, or give another --run-dir"
            )
        if self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
            raise RunFolderError(f"{self.path} exists and is not an empty folder; give another --run-dir")

    def check_resumable(self) -> None:
        """Refuse to resume where no run was started.

        Raises:
            RunFolderError: where there is no run.
        """
        if not self.config.exists():
            raise RunFolderError(f"{self.path} holds no run to resume (no config.yaml); start one without --resume")

    def check_unused(self) -> None:
        """Refuse a run that another process is writing.

        Raises:
            RunFolderError: where its record is locked.
        """
        if self.events.exists():
            EventLog(self.events).close()

    def create(self) -> None:
        """Make the folder and its subfolders; a request that an earlier part of the run has served is forgotten."""
        self.control.unlink(missing_ok=True)
        for folder in (self.checkpoints, self.tensorboard, self.logs):
            folder.mkdir(parents=True, exist_ok=True)

    def write_exit(self, state: str, **details: Any) -> None:
        """Write the run's final state."""
        write_json(self.exit, {"schema_version": SCHEMA_VERSION, "state": state, **details})

    def read_exit(self) -> dict[str, Any] | None:
        """Read the run's final state; None while it has none."""
        if not self.exit.exists():
            return None
        return json.loads(self.exit.read_text(encoding="utf-8"))
