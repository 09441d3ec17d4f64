"""The parts of a card's page, written as HTML and as Markdown from the same values."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from r2d2.reports.page import Html

__all__ = [
    "Block",
    "Command",
    "Paragraph",
    "Points",
    "Score",
    "Section",
    "Table",
    "blocks_of_words",
    "in_html",
    "in_markdown",
]


@dataclass(frozen=True)
class Paragraph:
    """Text; `is_note`: of less weight."""

    text: str
    is_note: bool = False


@dataclass(frozen=True)
class Points:
    """A list, each entry with a word that it begins with, or none."""

    entries: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Command:
    """What is typed into a terminal."""

    text: str


@dataclass(frozen=True)
class Score:
    """A figure with its interval, which may be empty."""

    value: str
    interval: str = ""


@dataclass(frozen=True)
class Table:
    """A table; columns of words stand flush left, figures flush right."""

    caption: str
    headers: Sequence[str]
    rows: Sequence[Sequence[str | Score]]
    text_columns: Sequence[int] = (0,)
    kind: str = ""


Block = Paragraph | Points | Command | Table


@dataclass(frozen=True)
class Section:
    """Blocks under a heading."""

    heading: str
    blocks: Sequence[Block]


def blocks_of_words(text: str) -> list[Block]:
    """Part what an author wrote at its empty lines; lines that begin with a dash are a list.

    >>> blocks_of_words("One.\\n\\n- two\\n- three")
    [Paragraph(text='One.', is_note=False), Points(entries=[('', 'two'), ('', 'three')])]
    """
    blocks: list[Block] = []
    for part in re.split(r"\n\s*\n", text.strip()):
        lines = [line.strip() for line in part.splitlines()]
        if lines and all(line.startswith("- ") for line in lines):
            blocks.append(Points([("", line[2:].strip()) for line in lines]))
        else:
            blocks.append(Paragraph(" ".join(lines)))
    return blocks


def in_html(
    title: str, subtitle: str, warnings: Sequence[str], sections: Iterable[Section], pictures: Html | None = None
) -> str:
    """Write a page that needs nothing else.

    Args:
        title: its heading.
        subtitle: the line below.
        warnings: what must be read first.
        sections: in order.
        pictures: a section of pictures, at the end; None: there are none.
    """
    from r2d2.reports.page import page, section, warning_box

    body = [warning_box(warnings), *(section(one.heading, *map(_html_of, one.blocks)) for one in sections)]
    return page(title, subtitle, [*body, *([] if pictures is None else [pictures])])


def _html_of(block: Block) -> Html:
    from r2d2.reports.page import Html, paragraph, table

    if isinstance(block, Paragraph):
        return paragraph(block.text, "note" if block.is_note else "")
    if isinstance(block, Command):
        return Html(f'<p class="command"><code>{escape(block.text)}</code></p>')
    if isinstance(block, Points):
        items = (
            f"<li>{f'<strong>{escape(word)}</strong>: ' if word else ''}{escape(text)}</li>"
            for word, text in block.entries
        )
        return Html(f"<ul>{''.join(items)}</ul>")
    rows = [[_html_of_cell(cell) for cell in row] for row in block.rows]
    return table(block.headers, rows, caption=block.caption, text_columns=block.text_columns, kind=block.kind)


def _html_of_cell(cell: str | Score) -> str | Html:
    from r2d2.reports.page import Html

    if isinstance(cell, str):
        return cell
    interval = f'<span class="interval">{escape(cell.interval)}</span>' if cell.interval else ""
    return Html(f"{escape(cell.value)}{interval}")


def in_markdown(title: str, subtitle: str, warnings: Sequence[str], sections: Iterable[Section]) -> str:
    """Write the same as Markdown (GitHub's, with tables)."""
    parts = [f"# {_plain(title)}", _plain(subtitle)]
    if warnings:
        parts.append("\n".join(["> **Read this first**", ">", *(f"> - {_plain(warning)}" for warning in warnings)]))
    for one in sections:
        parts.append(f"## {_plain(one.heading)}")
        parts += map(_markdown_of, one.blocks)
    return "\n\n".join(parts) + "\n"


def _markdown_of(block: Block) -> str:
    if isinstance(block, Paragraph):
        return _plain(block.text)
    if isinstance(block, Command):
        return f"    {block.text}"
    if isinstance(block, Points):
        return "\n".join(f"- {f'**{_plain(word)}**: ' if word else ''}{_plain(text)}" for word, text in block.entries)
    words = set(block.text_columns)
    lines = [
        [_plain(header) for header in block.headers],
        ["---" if column in words else "---:" for column in range(len(block.headers))],
        *([_markdown_of_cell(cell) for cell in row] for row in block.rows),
    ]
    return "\n".join([f"{_plain(block.caption)}", "", *(f"| {' | '.join(line)} |" for line in lines)])


def _markdown_of_cell(cell: str | Score) -> str:
    if isinstance(cell, str):
        return _plain(cell)
    return _plain(f"{cell.value} ({cell.interval})" if cell.interval else cell.value)


def _plain(text: str) -> str:
    """Write words so that Markdown takes none of their characters for its own."""
    line = re.sub(r"([\\`*_\[\]<>|#~])", r"\\\1", " ".join(text.split()))
    return re.sub(r"^(\d+)([.)])(?=\s)|^([-+])(?=\s)", r"\1\\\2\3", line)
