"""What the engine is told by who starts it."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["EngineSettings", "default_work_root"]


class EngineSettings(BaseModel):
    """Where the engine works, and how much at a time.

    >>> EngineSettings(work_root="work").max_jobs
    2
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    work_root: Path = Field(description="the engine's folder: jobs, their output, the index")
    data_roots: tuple[Path, ...] = Field(
        default=(), description="besides work_root, the only folders that jobs may read and write; none: any"
    )
    code_roots: tuple[Path, ...] = Field(
        default=(), description="folders whose code jobs may run (networks and losses as module:function); none: none"
    )
    database: str | None = Field(
        default=None, description="URL of the index, as SQLAlchemy has it; null: an SQLite file in work_root"
    )
    max_jobs: int = Field(default=2, ge=1, description="jobs that run at a time")
    max_workers: int | None = Field(
        default=None, ge=1, description="worker processes of all running jobs together; null: any number"
    )
    grace_s: float = Field(
        default=30.0, ge=0, le=86400, description="seconds that a cancelled job has to end by itself, before SIGTERM"
    )
    kill_after_s: float = Field(default=10.0, ge=0, le=3600, description="seconds from SIGTERM to SIGKILL")
    task_modules: tuple[str, ...] = Field(
        default=(), description="modules whose tasks may be submitted too, as module:ATTRIBUTE; their code is run"
    )


def default_work_root() -> Path:
    """Give the folder that is meant where none is named: $R2D2_WORK_ROOT, else r2d2/engine in the user's data."""
    named, data = os.environ.get("R2D2_WORK_ROOT"), os.environ.get("XDG_DATA_HOME")
    return Path(named) if named else (Path(data) if data else Path.home() / ".local" / "share") / "r2d2" / "engine"
