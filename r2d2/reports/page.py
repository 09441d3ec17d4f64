"""The page: HTML from values, with everything escaped that came from outside."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from r2d2.reports.picture import Picture
from r2d2.reports.style import STYLE

__all__ = ["Cell", "Html", "figures", "page", "paragraph", "section", "subheading", "table", "warning_box"]


class Html(str):
    """Text that is HTML already; any other text is escaped."""

    __slots__ = ()


Cell = str | Html


def page(title: str, subtitle: str, body: Iterable[Html]) -> Html:
    """Put the parts of a page together.

    Args:
        title: heading and name of the page.
        subtitle: the line below it.
        body: sections in order.

    Returns:
        A whole document.
    """
    content = "\n".join(body)
    return Html(
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<link rel="icon" href="data:,">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n"
        f"<header><h1>{escape(title)}</h1><p class='subtitle'>{escape(subtitle)}</p></header>\n"
        f"{content}\n</main>\n</body>\n</html>\n"
    )


def section(heading: str, *parts: Html) -> Html:
    """Put parts under a heading.

    >>> section("A & B", paragraph("text"))
    '<section><h2>A &amp; B</h2>\\n<p>text</p></section>'
    """
    return Html(f"<section><h2>{escape(heading)}</h2>\n" + "\n".join(parts) + "</section>")


def subheading(text: str) -> Html:
    """Head a part of a section.

    >>> subheading("A & B")
    '<h3>A &amp; B</h3>'
    """
    return Html(f"<h3>{escape(text)}</h3>")


def paragraph(text: Cell, kind: str = "") -> Html:
    """Make a paragraph.

    >>> paragraph("a < b", kind="note")
    '<p class="note">a &lt; b</p>'
    """
    attribute = f' class="{escape(kind)}"' if kind else ""
    return Html(f"<p{attribute}>{_escape(text)}</p>")


def table(
    headers: Sequence[Cell],
    rows: Iterable[Sequence[Cell]],
    *,
    caption: str,
    text_columns: Iterable[int] = (0,),
    groups: Sequence[tuple[str, int]] = (),
    kind: str = "",
) -> Html:
    """Make a table that scrolls sideways where it is wider than the page.

    Args:
        headers: a heading for each column.
        rows: the cells.
        caption: what the table holds.
        text_columns: columns of words, set flush left; all others hold figures, set flush right.
        groups: headings above the headings, each with the number of columns that it spans.
        kind: "scores" keeps the first column in sight; "prose" lets it wrap.

    Returns:
        The table.
    """
    words = set(text_columns)
    above = ""
    if groups:
        spans = "".join(
            f'<th colspan="{span}" scope="colgroup">{escape(name)}</th>' if name else f'<td colspan="{span}"></td>'
            for name, span in groups
        )
        above = f'<tr class="groups">{spans}</tr>'
    head = "".join(
        f'<th scope="col"{"" if column in words else _FIGURE}>{_escape(text)}</th>'
        for column, text in enumerate(headers)
    )
    lines = []
    for row in rows:
        cells = [f'<th scope="row">{_escape(row[0])}</th>']
        cells += [
            f"<td{'' if column in words else _FIGURE}>{_escape(text)}</td>"
            for column, text in enumerate(row[1:], start=1)
        ]
        lines.append(f"<tr>{''.join(cells)}</tr>")
    return Html(
        f'<div class="{escape(f"scroll {kind}".rstrip())}" tabindex="0" role="region" aria-label="{escape(caption)}">'
        f"<table><caption><span>{escape(caption)}</span></caption><thead>{above}<tr>{head}</tr></thead>\n<tbody>"
        + "\n".join(lines)
        + "</tbody></table></div>"
    )


def figures(pictures: Iterable[Picture], kind: str = "") -> Html:
    """Lay pictures out side by side, as many as fit.

    Args:
        pictures: what to show.
        kind: "wide" gives each more room, "small" less.

    Returns:
        The pictures, embedded.
    """
    items = [
        f'<figure><img src="{picture.data_uri}" width="{picture.width}" height="{picture.height}" '
        f'alt="{escape(picture.alt)}"><figcaption>{escape(picture.caption)}</figcaption></figure>'
        for picture in pictures
    ]
    return Html(f'<div class="figures {escape(kind)}">' + "\n".join(items) + "</div>")


def warning_box(warnings: Sequence[str]) -> Html:
    """Show warnings where they cannot be missed; nothing where there are none."""
    if not warnings:
        return Html("")
    items = "".join(f"<li>{escape(warning)}</li>" for warning in warnings)
    return Html(f'<aside class="warnings"><h2>Read this first</h2><ul>{items}</ul></aside>')


_FIGURE = ' class="figure"'


def _escape(text: Cell) -> str:
    return text if isinstance(text, Html) else escape(text)
