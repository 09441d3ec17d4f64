"""r2d2 presets: the settings of published use cases that 'prepare --preset' knows."""

from __future__ import annotations

import typer

__all__ = ["presets"]


def presets() -> None:
    """List the presets of 'r2d2 prepare --preset', with what each is for and where its numbers come from.

    Example: r2d2 prepare Task07_Pancreas --preset pancreas --out work/pancreas
    """
    from imgmed.presets import describe_preset, preset_names

    for name in preset_names():
        typer.echo(f"{name}: {describe_preset(name)}")
