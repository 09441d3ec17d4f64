"""r2d2 inspect: what would be read from a source, without writing anything."""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from imgmed.archives import Unpacked
    from imgmed.inspection import InspectedCase, Inspection

__all__ = ["inspect"]

FEW, FEW_IN_FOLDER = 20, 5
_ODD_BYTE = re.compile("[\udc80-\udcff]")  # how Python keeps bytes of names that are no text
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")  # a name could change the terminal
HEADINGS = ("case", "patient", "image", "label", "shape", "spacing mm", "axes", "channels", "type")
RECIPES = "auto, msd, nnunet, npz, kits, lits, brats, lasc2013, pairs, patients or classification"


class SpatialUnits(StrEnum):
    """What sizes in headers count in."""

    header = "header"
    mm = "mm"
    um = "um"
    m = "m"


def inspect(
    source: Path = typer.Argument(help="Folder of the study, an .npz, or an archive (.zip, .tar, .tar.gz, .tgz)."),
    recipe: str = typer.Option("auto", help=f"Layout of the source: {RECIPES}."),
    series: str = typer.Option(None, help="Which DICOM series, where a patient has several: part of its description."),
    spatial_units: SpatialUnits = typer.Option(
        SpatialUnits.header, help="What sizes in NIfTI, NRRD and MetaImage headers count in: header, as each file says."
    ),
    json: bool = typer.Option(False, "--json", help="Print JSON."),
    everything: bool = typer.Option(False, "--all", help="Print every case and file, however many there are."),
) -> None:
    """Show what 'prepare' would read: layout, cases, channels, labels, what is wrong and what is left over.

    Nothing is written; of the volumes only headers are read. Exit code 2 if there are problems.

    Example: r2d2 inspect Task04_Hippocampus --recipe msd
    """
    from imgmed.archives import opened_source
    from imgmed.inspection import inspect_source
    from r2d2.cli.progress import stages

    with stages() as report, opened_source(source, report) as (folder, unpacked):
        found = inspect_source(folder, recipe, series=series, spatial_units=spatial_units.value, progress=report)
    if json:
        _echo_json(found, unpacked)
    else:
        _echo_text(found, unpacked, None if everything else FEW)
    raise typer.Exit(2 if found.problems else 0)


def _echo_json(found: Inspection, unpacked: Unpacked | None) -> None:
    from json import dumps

    content = found.as_json()
    content["archive"] = None if unpacked is None else {"skipped": unpacked.skipped, "nested": unpacked.nested}
    typer.echo(
        _ODD_BYTE.sub(lambda byte: rf"\\x{ord(byte[0]) - 0xDC00:02x}", dumps(content, indent=1, ensure_ascii=False))
    )


def _echo_text(found: Inspection, unpacked: Unpacked | None, most: int | None) -> None:
    _echo(f"{found.name}: layout {found.recipe} ({found.reason})")
    _echo(f"{_count(len(found.cases), 'case')} of {_count(found.patients, 'patient')} for {found.task}")
    if found.channels:
        _echo(f"channels: {', '.join(found.channels)}")
    if found.labels:
        _echo(f"labels: {', '.join(f'{value} {name}' for name, value in found.labels.items())}")
    for title, content in (("regions", found.regions), ("splits of the source", found.splits)):
        if content:
            _echo(f"{title}: {', '.join(f'{name} {value}' for name, value in content.items())}")
    if found.categories:
        _echo(f"classes: {', '.join(f'{name} ({count})' for name, count in found.categories.items())}")
    for line in _ranges(found.cases):
        _echo(line)
    _echo_table([_row(case) for case in found.cases[:most]])
    if most is not None and len(found.cases) > most:
        _echo(f"... and {_count(len(found.cases) - most, 'more case')}; --all shows every one")
    _echo_list("note", [*found.notes, *_archive_notes(unpacked)], most)
    _echo_list("unused file", found.unused if most is None else _by_folder(found.unused), most, len(found.unused))
    _echo_list("problem", found.problems, None)


def _ranges(cases: Sequence[InspectedCase]) -> list[str]:
    """Smallest and largest shape and spacing, along each axis."""
    lines = []
    for title, values in (
        ("shape", [case.shape for case in cases if case.shape]),
        ("spacing mm", [case.spacing_mm for case in cases if case.spacing_mm]),
    ):
        if len(values) > 1:
            axes = [(min(axis), max(axis)) for axis in zip(*values, strict=True)]
            spans = [_number(low) if low == high else f"{_number(low)}-{_number(high)}" for low, high in axes]
            lines.append(f"{title}: {' x '.join(spans)}")
    return lines


def _row(case: InspectedCase) -> tuple[str, ...]:
    target = case.label or (f"class {case.category}" if case.category is not None else "-")
    return (
        case.case_id + (f" ({case.split})" if case.split else ""),
        case.patient or "-",
        ", ".join(case.images),
        target,
        " x ".join(map(str, case.shape)) if case.shape else "?",
        " x ".join(map(_number, case.spacing_mm)) if case.spacing_mm else "-",
        case.orientation or "-",
        "?" if case.channels is None else str(case.channels),
        case.dtype or "?",
    )


def _echo_table(rows: Sequence[tuple[str, ...]]) -> None:
    """A table that fits a terminal; elsewhere columns of plain text."""
    used = [n for n in range(len(HEADINGS)) if any(row[n] not in ("-", "") for row in rows)]
    table = [[_printable(row[n]) for n in used] for row in (HEADINGS, *rows)]
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.markup import escape
        from rich.table import Table

        shown = Table()
        for heading in table[0]:
            shown.add_column(heading, overflow="fold")
        for row in table[1:]:
            shown.add_row(*map(escape, row))
        Console().print(shown)
        return
    widths = [max(len(row[n]) for row in table) for n in range(len(used))]
    for row in table if len(table) > 1 else ():
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _by_folder(files: Sequence[str]) -> list[str]:
    """Files as they are, but a folder with many of them as one line."""
    folders = Counter(file.rpartition("/")[0] for file in files)
    many = {folder: count for folder, count in folders.items() if folder and count > FEW_IN_FOLDER}
    lines = dict.fromkeys(
        f"{folder}/ ({many[folder]} files)" if (folder := file.rpartition("/")[0]) in many else file for file in files
    )
    return list(lines)


def _echo_list(what: str, items: Sequence[str], most: int | None, count: int | None = None) -> None:
    if items:
        _echo(f"{_count(count or len(items), what)}:")
    for item in items[:most]:
        _echo(f"  {item}")
    if most is not None and len(items) > most:
        _echo(f"  ... and {len(items) - most} more; --all shows every one")


def _archive_notes(unpacked: Unpacked | None) -> list[str]:
    if unpacked is None:
        return []
    skipped = [
        f"left out of the archive: {name} (a device, or a link to a folder or to nothing)" for name in unpacked.skipped
    ]
    return skipped + [f"archive within the archive, not unpacked: {name}" for name in unpacked.nested]


def _number(value: float) -> str:
    return f"{value:.4g}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _echo(line: str) -> None:
    typer.echo(_printable(line))


def _printable(text: str) -> str:
    """Names that are no valid text, or hold control characters, with their odd bytes written out."""
    shown = _ODD_BYTE.sub(lambda byte: rf"\x{ord(byte[0]) - 0xDC00:02x}", text)
    return _CONTROL.sub(lambda byte: rf"\x{ord(byte[0]):02x}", shown)
