"""r2d2 zoo import: a Keras network that was made elsewhere becomes a model; what its file does not say is asked for."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from r2d2.cli.environment import quiet_tensorflow
from r2d2.errors import ZooError
from r2d2_base.errors import ConfigurationError

if TYPE_CHECKING:
    from r2d2.zoo.exchange.answers import ImportAnswers

__all__ = ["import_command"]

QUESTIONS = (
    ("channels", "", "Names of a scan's channels, in the network's order, such as T1, T2"),
    ("labels", "", "What the outputs stand for, with values in label maps, without background: liver: 1, tumour: 2"),
    ("activation", "softmax", "What the last layer applies: logits (nothing), softmax or sigmoid"),
    ("slice_axis", "2", "Slices are cut across: 0 left-right, 1 back-front, 2 foot-head"),
    ("slice_size", "256, 256", "Height and width in pixels of the slices that it was trained on"),
    ("spacing_mm", "null", "Spacing in mm along left-right, back-front, foot-head: 1, 1, 3; null: any"),
    ("neighbours", "0", "Slices on either side that are further channels"),
    ("normalisation", "zscore_case", "none, zscore_case, zscore_nonzero, min_max, or zscore_dataset MEAN STD"),
    ("trained_on", "unknown", "The data that it was trained on"),
)
"""Field of the answers, what it is by default, and the question."""
_LISTS = ("channels", "slice_size")


def _print_template(is_asked: bool) -> None:
    if is_asked:
        from r2d2.zoo.exchange.answers import TEMPLATE

        typer.echo(TEMPLATE, nl=False)
        raise typer.Exit


def import_command(
    file: Path = typer.Argument(..., metavar="FILE", help="Keras network: .keras, or .h5 of a whole network."),
    out: Path = typer.Option(..., help="Folder for model.keras and model.json; must not exist, or be empty."),
    answers: Path = typer.Option(None, help="YAML file with the answers; else they are asked for."),
    template: bool = typer.Option(
        False, "--template", help="Print a file of answers and leave.", is_eager=True, callback=_print_template
    ),
    verbose: bool = typer.Option(False, "-v", "--verbose", help="Show TensorFlow's own messages."),
) -> None:
    """Make a model of a Keras network that was made elsewhere: for predict, and to start from.

    Example: r2d2 zoo import unet.keras --out work/unet --answers answers.yaml
    """
    quiet_tensorflow(verbose)
    from r2d2.tasks.zoo_import import ImportSettings, import_network
    from r2d2.zoo.exchange.answers import read_answers

    given = _asked() if answers is None else read_answers(answers)
    model = import_network(ImportSettings(file=file, out=out, answers=given))
    names = ", ".join(f"{name} {value}" for name, value in model.card.labels.items())
    typer.echo(f"wrote {model.folder}: {model.weights:,} weights, labels {names}", err=True)
    typer.echo(f"next: r2d2 predict --model {model.folder} --input SCANS --out work/predictions", err=True)


def _asked() -> ImportAnswers:
    from r2d2.zoo.exchange.answers import checked_answers

    if not sys.stdin.isatty():
        raise ConfigurationError(
            "there is no terminal to ask on: give --answers FILE; 'r2d2 zoo import --template' prints one"
        )
    said = {
        field: typer.prompt(text, default=default or None, err=True, value_proc=partial(_taken, field))
        for field, default, text in QUESTIONS
    }
    return checked_answers(said)


def _taken(field: str, text: str) -> Any:
    """Read an answer; the question is asked again where it cannot be."""
    from r2d2.zoo.exchange.answers import check_answer

    value = _value(field, text)
    try:
        check_answer(field, value)
    except ZooError as error:
        raise typer.BadParameter(str(error)) from error
    return value


def _value(field: str, text: str) -> Any:
    """Read what was typed as YAML has it, without the brackets; what is no such thing the check of answers refuses."""
    import yaml

    words = text.split()
    if field == "normalisation":
        numbers = {name: [part] for name, part in zip(("mean", "std"), words[1:], strict=False)}
        return {"kind": words[0] if words else "", **numbers}
    brackets = "{%s}" if field == "labels" else "[%s]" if field in _LISTS or "," in text else "%s"
    try:
        return yaml.safe_load(brackets % text)
    except yaml.YAMLError:
        return text
