"""r2d2 convert: volumes become pictures, pictures become other pictures."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from imgmed.conversion import ConversionSummary

__all__ = ["app"]

EXAMPLES = (
    "Examples: 'r2d2 convert slices scans --out pictures --bits 16 --size 350x350' loses nothing but by the resizing; "
    "'r2d2 convert pictures photos --out small --format png --size 350x350 --grey'."
)

app = typer.Typer(
    help="Turn scans into pictures of their slices, or pictures into others. Runs go on where they stopped.",
    epilog=EXAMPLES,
    no_args_is_help=True,
)


class Format(StrEnum):
    """Formats of pictures."""

    png = "png"
    jpg = "jpg"


class Axis(StrEnum):
    """Axes across which slices are cut, in the order right, anterior, superior."""

    sagittal = "sagittal"
    coronal = "coronal"
    axial = "axial"


class Colour(StrEnum):
    """What the channels of a volume become."""

    grey = "grey"
    rgb = "rgb"


SOURCES = typer.Argument(help="Folder, sub-folders included, or one file.", metavar="SRC")
OUT = typer.Option(..., help="Folder for the pictures: new, empty, or of an earlier run.")
SIZE = typer.Option(None, metavar="HEIGHTxWIDTH", help="Resize, like 350x350.")
QUALITY = typer.Option(95, min=1, max=100, help="Quality of JPEG; lossy even at 100.")
WORKERS = typer.Option(None, min=1, help="Processes; by default all cores.")


@app.command("slices")
def slices(
    source: Path = SOURCES,
    out: Path = OUT,
    axis: Axis = typer.Option(Axis.axial, help="Axis across which slices are cut."),
    count: int = typer.Option(None, "--slices", min=1, help="Slices of each volume, evenly spread; by default all."),
    form: Format = typer.Option(Format.png, "--format", help="png is lossless, jpg is not."),
    bits: int = typer.Option(8, help="8, or 16 for png: whole intensities of 0 to 65535 are stored as they are."),
    colour: Colour = typer.Option(Colour.grey, help="A grey picture of each channel, or three as red, green, blue."),
    channels: str = typer.Option(None, metavar="N,N,...", help="Channels, from 0; by default all (rgb: 0,1,2)."),
    window: str = typer.Option(
        None,
        metavar="LOW,HIGH",
        help="What becomes black and white: intensities, like -100,240; or percentiles of each volume, like 0%,100%; "
        "or a window for CT: lung, abdomen, bone, brain ...; or 'values': stored as they are. By default 0.5%,99.5% "
        "for 8 bits, values for 16.",
    ),
    offset: int = typer.Option(0, help="Added to intensities stored as they are: 1024 for most CT."),
    size: str = SIZE,
    labels: bool = typer.Option(False, "--labels", help="Label maps: stored as they are, no value invented."),
    quality: int = QUALITY,
    workers: int = WORKERS,
) -> None:
    """Turn volumes (NIfTI, MetaImage, NRRD, DICOM) into a picture a slice: CASE_z000.png, upright, right at the left.

    Example: r2d2 convert slices scans --out pictures --format png --bits 16 --size 350x350
    """
    settings = {
        "axis": list(Axis).index(axis),
        "slices": count,
        "format": form.value,
        "bits": bits,
        "colour": colour.value,
        "channels": None if channels is None else _numbers("channels", channels, int),
        "offset": offset,
        "size": _size(size),
        "labels": labels,
        "quality": quality,
        **_window(window),
    }
    _run("slices", source, out, workers, settings)


@app.command("pictures")
def pictures(
    source: Path = SOURCES,
    out: Path = OUT,
    form: Format = typer.Option(
        None, "--format", help="png is lossless, jpg is not; by default JPEG stays, rest: png."
    ),
    grey: bool = typer.Option(False, "--grey", help="Colour becomes 0.299 R + 0.587 G + 0.114 B."),
    size: str = SIZE,
    labels: bool = typer.Option(False, "--labels", help="Label maps: no value is invented."),
    quality: int = QUALITY,
    workers: int = WORKERS,
) -> None:
    """Turn pictures (PNG, JPEG, TIFF, BMP) into grey ones, another format, another size.

    Example: r2d2 convert pictures photos --out small --grey --format png --size 350x350
    """
    settings = {
        "format": None if form is None else form.value,
        "grey": grey,
        "size": _size(size),
        "labels": labels,
        "quality": quality,
    }
    _run("pictures", source, out, workers, settings)


def _run(kind: str, source: Path, out: Path, workers: int | None, settings: dict[str, Any]) -> None:
    from r2d2.cli.progress import stages
    from r2d2.tasks.conversion import convert

    with stages() as report:
        summary = convert("slices" if kind == "slices" else "pictures", source, out, workers, report, **settings)
    typer.echo(_said(summary, out), err=True)
    if summary.gone:
        typer.echo(
            f"note: {len(summary.gone)} sources are no more, their pictures are: {', '.join(summary.gone)}", err=True
        )


def _said(summary: ConversionSummary, out: Path) -> str:
    from r2d2.reports.formatting import plural

    there = f"{plural(summary.pictures, 'picture')} of {plural(summary.sources, 'file')} in {out}"
    if not summary.converted:
        return f"nothing to do: {there} are up to date"
    again = summary.sources - summary.converted
    return f"{there}" + (f" ({again} were done already)" if again else "")


def _size(text: str | None) -> tuple[int, int] | None:
    """'350x250' as (height, width); one number is a square."""
    from imgmed.errors import ConversionError

    if text is None:
        return None
    sides = text.lower().replace("×", "x").split("x")
    if len(sides) not in (1, 2) or not all(side.isdecimal() for side in sides):
        raise ConversionError(f"--size is HEIGHTxWIDTH in pixels, like 350x350; received {text}")
    return int(sides[0]), int(sides[-1])


def _window(text: str | None) -> dict[str, Any]:
    """'-100,240' are intensities, '1%,99%' percentiles, 'lung' is a window for CT, 'values' is no scaling."""
    from imgmed.intensity_settings import WINDOWS

    if text is None or text == "values" or text in WINDOWS:
        return {"window": text}
    numbers = _numbers("window", text.replace("%", ""), float, 2)
    return {"window": "percentiles", "percentiles": numbers} if text.count("%") == 2 else {"window": numbers}


def _numbers(option: str, text: str, kind: type, wanted: int | None = None) -> tuple[Any, ...]:
    from imgmed.errors import ConversionError

    parts = text.replace(":", ",").split(",")
    try:
        numbers = tuple(kind(part) for part in parts)
    except ValueError:
        numbers = ()
    if not numbers or (wanted is not None and len(numbers) != wanted):
        example = "0,1,2" if wanted is None else "-100,240"
        raise ConversionError(f"--{option} is numbers with commas between, like {example}; received {text}")
    return numbers
