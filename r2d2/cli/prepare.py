"""r2d2 prepare: scans with labels become a prepared dataset."""

from __future__ import annotations

from pathlib import Path

import typer

__all__ = ["prepare"]


def prepare(
    source: Path = typer.Argument(help="Folder of the study."),
    settings: list[str] = typer.Argument(None, metavar="KEY=VALUE", help="Settings, like preparation.seed=3."),
    out: Path = typer.Option(..., help="Folder for the prepared dataset; must not exist, or be empty."),
    config: Path = typer.Option(None, help="Configuration file whose 'preparation' is used; by default r2d2.yaml."),
) -> None:
    """Turn a study (MSD layout, or pairs of folders) into a patient-split dataset of slices.

    Example: r2d2 prepare Task04_Hippocampus --out work/hippocampus
    """
    from r2d2.cli.progress import stages
    from r2d2.config import configure
    from r2d2.errors import ConfigurationError
    from r2d2.preparing import prepare as prepare_study
    from r2d2.training import find_layer

    foreign = [word for word in settings or [] if not word.startswith("preparation.")]
    if foreign:
        raise ConfigurationError(
            f"{', '.join(foreign)}: 'prepare' takes preparation settings only, like preparation.seed=3"
        )
    path, content = find_layer(config)
    layer = {"preparation": content["preparation"]} if "preparation" in content else {}
    configuration = configure(layer, assignments=settings or [], origin=str(path or ""))
    with stages() as report:
        dataset = prepare_study(source, out, configuration.preparation, report)
    splits = dataset.splits
    typer.echo(f"prepared {dataset.name}: {len(dataset.cases)} cases in {out}", err=True)
    typer.echo(
        f"  train {len(splits.train)}, validation {len(splits.validation)}, test {len(splits.test)} cases; "
        f"labels {', '.join(f'{value} {name}' for name, value in dataset.labels.items())}",
        err=True,
    )
    for choice, reason in dataset.description.reasons.items():
        typer.echo(f"  {choice}: {reason}", err=True)
    typer.echo(f"next: r2d2 train --dataset {out} --workers 2", err=True)
