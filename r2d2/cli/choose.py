"""r2d2 choose: which of several configurations to use."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

import typer

from r2d2.cli.environment import quiet_tensorflow

if TYPE_CHECKING:
    from r2d2.choosing.record import ChoiceRecord
    from r2d2.tasks.choosing import ChoiceResult

__all__ = ["EXAMPLE", "choose", "echo_choice"]

EXAMPLE = (
    'Example: r2d2 choose 2d: "3d: network.dimensions=3" --dataset work/liver --out work/choice training.epochs=40'
)
WIDTH = 80


def choose(
    words: list[str] = typer.Argument(
        ...,
        metavar="CONFIGURATION|KEY=VALUE",
        help="Two configurations or more: YAML files, each called as its file, or a name and settings in one word, "
        "like '3d: network.dimensions=3'. And settings for all, like training.epochs=40.",
    ),
    dataset: Path = typer.Option(..., help="Prepared dataset with folds; a configuration may name another one."),
    out: Path = typer.Option(..., help="Folder for the trainings and the choice; the same command goes on with one."),
    ensembles: bool = typer.Option(False, "--ensembles", help="Compare every two together too, without more training."),
    metric: str = typer.Option("dice", help="What is compared, averaged over the labels of a case."),
    max_restarts: int = typer.Option(0, min=0, help="Times that a training whose worker was lost is started again."),
    confidence: float = typer.Option(0.95, help="Coverage of the intervals; tests are at 1 minus this."),
    verbose: bool = typer.Option(False, "-v", "--verbose", help="Show TensorFlow's own messages."),
) -> None:
    """Train configurations on the same folds, compare them case by case, and name the one to use.

    Where the best cannot be told apart from others, the one with the fewest parameters of these is named. What it
    reaches is measured on the test cases, or by folds that did not choose.
    """
    quiet_tensorflow(verbose)
    from pydantic import ValidationError

    from r2d2.cli.progress import training_display
    from r2d2.tasks.choosing import ChooseSettings
    from r2d2.tasks.choosing import choose as choose_one
    from r2d2_base.errors import ConfigurationError
    from r2d2_base.settings_faults import settings_faults

    files, variants, settings = _sorted_words(words)
    try:
        asked = ChooseSettings(
            dataset=dataset,
            out=out,
            files=files,
            variants=variants,
            settings=settings,
            ensembles=ensembles,
            metric=metric,
            max_restarts=max_restarts,
            confidence=confidence,
        )
    except ValidationError as error:
        raise ConfigurationError("; ".join(settings_faults(error, ChooseSettings))) from error
    with training_display() as display:
        result = choose_one(asked, on_event=display, on_notice=display.notice, progress=display.stage)
    echo_choice(result)


def _sorted_words(words: Sequence[str]) -> tuple[tuple[Path, ...], tuple[str, ...], tuple[str, ...]]:
    """Tell files, configurations in words, and settings for all."""
    files = [word for word in words if word.lower().endswith((".yaml", ".yml")) and "=" not in word]
    settings = [word for word in words if re.match(r"[a-z_]+(\.\w+)*\s*=", word)]
    variants = [word for word in words if word not in files and word not in settings]
    return tuple(map(Path, files)), tuple(variants), tuple(settings)


def echo_choice(result: ChoiceResult) -> None:
    """Print what was compared, and which one to use."""
    from r2d2.choosing.words import expected_sentence, group_sentence

    choice = result.choice
    _print_candidates(choice)
    typer.echo(f"use {choice.chosen}: {choice.reason}")
    if len(choice.candidates) > 2:
        typer.echo(group_sentence(choice))
    typer.echo(expected_sentence(choice))
    for note in choice.notes:
        typer.echo(f"note: {note}", err=True)
    networks = " ".join(f"--model {quote(str(result.folder / name))}" for name in choice.networks)
    typer.echo(f"wrote {result.record} and {result.report}", err=True)
    typer.echo(f"next: r2d2 predict {networks} --input SCANS --out PREDICTIONS", err=True)


def _print_candidates(choice: ChoiceRecord) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from r2d2.choosing.words import score_text, small_p
    from r2d2.reports.formatting import plural
    from segeval import METRICS

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=WIDTH)
    of = f"{plural(choice.cases, 'case')} of {plural(choice.patients, 'patient')}"
    console.print(Text(f"{of}, each by networks that had not seen it"))
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("configuration", overflow="fold")
    for name in (
        "parameters",
        "minutes",
        f"{METRICS[choice.metric].title} \\[{choice.confidence * 100:g} %]",
        "p (Holm)",
    ):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for one in choice.candidates:
        low, high = (score_text(choice.metric, end) for end in (one.score.low, one.score.high))
        pair = None if one.name == choice.best else choice.pair(one.name, choice.best)
        table.add_row(
            Text(one.name),
            f"{one.parameters:,}",
            f"{one.minutes:.1f}",
            Text(f"{score_text(choice.metric, one.score.mean)} [{low}, {high}]"),
            "" if pair is None else small_p(pair.p_holm),
            "best" if pair is None else "worse" if pair.better == choice.best else "alike",
        )
    console.print(table)
