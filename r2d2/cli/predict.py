"""r2d2 predict: a trained network applied to scans."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

import typer

from r2d2.cli.environment import quiet_tensorflow

__all__ = ["SplitName", "predict"]


class SplitName(StrEnum):
    """A split of a prepared dataset."""

    train = "train"
    validation = "validation"
    test = "test"


def predict(
    files: list[Path] = typer.Argument(None, metavar="FILE", help="More scans, as a shell expands --input *.nii.gz."),
    model: Path = typer.Option(..., help="Run folder of 'r2d2 train', or a model.keras beside its model.json."),
    out: Path = typer.Option(..., help="Folder for the label maps; must not exist, or be empty."),
    dataset: Path = typer.Option(None, help="Prepared dataset whose cases are predicted."),
    split: SplitName = typer.Option(SplitName.test, help="Which of the dataset's cases."),
    inputs: list[Path] = typer.Option(None, "--input", help="Scans from anywhere: a file or folder; may be repeated."),
    verbose: bool = typer.Option(False, "-v", "--verbose", help="Show TensorFlow's own messages."),
) -> None:
    """Write a label map for each scan, in the scan's own voxel grid.

    Example: r2d2 predict --model work/run --dataset work/hippocampus --split test --out work/predictions
    """
    quiet_tensorflow(verbose)
    from imgmed import PreparedDataset
    from r2d2.cli.progress import stages
    from r2d2.errors import PredictionError
    from r2d2.prediction.predict import predict_dataset, predict_scans
    from r2d2.report.formatting import plural
    from r2d2.tasks.evaluation import split_case_ids
    from r2d2_base.folders import check_absent

    scans = [*(inputs or []), *(files or [])]
    if (dataset is None) == (not scans):
        raise PredictionError("give either --dataset (with --split) or --input, to say what to predict")
    check_absent(out)
    with stages() as report:
        if dataset is not None:
            prepared = PreparedDataset.read(dataset)
            manifest = predict_dataset(model, prepared, split_case_ids(prepared, split.value), out, report)
        else:
            manifest = predict_scans(model, scans, out, report)
    seen = [case for case in manifest.cases if case.split in ("train", "validation")]
    typer.echo(f"wrote {plural(len(manifest.cases), 'label map')} to {out}", err=True)
    if seen:
        typer.echo(f"note: {len(seen)} of these scans served the model's training; they are marked", err=True)
