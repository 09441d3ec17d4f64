"""The command line: one file a command; this one assembles them and turns errors into one clear line."""

from __future__ import annotations

import sys

import typer

from r2d2.cli import demo, doctor, evaluate, init, predict, prepare, report, train

__all__ = ["app", "main"]

_ROOTS = {"ImgMedError", "SegEvalError", "DistTrainingError", "R2D2Error"}

app = typer.Typer(
    name="r2d2",
    help="Scans with expert labels in, a trained and evaluated segmentation network out, on one core or many workers.",
    epilog="The usual order: prepare, train, predict, evaluate, report. 'r2d2 demo' does it all on generated scans.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("demo")(demo.demo)
app.command("init")(init.init)
app.command("prepare")(prepare.prepare)
app.command("train", epilog=train.EXAMPLE)(train.train)
app.command("worker", hidden=True)(train.worker)
app.command("predict")(predict.predict)
app.command("evaluate")(evaluate.evaluate)
app.command("report")(report.report)
app.command("doctor")(doctor.doctor)


def _print_version(is_asked: bool) -> None:
    if is_asked:
        from r2d2 import __version__

        typer.echo(f"r2d2 {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(
        False, "--version", help="Print the version and leave.", is_eager=True, callback=_print_version
    ),
) -> None:
    """Take the options that stand before a command."""


def main() -> None:
    """Run the command line; a user's mistake is one line on standard error and exit code 2."""
    try:
        app()
    except KeyboardInterrupt:
        typer.echo("r2d2: interrupted", err=True)
        sys.exit(130)
    except Exception as error:
        if not any(base.__name__ in _ROOTS for base in type(error).__mro__):
            raise
        typer.echo(f"r2d2: {error}", err=True)
        sys.exit(getattr(error, "exit_code", 2))
