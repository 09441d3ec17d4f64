"""What of a run MLflow has, and how far that is: ``monitoring/mlflow/logged.json`` of its folder.

It never holds a token, a user or a password.
"""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field, ValidationError

from dist_training.record.run_folder import RunFolder
from r2d2.monitoring.influx.ledger import Place
from r2d2_base.errors import R2D2Error
from r2d2_base.files import read_json, write_json

__all__ = ["Logged", "ledger_folder", "read_logged"]


class Logged(BaseModel):
    """How far a run was logged.

    Attributes:
        url: of the tracking server.
        experiment: what the run is in there.
        run_id: MLflow's name of the run.
        begun: when the run began, in seconds since 1970, which tells it from another in the same folder.
        places: how far each file was logged, by its name in the run folder.
        metrics: values that were logged.
        files: what was uploaded, by its place there; tells what it was made from.
        updated: when this was written, in seconds since 1970.
    """

    schema_version: Literal[1] = 1
    url: str
    experiment: str
    run_id: str
    begun: float
    places: dict[str, Place] = Field(default_factory=dict)
    metrics: int = 0
    files: dict[str, str] = Field(default_factory=dict)
    updated: float = 0.0

    def write(self, folder: RunFolder) -> None:
        """Put it into the run folder; where that cannot be, values are logged twice, and are there once."""
        self.updated = time.time()
        with suppress(OSError, R2D2Error):
            write_json(ledger_folder(folder) / "logged.json", self.model_dump(mode="json"))


def ledger_folder(folder: RunFolder) -> Path:
    """Name the folder of it, which is locked while a run is logged."""
    return folder.monitoring / "mlflow"


def read_logged(folder: RunFolder, url: str, experiment: str, begun: float) -> Logged | None:
    """Read how far a run was logged to a server; None where it never was, or where what stands there is damaged."""
    try:
        known = Logged.model_validate(read_json(ledger_folder(folder) / "logged.json"))
    except (OSError, ValueError, ValidationError):
        return None
    return known if (known.url, known.experiment, known.begun) == (url, experiment, begun) else None
