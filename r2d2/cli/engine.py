"""r2d2 engine: the engine of jobs, and its index."""

from __future__ import annotations

from pathlib import Path

import typer

__all__ = ["WORK_ROOT", "app"]

WORK_ROOT = typer.Option(
    None,
    help="The engine's folder; by default $R2D2_WORK_ROOT, else r2d2/engine in the user's data.",
    show_default=False,
)

app = typer.Typer(
    help="Run jobs one after the other, or several at a time: started, followed, never lost.", no_args_is_help=True
)


@app.command("run", epilog="Example: r2d2 engine run --work-root work/engine --max-jobs 1")
def run(
    work_root: Path = WORK_ROOT,
    data_root: list[Path] = typer.Option(
        None, help="A folder that jobs may read and write besides the engine's; may be repeated. None: any."
    ),
    code_root: list[Path] = typer.Option(
        None, help="A folder whose code jobs may run (module:function); may be repeated. None: no such code is run."
    ),
    max_jobs: int = typer.Option(2, min=1, help="Jobs that run at a time."),
    max_workers: int = typer.Option(None, min=1, help="Worker processes of all running jobs together."),
    grace: float = typer.Option(30.0, min=0, help="Seconds that a cancelled job has to end by itself."),
    database: str = typer.Option(None, help="URL of the index; by default an SQLite file in the engine's folder."),
) -> None:
    """Be the engine of a folder: start what is submitted with 'r2d2 jobs', follow it, try again what was lost.

    Ended, or killed, it leaves the jobs at work; started again, it takes them up again.
    """
    import logging
    import os
    import signal

    from r2d2.engine import EngineSettings, default_work_root, open_engine
    from r2d2.engine.alerting import alerting
    from r2d2.engine.server import serving
    from r2d2_base.files import make_folder
    from r2d2_base.progress import StopRequest

    settings = EngineSettings(
        work_root=(work_root or default_work_root()).absolute(),
        data_roots=tuple(root.absolute() for root in data_root or ()),
        code_roots=tuple(root.absolute() for root in code_root or ()),
        max_jobs=max_jobs,
        max_workers=max_workers,
        grace_s=grace,
        database=database,
    )
    make_folder(settings.work_root)
    os.chdir(settings.work_root)  # where its jobs work too: what is relative means the same to both
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s")
    end = StopRequest()
    with (
        open_engine(settings) as engine,
        serving(engine),
        alerting(engine, engine.settings.work_root, os.environ),
    ):
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, lambda number, _: end.make(signal.Signals(number).name))
        typer.echo(f"the engine works on {settings.work_root}; Ctrl-C ends it, and jobs go on", err=True)
        engine.work(end)


@app.command("rebuild")
def rebuild(
    work_root: Path = WORK_ROOT,
    database: str = typer.Option(None, help="URL of the index, where no engine runs."),
) -> None:
    """Make the index of jobs anew from their folders, by the engine that runs, or without one."""
    from r2d2.engine import EngineClient, EngineSettings, default_work_root, open_engine
    from r2d2.engine.errors import NotRunningError

    folder = work_root or default_work_root()
    try:
        made = EngineClient(folder).rebuild()
    except NotRunningError:
        with open_engine(EngineSettings(work_root=folder, database=database)) as engine:
            made = engine.rebuild()
    for sentence in made.left_out:
        typer.echo(f"r2d2: {sentence}", err=True)
    typer.echo(f"the index has {made.jobs} jobs", err=True)
    if made.left_out:
        raise typer.Exit(1)
