"""r2d2 init: a commented configuration to start from."""

from __future__ import annotations

from pathlib import Path

import typer

__all__ = ["init"]


def init(
    settings: list[str] = typer.Argument(
        None, metavar="KEY=VALUE", help="Settings to begin with, like network.architecture=fcn."
    ),
    dataset: Path = typer.Option(None, help="Prepared dataset: take the settings proposed for it."),
    out: Path = typer.Option(Path("r2d2.yaml"), help="File to write; it must not exist yet."),
) -> None:
    """Write a commented r2d2.yaml, which 'r2d2 train' in this folder then uses.

    Example: r2d2 init --dataset work/hippocampus network.architecture=fcn
    """
    from imgmed import PreparedDataset
    from r2d2.config import Configuration, asked_network, commented_yaml, configure
    from r2d2.proposal import propose_here
    from r2d2_base.errors import OutputExistsError
    from r2d2_base.files import make_folder, write_bytes

    if out.exists():
        raise OutputExistsError(f"{out} already exists; edit it, or give another --out")
    configuration, reasons = Configuration(), {}
    if dataset is not None:
        architecture, dimensions = asked_network({}, settings or ())
        known = architecture or configuration.network.architecture
        proposal = propose_here(PreparedDataset.read(dataset), dimensions=dimensions, architecture=known)
        configuration, reasons = proposal.configuration, proposal.reasons
    if settings:
        configuration = configure(configuration.model_dump(mode="json"), assignments=settings)
    if configuration.dataset is not None:
        configuration = configuration.model_copy(update={"dataset": configuration.dataset.absolute()})
    make_folder(out.parent)
    title = "Settings of R2D2; every key may be left out."
    write_bytes(out, commented_yaml(configuration, title, reasons).encode())
    typer.echo(f"wrote {out}; next: r2d2 train", err=True)
