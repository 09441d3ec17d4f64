"""r2d2 doctor: what is installed, and what brings the rest."""

from __future__ import annotations

import typer

__all__ = ["doctor"]


def doctor() -> None:
    """Say what is installed, what it was built with, and the command for each thing missing.

    Example: r2d2 doctor
    """
    from r2d2.doctor import examine, render

    diagnosis = examine()
    typer.echo(render(diagnosis))
    raise typer.Exit(0 if diagnosis.is_ready_to_train else 1)
