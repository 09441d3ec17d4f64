"""Importing: a Keras network that was made elsewhere becomes a model."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from r2d2.zoo.exchange.answers import ImportAnswers
from r2d2.zoo.exchange.importing import ImportedModel, import_model, read_foreign
from r2d2_base.progress import Progress, StopRequest, Watcher

__all__ = ["ImportSettings", "import_network"]


class ImportSettings(BaseModel):
    """Which network becomes a model, and what its file does not say."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: Path = Field(description="Keras network: .keras, or .h5 of a whole network")
    out: Path = Field(description="folder for model.keras and model.json; it must not exist, or be empty")
    answers: ImportAnswers = Field(description="channels, labels, normalisation ...")


def import_network(
    settings: ImportSettings, *, progress: Progress | None = None, stop: StopRequest | None = None
) -> ImportedModel:
    """Make a model folder of a Keras network.

    Args:
        settings: which network, and the answers.
        progress: told when it is read and written.
        stop: ends the work before anything is written.

    Raises:
        R2D2Error: the file or the answers cannot be used.
        CancelledError: ``stop`` was made.
    """
    watcher = Watcher(progress, stop)
    watcher.report("importing", 0, 2)
    foreign = read_foreign(settings.file)
    watcher.report("importing", 1, 2)
    model = import_model(foreign, settings.answers, settings.out)
    watcher.report("importing", 2, 2)
    return model
