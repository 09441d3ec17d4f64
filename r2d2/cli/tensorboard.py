"""r2d2 tensorboard: the curves of all trainings below a folder."""

from __future__ import annotations

import threading
from contextlib import suppress
from pathlib import Path

import typer

from r2d2_base.errors import ConfigurationError

__all__ = ["EXAMPLE", "tensorboard"]

MOST_PICTURES = 200
"""Of a slice; more than a run of a million epochs leaves."""
EXAMPLE = "Example: r2d2 tensorboard work --port 6006"


def tensorboard(
    folder: Path = typer.Argument(Path(), metavar="[FOLDER]", help="A run folder, or one with many below it."),
    port: int = typer.Option(6006, min=0, max=65535, help="Port to listen on; 0: a free one."),
) -> None:
    """Show curves, sample predictions and networks of all trainings below a folder in TensorBoard, until Ctrl-C.

    Only this host can connect. Trainings that begin meanwhile are shown too.
    """
    if not folder.is_dir():
        raise ConfigurationError(f"{folder} is no folder; name the --run-dir of a training, or a folder with several")
    from tensorboard import program
    from tensorboard.util import tb_logging

    tb_logging.get_logger().setLevel("ERROR")
    server = program.TensorBoard()
    where = ["--logdir", str(folder.absolute()), "--host", "127.0.0.1", "--port", str(port)]
    where += ["--samples_per_plugin", f"images={MOST_PICTURES}"]  # else 10 of a slice, drawn by chance
    server.configure(["tensorboard", *where, "--load_fast", "false"])  # the other way is an experiment, as it says
    try:
        address = server.launch()
    except program.TensorBoardServerException as error:
        raise ConfigurationError(f"TensorBoard cannot listen on port {port}: {error.msg}; choose another") from error
    if next(folder.rglob("events.out.tfevents.*"), None) is None:
        typer.echo(f"no training has left curves below {folder} yet", err=True)
    typer.echo(f"TensorBoard shows {folder} at {address} until Ctrl-C", err=True)
    with suppress(KeyboardInterrupt):
        threading.Event().wait()
