"""The command line: one file a command; this one assembles them and turns errors into one clear line."""

from __future__ import annotations

import sys

import typer

from r2d2.cli import (
    choose,
    choose_rules,
    compare,
    control,
    convert,
    demo,
    doctor,
    engine,
    evaluate,
    init,
    inspect,
    jobs,
    monitor,
    predict,
    prepare,
    presets,
    report,
    serve,
    tensorboard,
    train,
    zoo,
)
from r2d2_base.errors import R2D2Error

__all__ = ["app", "main"]

app = typer.Typer(
    name="r2d2",
    help="Scans with expert labels in, a trained and evaluated segmentation network out, on one core or many workers.",
    epilog="The order: inspect, prepare, train, predict, evaluate, report. 'r2d2 demo' does it on generated scans.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("demo")(demo.demo)
app.command("init")(init.init)
app.command("inspect")(inspect.inspect)
app.command("prepare")(prepare.prepare)
app.command("presets")(presets.presets)
app.command("train", epilog=train.EXAMPLE)(train.train)
app.command("control", epilog=control.EXAMPLE)(control.control)
app.command("worker", hidden=True)(train.worker)
app.command("predict", cls=predict.PredictCommand, epilog=predict.EXAMPLE)(predict.predict)
app.command("choose-rules", epilog=choose_rules.EXAMPLE)(choose_rules.choose_rules)
app.command("evaluate", cls=evaluate.EvaluateCommand, epilog=evaluate.EXAMPLE)(evaluate.evaluate)
app.command("compare")(compare.compare)
app.command("choose", epilog=choose.EXAMPLE)(choose.choose)
app.command("report")(report.report)
app.add_typer(convert.app, name="convert")
app.add_typer(zoo.app, name="zoo")
app.add_typer(engine.app, name="engine")
app.add_typer(jobs.app, name="jobs")
app.add_typer(monitor.app, name="monitor")
app.command("serve", epilog=serve.EXAMPLE)(serve.serve)
app.command("tensorboard", epilog=tensorboard.EXAMPLE)(tensorboard.tensorboard)
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
        line = _line_of(error)
        if line is None:
            raise
        typer.echo(f"r2d2: {line}", err=True)
        sys.exit(getattr(error, "exit_code", 2))


def _line_of(error: Exception) -> str | None:
    """Say a user's mistake in its own words; None for a fault of ours, which keeps its traceback."""
    if isinstance(error, R2D2Error):
        return str(getattr(error, "for_terminal", error))
    if isinstance(error, OSError) and error.filename is not None:  # the system's word on a file that it was asked for
        return f"{error.filename}: {(error.strerror or 'cannot be read or written').lower()}"
    return None
