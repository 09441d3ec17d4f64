"""Exporting: a model for programs without R2D2."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from imgmed import PreparedDataset
from r2d2.zoo.exchange.export import ExportedModel, ExportKind, export_model
from r2d2_base.progress import Progress, StopRequest, Watcher

__all__ = ["ExportSettings", "export"]


class ExportSettings(BaseModel):
    """Which model is exported, as what, where to.

    >>> ExportSettings(model="work/run", out="liver.onnx").to
    'onnx'
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str | Path = Field(description="run folder or model.keras, or a name of the zoo (zoo:NAME)")
    to: ExportKind = Field(default="onnx", description="onnx: a file; savedmodel: TensorFlow's folder")
    out: Path = Field(description="the file or folder; it must not exist")
    dataset: Path | None = Field(
        default=None, description="prepared dataset whose slices the export is checked on; null: generated ones"
    )
    trust_code: bool = Field(
        default=False,
        description="import the module that a model's card names for layers of its own: it may do anything",
    )


def export(
    settings: ExportSettings, *, progress: Progress | None = None, stop: StopRequest | None = None
) -> ExportedModel:
    """Write a model as ONNX or SavedModel, in float32, once its label maps have been found to be those of the network.

    Args:
        settings: which model, as what, where to.
        progress: told of the steps.
        stop: ends the work between steps, and leaves nothing.

    Raises:
        R2D2Error: no such model, it cannot be exported, or it would give other label maps.
        CancelledError: ``stop`` was made.
    """
    return export_model(
        settings.model,
        settings.out,
        settings.to,
        dataset=None if settings.dataset is None else PreparedDataset.read(settings.dataset),
        trust_code=settings.trust_code,
        watcher=Watcher(progress, stop),
    )
