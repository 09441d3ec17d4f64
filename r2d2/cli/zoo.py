"""r2d2 zoo: models with names and versions, that others can use, check and start from."""

from __future__ import annotations

import typer

__all__ = ["app"]

EXAMPLES = (
    "Examples: 'r2d2 zoo list'; 'r2d2 predict --model zoo:hippocampus-unet --input scans --out work/predictions'; "
    "'r2d2 train --dataset work/new transfer.start_from=zoo:hippocampus-unet'."
)

app = typer.Typer(
    help="Models with names and versions: found, fetched, checked, published.",
    epilog=EXAMPLES,
    no_args_is_help=True,
)


@app.callback()
def _zoo() -> None:
    """Take nothing: commands follow."""
