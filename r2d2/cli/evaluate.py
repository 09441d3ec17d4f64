"""r2d2 evaluate: label maps against references."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from r2d2.cli.predict import SplitName
from r2d2.cli.settings_command import SettingsCommand
from r2d2_base.errors import ConfigurationError

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

    from segeval import Label

__all__ = ["EXAMPLE", "EvaluateCommand", "evaluate", "setting_fields"]

EXAMPLE = "Example: r2d2 evaluate --reference labelsTs --prediction predictions --out evaluation --images imagesTs"

_FIELDS = {"label": "labels", "metric": "metrics"}
"""Options that may be given several times, and the field that they fill."""


class EvaluateCommand(SettingsCommand):
    """The command with the help of the settings of an evaluation."""

    def setting_fields(self) -> dict[str, FieldInfo]:
        """Give the fields by the names of the options."""
        fields = setting_fields()
        return fields | {option: fields[field] for option, field in _FIELDS.items()}


def setting_fields() -> dict[str, FieldInfo]:
    """Give the fields of the settings and of their conventions, each of which is an option, by name."""
    from segeval import Conventions, EvaluationSettings

    fields = {**EvaluationSettings.model_fields, **Conventions.model_fields}
    del fields["conventions"]
    return fields


def evaluate(
    ctx: typer.Context,
    prediction: Path = typer.Option(
        ..., help="Folder of predicted label maps, or one of them: NIfTI, NRRD, MetaImage, PNG, TIFF."
    ),
    out: Path = typer.Option(..., help="Folder for summary.json, cases.csv and report.html."),
    reference: Path = typer.Option(None, help="Folder of reference label maps of the same names, or one label map."),
    dataset: Path = typer.Option(None, help="Prepared dataset whose source labels are the reference."),
    split: SplitName = typer.Option(SplitName.test, help="Which of the dataset's cases."),
    images: Path = typer.Option(
        None, help="Folder of the scans, named like the label maps, or the only scan, for the pictures."
    ),
    report: bool = typer.Option(True, help="Write report.html beside the scores."),
    label: list[str] = typer.Option(None, metavar="NAME=INTEGERS"),
    other_labels: str = typer.Option(None, metavar="refuse|background"),
    ignore_label: int = typer.Option(None),
    metric: list[str] = typer.Option(None, metavar="NAME|all"),
    lesions: bool = typer.Option(False, "--lesions", help="Add the lesion-wise metrics."),
    on_empty: str = typer.Option(None),
    on_missing: str = typer.Option(None),
    surface: str = typer.Option(None),
    hd95: str = typer.Option(None),
    tolerance_mm: list[str] = typer.Option(None, metavar="MM|NAME=MM"),
    lesion_connectivity: str = typer.Option(None),
    lesion_match: str = typer.Option(None),
    unit: str = typer.Option(None),
    slice_axis: int = typer.Option(None),
    spacing_mm: tuple[float, float] = typer.Option(None, metavar="ROWS COLUMNS"),
    spatial_units: str = typer.Option(None, metavar="header|mm|um|m"),
    patients: Path = typer.Option(None, help="CSV file with case_id and patient_id; by default a case is a patient."),
    seed: int = typer.Option(None),
    workers: int = typer.Option(None),
) -> None:
    """Score label maps as whole volumes: overlap, surface distances, volumes, each mean with its confidence interval.

    Writes summary.json (as nnU-Net lays it out), cases.csv and an HTML report.
    """
    from r2d2.cli.progress import stages
    from r2d2.cli.scores import echo_scores
    from r2d2.tasks.evaluation import EvaluateSettings
    from r2d2.tasks.evaluation import evaluate as evaluate_all
    from segeval import build_settings

    read = {"label": _labels(label), "metric": _metrics(metric, lesions), "tolerance_mm": _tolerance(tolerance_mm)}
    choices = {_FIELDS.get(name, name): value for name, value in {**ctx.params, **read}.items() if value is not None}
    asked = EvaluateSettings(
        prediction=prediction,
        out=out,
        reference=reference,
        dataset=dataset,
        split=split.value,
        images=images,
        patients=patients,
        report=report,
        scoring=build_settings(choices={name: value for name, value in choices.items() if name in setting_fields()}),
    )
    with stages() as progress:
        result = evaluate_all(asked, progress=progress)
    echo_scores(result.evaluation)
    typer.echo(f"wrote {out / 'summary.json'} and {out / 'cases.csv'}", err=True)
    if result.report_fault is not None:
        typer.echo("the scores are written, but their report could not be made:", err=True)
        raise result.report_fault
    if result.report is not None:
        typer.echo(f"report: {result.report}", err=True)


def _labels(words: Sequence[str] | None) -> dict[str, Label] | None:
    """Read labels and regions from NAME=1, NAME=1,2 and NAME=1-250."""
    from segeval import MetricArgumentError, parse_label

    labels: dict[str, Label] = {}
    for word in words or ():
        name, _, text = word.rpartition("=")
        try:
            label = parse_label(text)
        except MetricArgumentError:
            name = ""
        if not name:
            raise ConfigurationError(f"--label must be like liver=1, tumour=2,3 or cell=1-250; received {word!r}")
        if name in labels:
            raise ConfigurationError(f"--label names {name!r} twice; give all of a region's integers at once, as 1,2")
        labels[name] = label
    return labels or None


def _metrics(names: Sequence[str] | None, with_lesions: bool) -> tuple[str, ...] | None:
    """Read the names of metrics; "all" stands for every one."""
    from segeval import DEFAULT_METRICS, METRICS

    if "all" in (names or ()):
        return tuple(METRICS)
    if not with_lesions:
        return tuple(names) if names else None
    return (*(names or DEFAULT_METRICS), *(name for name in METRICS if METRICS[name].family == "lesion"))


def _tolerance(words: Sequence[str] | None) -> float | dict[str, float] | None:
    """Read one tolerance for all labels, or one for each name."""
    if not words:
        return None
    try:
        if len(words) == 1 and "=" not in words[0]:
            return float(words[0])
        named = [(_name(name), float(text)) for name, _, text in (word.rpartition("=") for word in words)]
    except ValueError:
        raise ConfigurationError(
            f"--tolerance-mm must be like 2.5, or like liver=3 for every label; received {' '.join(words)}"
        ) from None
    if len(dict(named)) < len(named):
        raise ConfigurationError(f"--tolerance-mm names a label twice; received {' '.join(words)}")
    return dict(named)


def _name(text: str) -> str:
    if not text:
        raise ValueError("no name")
    return text
