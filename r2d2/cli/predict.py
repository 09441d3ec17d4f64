"""r2d2 predict: a trained network applied to scans."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import typer

from r2d2.cli.environment import quiet_tensorflow
from r2d2.cli.inspect import SpatialUnits
from r2d2.cli.settings_command import SettingsCommand
from r2d2_base.allocation import keep_freed_memory
from r2d2_base.errors import ConfigurationError

if TYPE_CHECKING:
    from pydantic import BaseModel
    from pydantic.fields import FieldInfo

    from r2d2.prediction.manifest import PredictionManifest
    from r2d2.tasks.prediction import Prediction

__all__ = ["EXAMPLE", "DicomOutputKind", "OnError", "PredictCommand", "SplitName", "UncertaintyKind", "predict"]

EXAMPLE = "Example: r2d2 predict --model work/run --dataset work/hippocampus --split test --out work/predictions"

Settings = TypeVar("Settings", bound="BaseModel")

MOST_LISTED = 20
READING = "How scans are read"
APPLYING = "How networks are applied"


class SplitName(StrEnum):
    """A split of a prepared dataset."""

    train = "train"
    validation = "validation"
    test = "test"


class OnError(StrEnum):
    """What becomes of scans that cannot be predicted."""

    stop = "stop"
    skip = "skip"


class UncertaintyKind(StrEnum):
    """What is written of how sure networks are."""

    none = "none"
    entropy = "entropy"
    spread = "spread"


class DicomOutputKind(StrEnum):
    """What label maps of DICOM series are written as."""

    seg = "seg"
    rtstruct = "rtstruct"
    nifti = "nifti"


class PredictCommand(SettingsCommand):
    """The command with the help of the settings of a prediction."""

    def setting_fields(self) -> dict[str, FieldInfo]:
        """Give the fields by the names of the options."""
        from r2d2.prediction.settings import InferenceSettings, PredictionSettings

        return {**PredictionSettings.model_fields, **InferenceSettings.model_fields}


def predict(
    ctx: typer.Context,
    files: list[Path] = typer.Argument(None, metavar="FILE", help="More scans, as a shell expands --input *.nii.gz."),
    model: list[Path] = typer.Option(
        ...,
        help="Run folder of 'r2d2 train', a model.keras beside its model.json, or zoo:NAME[:VERSION]; repeated, or the"
        " folder of a cross-validation: all are asked together.",
    ),
    out: Path = typer.Option(
        ..., help="Folder for the label maps; to those of the same model and settings, new ones are added."
    ),
    overwrite: bool = typer.Option(False, "--overwrite", help="Replace label maps in the folder that differ."),
    dataset: Path = typer.Option(None, help="Prepared dataset whose cases are predicted."),
    split: SplitName = typer.Option(SplitName.test, help="Which of the dataset's cases."),
    inputs: list[Path] = typer.Option(
        None, "--input", help="Scans from anywhere: a file, a folder of any layout, an archive; may be repeated."
    ),
    recipe: str = typer.Option(None, rich_help_panel=READING),
    series: str = typer.Option(None, rich_help_panel=READING),
    channels: str = typer.Option(None, rich_help_panel=READING, metavar="NAME,..."),
    spatial_units: SpatialUnits = typer.Option(None, rich_help_panel=READING),
    on_error: OnError = typer.Option(None, rich_help_panel=READING),
    window: tuple[int, int] = typer.Option(None, rich_help_panel=APPLYING, metavar="HEIGHT WIDTH"),
    overlap: float = typer.Option(None, rich_help_panel=APPLYING),
    flips: bool = typer.Option(None, "--flips/--no-flips", rich_help_panel=APPLYING),
    rotations_degrees: list[float] = typer.Option(None, "--rotate", rich_help_panel=APPLYING, metavar="DEGREES"),
    rules: list[str] = typer.Option(None, "--rule", rich_help_panel=APPLYING, metavar="KIND:LABEL[:VALUE]|none"),
    probabilities: bool = typer.Option(None, "--probabilities", rich_help_panel=APPLYING),
    uncertainty: UncertaintyKind = typer.Option(None, rich_help_panel=APPLYING),
    dicom_output: DicomOutputKind = typer.Option(None, rich_help_panel=APPLYING),
    trust_code: bool = typer.Option(
        False, "--trust-code", help="Import the module that the model's card names for layers of its own."
    ),
    verbose: bool = typer.Option(False, "-v", "--verbose", help="Show TensorFlow's own messages."),
) -> None:
    """Write a label map for each scan, in the scan's own voxel grid, called as 'prepare' calls the case.

    Interrupted, the same command goes on where it stopped. Scans that cannot be predicted are listed at the end, with
    exit code 2.
    """
    quiet_tensorflow(verbose)
    keep_freed_memory()
    from dist_training.inference.postprocessing import parse_rule
    from r2d2.cli.progress import stages
    from r2d2.prediction.settings import InferenceSettings, PredictionSettings
    from r2d2.tasks.prediction import PredictSettings
    from r2d2.tasks.prediction import predict as predict_all

    names = None if channels is None else tuple(name.strip() for name in channels.split(","))
    given = {
        **ctx.params,
        "channels": names,
        "rotations_degrees": rotations_degrees or None,
        "rules": [parse_rule(word) for word in rules if word != "none"] if rules else None,
    }
    asked = PredictSettings(
        model=tuple(model),
        out=out,
        overwrite=overwrite,
        dataset=dataset,
        split=split.value,
        inputs=(*(inputs or []), *(files or [])),
        trust_code=trust_code,
        scans=_settings(PredictionSettings, given),
        inference=_settings(InferenceSettings, given),
    )
    try:
        with stages() as report:
            prediction = predict_all(asked, progress=report, on_notice=_say)
    except KeyboardInterrupt:
        typer.echo("r2d2: interrupted; the same command goes on where it stopped", err=True)
        raise typer.Exit(130) from None
    _tell(prediction)
    if prediction.left_out:
        raise typer.Exit(2)


def _say(line: str) -> None:
    typer.echo(f"r2d2: {line}", err=True)


def _settings(model: type[Settings], given: Mapping[str, Any]) -> Settings:
    """Read the options that were given and are fields of these settings.

    Raises:
        ConfigurationError: values that they cannot have, each in a sentence.
    """
    from pydantic import ValidationError

    from r2d2_base.settings_faults import settings_faults

    chosen = {name: value for name, value in given.items() if name in model.model_fields and value is not None}
    try:
        return model.model_validate(chosen)
    except ValidationError as error:
        raise ConfigurationError("; ".join(settings_faults(error, model))) from error


def _tell(prediction: Prediction) -> None:
    from r2d2.prediction.scans import few
    from r2d2.reports.formatting import plural

    _list("passed over", prediction.passed_over, prediction.folder)
    unlike = [case for case in prediction.cases if case.unlike]
    _list("unlike training", [f"{case.case_id}: {few(case.unlike)}" for case in unlike], prediction.folder)
    kept = f", {prediction.kept} kept" if prediction.kept else ""
    written = plural(len(prediction.cases) - prediction.kept, "label map")
    typer.echo(f"wrote {written} to {prediction.folder}{kept}", err=True)
    if any(case.file.endswith(".dcm") for case in prediction.cases):
        typer.echo("note: these DICOM files name the patients, as their series do; keep them as safe", err=True)
    for note in _in_pixels(prediction.manifest):
        typer.echo(f"note: {note}", err=True)
    seen = [case for case in prediction.cases if case.split in ("train", "validation")]
    if seen:
        typer.echo(f"note: {len(seen)} of these scans served the model's training; they are marked", err=True)
    if unlike:
        many = f"{len(unlike)} of {plural(len(prediction.cases), 'scan')} {'is' if len(unlike) == 1 else 'are'}"
        rate = prediction.unlike_rate
        of_like = "" if rate is None else f" (of scans like them at most {100 * rate:.1f} % are told so)"
        typer.echo(
            f"note: {many} unlike those of the model's training{of_like}; look at what it made of them", err=True
        )
    if prediction.left_out:
        typer.echo(f"{plural(len(prediction.left_out), 'scan')} could not be predicted:", err=True)
        _list("left out", prediction.left_out, prediction.folder)


def _in_pixels(manifest: PredictionManifest) -> Iterator[str]:
    """Say what smallest sizes, which were asked for in millilitres, are in pictures."""
    from imgmed.formats import is_picture

    if any(is_picture(case.file) for case in manifest.cases):
        for rule in manifest.inference.rules or ():
            if rule.kind == "minimum_size":
                yield f"in pictures a pixel counts as 0.001 ml, so {rule.text} keeps parts of {1000 * rule.ml:g} pixels"


def _list(kind: str, lines: Sequence[str], folder: Path) -> None:
    for line in lines[:MOST_LISTED]:
        typer.echo(f"  {kind}: {line}", err=True)
    if len(lines) > MOST_LISTED:
        typer.echo(f"  {kind}: {len(lines) - MOST_LISTED} more, see {folder / 'prediction.json'}", err=True)
