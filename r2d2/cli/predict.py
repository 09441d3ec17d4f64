"""r2d2 predict: a trained network applied to scans."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from r2d2.cli.environment import quiet_tensorflow
from r2d2.cli.inspect import SpatialUnits

if TYPE_CHECKING:
    from r2d2.prediction.settings import PredictionSettings
    from r2d2.tasks.prediction import Prediction

__all__ = ["OnError", "SplitName", "predict"]

MOST_LISTED = 20


class SplitName(StrEnum):
    """A split of a prepared dataset."""

    train = "train"
    validation = "validation"
    test = "test"


class OnError(StrEnum):
    """What becomes of scans that cannot be predicted."""

    stop = "stop"
    skip = "skip"


def predict(
    files: list[Path] = typer.Argument(None, metavar="FILE", help="More scans, as a shell expands --input *.nii.gz."),
    model: Path = typer.Option(..., help="Run folder of 'r2d2 train', or a model.keras beside its model.json."),
    out: Path = typer.Option(..., help="Folder for the label maps; must not exist, or be empty."),
    dataset: Path = typer.Option(None, help="Prepared dataset whose cases are predicted."),
    split: SplitName = typer.Option(SplitName.test, help="Which of the dataset's cases."),
    inputs: list[Path] = typer.Option(
        None, "--input", help="Scans from anywhere: a file, a folder of any layout, an archive; may be repeated."
    ),
    recipe: str = typer.Option(None, help="Layout of folders, where it is not recognised; see 'r2d2 inspect'."),
    series: str = typer.Option(
        None, help="Which DICOM series in folders: part of the description, '' for all; by default as for training."
    ),
    channels: str = typer.Option(
        None, help="What the channels of each scan are, in order, such as FLAIR,T1; by default those of training."
    ),
    spatial_units: SpatialUnits = typer.Option(
        SpatialUnits.header, help="What sizes in NIfTI, NRRD and MetaImage headers count in: header, as each file says."
    ),
    on_error: OnError = typer.Option(OnError.stop, help="Scans that cannot be predicted: stop, or leave them out."),
    verbose: bool = typer.Option(False, "-v", "--verbose", help="Show TensorFlow's own messages."),
) -> None:
    """Write a label map for each scan, in the scan's own voxel grid, called as 'prepare' calls the case.

    Interrupted, the same command goes on where it stopped.

    Example: r2d2 predict --model work/run --dataset work/hippocampus --split test --out work/predictions
    """
    quiet_tensorflow(verbose)
    from r2d2.cli.progress import stages
    from r2d2.tasks.prediction import PredictSettings
    from r2d2.tasks.prediction import predict as predict_all

    asked = PredictSettings(
        model=model,
        out=out,
        dataset=dataset,
        split=split.value,
        inputs=(*(inputs or []), *(files or [])),
        scans=_settings(recipe, series, channels, spatial_units, on_error),
    )
    try:
        with stages() as report:
            prediction = predict_all(asked, progress=report)
    except KeyboardInterrupt:
        typer.echo("r2d2: interrupted; the same command goes on where it stopped", err=True)
        raise typer.Exit(130) from None
    _tell(prediction)


def _settings(
    recipe: str | None, series: str | None, channels: str | None, spatial_units: SpatialUnits, on_error: OnError
) -> PredictionSettings:
    from r2d2.prediction.settings import PredictionSettings

    given = {"recipe": recipe, "series": series, "spatial_units": spatial_units.value, "on_error": on_error.value}
    names = None if channels is None else tuple(name.strip() for name in channels.split(","))
    chosen = {key: value for key, value in given.items() if value is not None}
    return PredictionSettings.model_validate({**chosen, "channels": names})


def _tell(prediction: Prediction) -> None:
    from r2d2.reports.formatting import plural

    _list("passed over", prediction.passed_over, prediction.folder)
    _list("left out", prediction.left_out, prediction.folder)
    earlier = f", {prediction.taken_over} of them earlier" if prediction.taken_over else ""
    typer.echo(f"wrote {plural(len(prediction.cases), 'label map')}{earlier} to {prediction.folder}", err=True)
    seen = [case for case in prediction.cases if case.split in ("train", "validation")]
    if seen:
        typer.echo(f"note: {len(seen)} of these scans served the model's training; they are marked", err=True)


def _list(kind: str, lines: Sequence[str], folder: Path) -> None:
    for line in lines[:MOST_LISTED]:
        typer.echo(f"  {kind}: {line}", err=True)
    if len(lines) > MOST_LISTED:
        typer.echo(f"  {kind}: {len(lines) - MOST_LISTED} more, see {folder / 'prediction.json'}", err=True)
