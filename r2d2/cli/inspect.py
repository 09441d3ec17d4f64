"""r2d2 inspect: what would be read from a source, without writing anything."""

from __future__ import annotations

import os
import re
import shutil
import sys
import textwrap
from collections import Counter
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from imgmed.recipe_names import AUTO, RECIPE_NAMES

if TYPE_CHECKING:
    from imgmed.archives import Unpacked
    from imgmed.inspection import InspectedCase, Inspection

__all__ = ["inspect"]

FEW, FEW_IN_FOLDER = 20, 5
NARROWEST = 60  # columns
_ODD_BYTE = re.compile("[\udc80-\udcff]")  # how Python keeps bytes of names that are no text
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")  # a name could change the terminal
HEADINGS = ("case", "patient", "shape", "spacing mm", "axes", "channels", "type", "class")
RECIPES = f"{', '.join((AUTO, *RECIPE_NAMES[:-1]))} or {RECIPE_NAMES[-1]}"


def _show_layouts(is_asked: bool) -> None:
    if is_asked:
        from imgmed.recipes import layouts

        for name, layout in layouts().items():
            _echo(f"{name}: {layout}")
        raise typer.Exit


class SpatialUnits(StrEnum):
    """What sizes in headers count in."""

    header = "header"
    mm = "mm"
    um = "um"
    m = "m"


def inspect(
    source: Path = typer.Argument(help="Folder of the study, an .npz, or an archive (.zip, .tar, .tar.gz, .tgz)."),
    recipe: str = typer.Option(AUTO, help=f"Layout of the source: {RECIPES}."),
    series: str = typer.Option(None, help="Which DICOM series, where a patient has several: part of its description."),
    spatial_units: SpatialUnits = typer.Option(
        SpatialUnits.header, help="What sizes in NIfTI, NRRD and MetaImage headers count in: header, as each file says."
    ),
    json: bool = typer.Option(False, "--json", help="Print JSON."),
    everything: bool = typer.Option(False, "--all", help="Print every case with its files, however many there are."),
    layouts: bool = typer.Option(
        False, "--layouts", help="Print how folders of each layout look.", is_eager=True, callback=_show_layouts
    ),
) -> None:
    """Show what 'prepare' would read: layout, cases, channels, labels, what is wrong and what is left over.

    Nothing is written; of the volumes only headers are read. Exit code 2 if there are problems.

    Example: r2d2 inspect Task04_Hippocampus --recipe msd
    """
    del layouts  # its callback prints them
    from imgmed.archives import opened_source
    from imgmed.inspection import inspect_source
    from r2d2.cli.progress import stages

    with stages() as report, opened_source(source, report) as (folder, unpacked):
        inspection = inspect_source(folder, recipe, series=series, spatial_units=spatial_units.value, progress=report)
    if json:
        _echo_json(inspection, unpacked)
    else:
        _echo_text(inspection, unpacked, None if everything else FEW)
    raise typer.Exit(2 if inspection.problems else 0)


def _echo_json(inspection: Inspection, unpacked: Unpacked | None) -> None:
    from json import dumps

    content = inspection.as_json()
    content["archive"] = None if unpacked is None else {"skipped": unpacked.skipped, "nested": unpacked.nested}
    typer.echo(
        _ODD_BYTE.sub(lambda byte: rf"\\x{ord(byte[0]) - 0xDC00:02x}", dumps(content, indent=1, ensure_ascii=False))
    )


def _echo_text(inspection: Inspection, unpacked: Unpacked | None, most: int | None) -> None:
    cases = inspection.cases
    _echo(f"{inspection.name}: layout {inspection.recipe} ({inspection.reason})")
    _echo(f"{_count(len(cases), 'case')} of {_count(inspection.patients, 'patient')} for {inspection.task}")
    if inspection.channels:
        _echo(f"channels: {', '.join(inspection.channels)}")
    if inspection.labels:
        _echo(f"labels: {', '.join(f'{value} {name}' for name, value in inspection.labels.items())}")
    for title, content in (("regions", inspection.regions), ("splits of the source", inspection.splits)):
        if content:
            _echo(f"{title}: {', '.join(f'{name} {value}' for name, value in content.items())}")
    if inspection.folds:
        _echo(f"folds of the source: {inspection.folds}")
    if inspection.categories:
        _echo(f"classes: {', '.join(f'{name} ({count})' for name, count in inspection.categories.items())}")
    for line in _ranges(cases):
        _echo(line)
    _echo_cases(cases, most)
    _echo_list("notes", [*inspection.notes, *_archive_notes(unpacked)], most)
    _echo_list("left out", inspection.left_out, None)
    unused = inspection.unused if most is None else _by_folder(inspection.unused)
    _echo_list(_count(len(inspection.unused), "unused file"), unused, most)
    _echo_list(_count(len(inspection.problems), "problem"), inspection.problems, None)


