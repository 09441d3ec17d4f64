"""r2d2 prepare: scans with labels become a prepared dataset."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import typer

__all__ = ["prepare"]

MOST_LISTED = 10


def prepare(
    source: Path = typer.Argument(help="Folder or archive (.zip, .tar, .tar.gz) of the study."),
    settings: list[str] = typer.Argument(None, metavar="KEY=VALUE", help="Settings, like preparation.seed=3."),
    out: Path = typer.Option(..., help="Folder for the prepared dataset; an unfinished or older one is continued."),
    recipe: str = typer.Option(None, help="Layout of the source, where it is not recognised; see 'r2d2 inspect'."),
    preset: str = typer.Option(None, help="Settings of a published use case; 'r2d2 presets' lists them."),
    workers: int = typer.Option(None, min=1, help="Processes; by default one for each core."),
    augment_to: int = typer.Option(
        None, min=1, help="Enlarge the training part to this many slices by augmented copies."
    ),
    patient_key: Path = typer.Option(
        None, help="Key file that hides patients' names; by default in ~/.config/r2d2, made where it is missing."
    ),
    config: Path = typer.Option(None, help="Configuration file whose 'preparation' is used; by default r2d2.yaml."),
) -> None:
    """Turn a study into a patient-split dataset of slices, with a report on what is in it and what is odd.

    'r2d2 inspect SOURCE' shows what would be read. Interrupted, the same command goes on where it stopped; with
    cases added to the source it brings the dataset up to date and keeps the splits.

    Example: r2d2 prepare Task04_Hippocampus --out work/hippocampus
    """
    from r2d2.cli.progress import stages
    from r2d2.tasks.preparation import PrepareSettings
    from r2d2.tasks.preparation import prepare as prepare_study

    asked = PrepareSettings(
        source=source,
        out=out,
        settings=tuple(settings or ()),
        config=config,
        recipe=recipe,
        preset=preset,
        augment_to=augment_to,
        workers=workers,
        patient_key=patient_key,
    )
    try:
        with stages() as report:
            prepared = prepare_study(asked, progress=report)
    except KeyboardInterrupt:
        typer.echo("r2d2: interrupted; the same command goes on where it stopped", err=True)
        raise typer.Exit(130) from None
    dataset, description = prepared.dataset, prepared.dataset.description
    if not prepared.is_changed:
        typer.echo(f"{out} holds all {len(dataset.cases)} cases of {source} already; nothing to do", err=True)
        if any(word.startswith("augmentation") for word in settings or []):
            typer.echo(
                f"for other augmentation while training, change {out / 'r2d2.yaml'}, or tell 'r2d2 train'", err=True
            )
        return
    _list("left out", description.skipped, out)
    _list("warning", description.warnings, out)
    _tell(dataset, out)


def _list(kind: str, sentences: tuple[str, ...], out: Path) -> None:
    for sentence in sentences[:MOST_LISTED]:
        typer.echo(f"  {kind}: {sentence}", err=True)
    if len(sentences) > MOST_LISTED:
        typer.echo(f"  ... and {len(sentences) - MOST_LISTED} more like these in {out / 'dataset.json'}", err=True)


def _tell(dataset: Any, out: Path) -> None:
    """Say in a few lines what was made and what comes next."""
    splits, description = dataset.original_splits, dataset.description
    copies = sum(case.augmented_from is not None for case in dataset.cases.values())
    more = f" and {copies} augmented {'copy' if copies == 1 else 'copies'}" if copies else ""
    count = len(dataset.cases) - copies
    typer.echo(f"prepared {dataset.name} ({description.recipe} layout): {count} cases{more} in {out}", err=True)
    typer.echo(
        f"  train {len(splits.train)}, validation {len(splits.validation)}, test {len(splits.test)} cases; "
        f"labels {', '.join(f'{value} {name}' for name, value in dataset.labels.items())}",
        err=True,
    )
    for choice, reason in description.reasons.items():
        typer.echo(f"  {choice}: {reason}", err=True)
    typer.echo(f"report: {out / 'dataset.html'}", err=True)
    if description.task == "segmentation":
        typer.echo(f"next: r2d2 train --dataset {shlex.quote(str(out))} --workers 2", err=True)
