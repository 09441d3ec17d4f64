"""r2d2 zoo export: a model for programs without R2D2."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

import typer

from r2d2.cli.environment import quiet_tensorflow

__all__ = ["KindName", "export"]


class KindName(StrEnum):
    """What a model is exported as."""

    onnx = "onnx"
    savedmodel = "savedmodel"


def export(
    model: str = typer.Argument(..., metavar="MODEL", help="Run folder, model.keras, or zoo:NAME."),
    out: Path = typer.Option(..., help="The ONNX file, or the folder of the SavedModel; it must not exist."),
    to: KindName = typer.Option(KindName.onnx, help="An ONNX file, or TensorFlow's SavedModel."),
    dataset: Path = typer.Option(None, help="Prepared dataset whose slices it is checked on; else generated ones."),
    trust_code: bool = typer.Option(
        False, "--trust-code", help="Import the module that the model's card names for layers of its own."
    ),
    verbose: bool = typer.Option(False, "-v", "--verbose", help="Show TensorFlow's own messages."),
) -> None:
    """Write a model for programs without R2D2, in float32, checked on slices against the network itself.

    Example: r2d2 zoo export work/run --to onnx --out liver.onnx
    """
    quiet_tensorflow(verbose)
    from r2d2.cli.progress import stages
    from r2d2.tasks.zoo_export import ExportSettings
    from r2d2.tasks.zoo_export import export as export_model

    asked = ExportSettings(model=model, to=to.value, out=out, dataset=dataset, trust_code=trust_code)
    with stages() as report:
        exported = export_model(asked, progress=report)
    if exported.rounded is not None:
        typer.echo(f"the model computes in {exported.precision}, its export in float32: {exported.rounded}", err=True)
    typer.echo(f"checked against the network in Keras: {exported.agreement}", err=True)
    typer.echo(f"wrote {exported.path}", err=True)
    if exported.left_out:
        others = ", ".join(map(str, exported.left_out))
        typer.echo(f"note: this is one of several networks that are asked together; the others: {others}", err=True)
