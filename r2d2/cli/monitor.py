"""r2d2 monitor: what a training does with its machines, for servers that draw it."""

from __future__ import annotations

from pathlib import Path

import typer

__all__ = ["app"]

app = typer.Typer(
    help="See what is wrong with a training; send what was recorded of it to InfluxDB.", no_args_is_help=True
)


@app.callback()
def _monitor() -> None:
    """Take the name of what is to be done."""


@app.command("replay", epilog="Example: r2d2 monitor replay --run-dir work/run")
def replay(
    words: list[str] = typer.Argument(
        None, metavar="KEY=VALUE", help="Settings over the run's own, like monitoring.influx_url=https://other:8086."
    ),
    run_dir: Path = typer.Option(..., "--run-dir", help="Run folder of a training that has ended."),
    is_all: bool = typer.Option(False, "--all", help="Send everything anew, not only what the server missed."),
) -> None:
    """Send InfluxDB what it missed of a training, from the run folder."""
    from r2d2.monitoring.influx.replay import replay as send
    from r2d2.monitoring.influx.words import sentence

    sent = 0

    def note(points: int) -> None:
        nonlocal sent
        sent = points

    ledger = send(run_dir, words or (), is_all=is_all, progress=note)
    typer.echo(f"{sent} points sent. {sentence(ledger, 0)}")


@app.command("alerts", epilog="Example: r2d2 monitor alerts --run-dir work/run")
def alerts(run_dir: Path = typer.Option(..., "--run-dir", help="Run folder of a training.")) -> None:
    """Say what is wrong with a training at this moment, or was at its end, and what to do.

    The exit code is 1 where anything is, and 0 where nothing is.
    """
    from r2d2.monitoring.alerts.current import current_findings

    found = current_findings(run_dir)
    for one in found:
        about = f" ({one.subject})" if one.subject else ""
        typer.echo(f"{one.severity}: {one.kind}{about}\n  {one.message}\n  {one.advice}")
    if found:
        raise typer.Exit(1)
    typer.echo("no alerts")
