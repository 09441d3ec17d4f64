"""r2d2 evaluate: label maps against references."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand

from r2d2.cli.predict import SplitName

__all__ = ["EXAMPLE", "EvaluateCommand", "evaluate"]

EXAMPLE = "Example: r2d2 evaluate --reference labelsTs --prediction predictions --out evaluation --images imagesTs"

_FIELDS = {"label": "labels", "metric": "metrics"}
"""Options that may be given several times, and the field that they fill."""


class EvaluateCommand(TyperCommand):
    """The command with the help of its options from the settings' own descriptions, read when they are needed."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Give the parameters, explained."""
        from r2d2.tasks.evaluation import EvaluationSettings
        from segeval import Conventions

        fields = {**EvaluationSettings.model_fields, **Conventions.model_fields}
        for parameter in self.params:
            field = fields.get(_FIELDS.get(parameter.name or "", parameter.name or ""))
            if field is not None and getattr(parameter, "help", "") is None:
                default = "" if not isinstance(field.default, str | int | float) else f" Default: {field.default}."
                parameter.help = f"{field.description}{default}"  # type: ignore[attr-defined]
        return list(super().get_params(ctx))


def evaluate(
    prediction: Path = typer.Option(..., help="Folder of predicted label maps: NIfTI, NRRD, MetaImage, PNG, TIFF."),
    out: Path = typer.Option(..., help="Folder for summary.json, cases.csv and report.html."),
    reference: Path = typer.Option(None, help="Folder of reference label maps of the same names."),
    dataset: Path = typer.Option(None, help="Prepared dataset whose source labels are the reference."),
    split: SplitName = typer.Option(SplitName.test, help="Which of the dataset's cases."),
    images: Path = typer.Option(None, help="Folder of the scans, named like the label maps, for the pictures."),
    report: bool = typer.Option(True, help="Write report.html beside the scores."),
    label: list[str] = typer.Option(None, metavar="NAME=INTEGER"),
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
    patients: Path = typer.Option(None, help="CSV file with case_id and patient_id; by default a case is a patient."),
    seed: int = typer.Option(None),
    workers: int = typer.Option(None),
) -> None:
    """Score label maps as whole volumes: overlap, surface distances, volumes, each mean with its confidence interval.

    Writes summary.json (as nnU-Net lays it out), cases.csv and an HTML report.
    """
    from imgmed import PreparedDataset
    from r2d2.cli.progress import stages
    from r2d2.cli.scores import echo_scores
    from r2d2.tasks.evaluation import (
        REPORT,
        build_evaluation_settings,
        evaluate_dataset,
        evaluate_prediction_folder,
        read_patients,
    )
    from r2d2.tasks.reporting import find_images, report_on_dataset, report_on_evaluation

    if (dataset is None) == (reference is None):
        raise typer.BadParameter("give either --dataset (with --split) or --reference, to say what to compare with")
    choices = {
        "labels": _labels(label),
        "ignore_label": ignore_label,
        "on_missing": on_missing,
        "unit": unit,
        "slice_axis": slice_axis,
        "spacing_mm": spacing_mm,
        "seed": seed,
        "workers": workers,
    }
    conventions = {
        "metrics": _metrics(metric, lesions),
        "on_empty": on_empty,
        "surface": surface,
        "hd95": hd95,
        "tolerance_mm": _tolerance(tolerance_mm),
        "lesion_connectivity": lesion_connectivity,
        "lesion_match": lesion_match,
    }
    settings = build_evaluation_settings(_given(choices), _given(conventions))
    if images is not None:
        find_images(images)
    patient_ids = None if patients is None else read_patients(patients)
    prepared = None if dataset is None else PreparedDataset.read(dataset)
    with stages() as progress:
        if prepared is not None:
            result = evaluate_dataset(
                prepared, split.value, prediction, out, settings, patients=patient_ids, progress=progress
            )
        else:
            result = evaluate_prediction_folder(
                reference, prediction, out, settings, patients=patient_ids, progress=progress
            )
    echo_scores(result)
    typer.echo(f"wrote {out / 'summary.json'} and {out / 'cases.csv'}", err=True)
    if not report:
        return
    try:
        if prepared is not None and images is None:
            path = report_on_dataset(prepared, evaluation=out, prediction=prediction, out=out / REPORT)
        else:
            path = report_on_evaluation(evaluation=out, prediction=prediction, images=images, out=out / REPORT)
    except Exception:
        typer.echo("the scores are written, but their report could not be made:", err=True)
        raise
    typer.echo(f"report: {path}", err=True)


def _given(choices: dict[str, Any]) -> dict[str, Any]:
    """Leave out what was not asked for, so that it keeps its default."""
    return {name: value for name, value in choices.items() if value is not None}


def _labels(words: Sequence[str] | None) -> dict[str, int | tuple[int, ...]] | None:
    """Read labels and regions from NAME=1 and NAME=1,2."""
    from r2d2_base.errors import ConfigurationError

    labels: dict[str, int | tuple[int, ...]] = {}
    for word in words or ():
        name, _, text = word.rpartition("=")
        try:
            values = tuple(int(part) for part in text.split(","))
        except ValueError:
            values = ()
        if not name or not values:
            raise ConfigurationError(f"--label must be like liver=1 or tumour=2,3; received {word!r}")
        if name in labels:
            raise ConfigurationError(f"--label names {name!r} twice; give all of a region's integers at once, as 1,2")
        labels[name] = values[0] if len(values) == 1 else values
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
    from r2d2_base.errors import ConfigurationError

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
