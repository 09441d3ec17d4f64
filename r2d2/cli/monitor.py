"""r2d2 monitor: what is wrong with a training, and what was recorded of it, for servers that draw it."""

from __future__ import annotations

from pathlib import Path

import typer

from r2d2_base.errors import ConfigurationError

__all__ = ["app"]

app = typer.Typer(
    help="See what is wrong with a training; send what was recorded of it to MLflow, or to InfluxDB.",
    no_args_is_help=True,
)


@app.callback(
    invoke_without_command=True, epilog="Example: r2d2 monitor --mlflow http://127.0.0.1:5000 --run-dir work/run"
)
def _monitor(
    context: typer.Context,
    mlflow: str = typer.Option(
        None, "--mlflow", metavar="URL", help="Tracking server of MLflow that gets the run; one at work is followed."
    ),
    run_dir: Path = typer.Option(None, "--run-dir", help="Run folder of the training that goes to MLflow."),
    experiment: str = typer.Option("r2d2", help="Experiment of MLflow that the run is in."),
    token_file: Path = typer.Option(
        None,
        help="File with MLflow's token, mode 0600; by default MLflow's own variables, such as MLFLOW_TRACKING_TOKEN.",
    ),
    is_insecure: bool = typer.Option(False, "--insecure", help="Use http:// to other hosts too: all can be overheard."),
    with_files: bool = typer.Option(True, "--files/--no-files", help="Upload report, settings and network."),
) -> None:
    """See what is wrong with a training (alerts), send it to MLflow (--mlflow) or to InfluxDB (replay)."""
    if context.invoked_subcommand is not None:
        if mlflow is not None or run_dir is not None:
            raise ConfigurationError(
                f"--mlflow and '{context.invoked_subcommand}' are two things; use one, and give --run-dir behind "
                f"'{context.invoked_subcommand}'"
            )
        return
    if mlflow is None or run_dir is None:
        raise ConfigurationError("give both, like --mlflow http://127.0.0.1:5000 --run-dir work/run")
    from r2d2.monitoring.mlflow.log import log_run
    from r2d2.monitoring.mlflow.words import sentences

    now = log_run(
        run_dir,
        mlflow,
        experiment=experiment,
        token_file=token_file,
        is_insecure=is_insecure,
        with_files=with_files,
        say=lambda text: typer.echo(text, err=True),
    )
    typer.echo(sentences(now))


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