def _ranges(cases: Sequence[InspectedCase]) -> list[str]:
    """Smallest and largest shape and spacing, along each axis."""
    lines = []
    for title, values in (
        ("shape", [case.shape for case in cases if case.shape]),
        ("spacing mm", [case.spacing_mm for case in cases if case.spacing_mm]),
    ):
        if len(set(values)) > 1:
            axes = [(min(axis), max(axis)) for axis in zip(*values, strict=True)]
            spans = [_number(low) if low == high else f"{_number(low)}-{_number(high)}" for low, high in axes]
            lines.append(f"{title}: {' x '.join(spans)}")
    return lines


def _row(case: InspectedCase) -> tuple[str, ...]:
    return (
        case.case_id + (f" ({case.split})" if case.split else ""),
        case.patient or "-",
        " x ".join(map(str, case.shape)) if case.shape else "?",
        " x ".join(map(_number, case.spacing_mm)) if case.spacing_mm else "-",
        case.orientation or "-",
        "?" if case.channels is None else str(case.channels),
        case.dtype or "?",
        case.category or "-",
    )


def _echo_cases(cases: Sequence[InspectedCase], most: int | None) -> None:
    """What all cases share in a line, what differs as a table, and the files of the first case, or of all."""
    rows = [tuple(map(_printable, _row(case))) for case in cases]
    shared = [number for number in range(1, len(HEADINGS)) if len({row[number] for row in rows}) == 1]
    facts = [f"{HEADINGS[number]} {rows[0][number]}" for number in shared if rows[0][number] != "-"]
    if len(cases) > 1 and facts:
        _echo(f"each case: {', '.join(facts)}")
    used = [number for number in range(len(HEADINGS)) if number not in shared or len(cases) == 1]
    used = [number for number in used if any(row[number] != "-" for row in rows)]
    table = [[row[number] for number in used] for row in (HEADINGS, *rows[:most])]
    widths = [max(len(row[column]) for row in table) for column in range(len(used))]
    is_wide = sum(widths) + 2 * len(widths) > _columns()
    for number, row in enumerate(table if rows else ()):
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        if is_wide and number:
            typer.echo("\n".join(filter(None, (row[0], f"    {'  '.join(cells[1:])}".rstrip()))))
        else:
            typer.echo("  ".join(row if is_wide else cells).rstrip())
        if number and (most is None or number == 1):
            _echo_files(cases[number - 1])
    if most is not None and len(cases) > most:
        _echo(f"... and {_count(len(cases) - most, 'more case')}; --all shows every one")


def _echo_files(case: InspectedCase) -> None:
    for path in case.images:
        typer.echo(f"    image {_printable(path)}")
    if case.label is not None:
        typer.echo(f"    label {_printable(case.label)}")


def _by_folder(files: Sequence[str]) -> list[str]:
    """Files as they are, but a folder with many of them as one line."""
    folders = Counter(file.rpartition("/")[0] for file in files)
    many = {folder: count for folder, count in folders.items() if folder and count > FEW_IN_FOLDER}
    lines = dict.fromkeys(
        f"{folder}/ ({many[folder]} files)" if (folder := file.rpartition("/")[0]) in many else file for file in files
    )
    return list(lines)


def _echo_list(title: str, items: Sequence[str], most: int | None) -> None:
    if items:
        _echo(f"{title}:")
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
    """Print a sentence, in a terminal in lines that fit it; elsewhere it stays whole, to be searched."""
    if not sys.stdout.isatty() and "COLUMNS" not in os.environ:
        typer.echo(_printable(line))
        return
    indent = " " * (len(line) - len(line.lstrip()) + 4)
    wrapped = textwrap.wrap(
        _printable(line),
        _columns(),
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
    typer.echo("\n".join(wrapped))


def _columns() -> int:
    return max(NARROWEST, shutil.get_terminal_size((80, 24)).columns)


def _printable(text: str) -> str:
    """Names that are no valid text, or hold control characters, with their odd bytes written out."""
    shown = _ODD_BYTE.sub(lambda byte: rf"\x{ord(byte[0]) - 0xDC00:02x}", text)
    return _CONTROL.sub(lambda byte: rf"\x{ord(byte[0]):02x}", shown)
