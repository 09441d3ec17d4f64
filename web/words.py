"""Times, spans and numbers as pages write them: with their units, and times in the zone of whoever reads."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from flask import url_for
from markupsafe import Markup, escape

__all__ = ["FILTERS", "moment", "options", "size", "span", "spark"]

_JOB = re.compile(r"\bjob ([1-9][0-9]{0,17})\b")
_SPANS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


@lru_cache(maxsize=4096)
def moment(seconds: float | None) -> Markup:
    """Write a time; the page's script shows it in the browser's own zone.

    >>> moment(0.0)
    Markup('<time datetime="1970-01-01T00:00:00Z">1970-01-01 00:00:00 UTC</time>')
    """
    if seconds is None:
        return Markup("")
    at = datetime.fromtimestamp(seconds, UTC)
    return Markup('<time datetime="{}">{}</time>').format(
        at.strftime("%Y-%m-%dT%H:%M:%SZ"), at.strftime("%Y-%m-%d %H:%M:%S UTC")
    )


def span(seconds: float | None) -> str:
    """Write how long something takes, by its two largest units.

    >>> span(3725), span(42.4), span(0.2)
    ('1 h 2 min', '42 s', '0 s')
    """
    if seconds is None:
        return ""
    left, words = max(round(seconds), 0), []
    for length, unit in _SPANS:
        if left >= length:
            words.append(f"{left // length} {unit}")
            left %= length
        elif words:
            break
    return " ".join(words[:2]) or "0 s"


def size(number: float | None) -> str:
    """Write a number of bytes.

    >>> size(1536), size(2 * 2**30)
    ('1.5 KiB', '2.0 GiB')
    """
    if number is None:
        return ""
    value, unit = float(number), "B"
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if value < 1024 or unit == "TiB":
            break
        value /= 1024
    return f"{value:.0f} B" if unit == "B" else f"{value:.1f} {unit}"


def spark(values: Sequence[float | None], width: float = 100, height: float = 24) -> str:
    """Write the points of a small curve, from its least to its largest value, as SVG has them.

    >>> spark([0.0, None, 1.0], 10, 4)
    '0.0,4.0 10.0,0.0'
    """
    numbers = [(at, value) for at, value in enumerate(values) if value is not None]
    if not numbers:
        return ""
    least, largest = min(value for _, value in numbers), max(value for _, value in numbers)
    steps, spread = max(len(values) - 1, 1), (largest - least) or 1.0
    return " ".join(f"{width * at / steps:.1f},{height * (1 - (value - least) / spread):.1f}" for at, value in numbers)


def linked(text: str) -> Markup:
    """Write a sentence with a link at each job that it names."""

    def link(found: re.Match[str]) -> str:
        return Markup('<a href="{}">{}</a>').format(url_for("runs.show", job_id=int(found[1])), found[0])

    return Markup(_JOB.sub(link, str(escape(text))))


def options(choices: Iterable[str | Sequence[str]], chosen: str = "") -> Markup:
    """Write what a field offers; a long list is written once while it stays as it is.

    Args:
        choices: words, or pairs of a word and what people read.
        chosen: the word that stands in the field.

    >>> options(["a", ("b", "<B>")], "b")
    Markup('<option value="a">a</option><option value="b" selected>&lt;B&gt;</option>')
    """
    return _options(tuple((one, one) if isinstance(one, str) else (one[0], one[1]) for one in choices), chosen)


@lru_cache(maxsize=32)
def _options(pairs: tuple[tuple[str, str], ...], chosen: str) -> Markup:
    said = {True: Markup(" selected"), False: ""}
    return Markup("").join(
        Markup('<option value="{}"{}>{}</option>').format(word, said[word == chosen], text) for word, text in pairs
    )


FILTERS: dict[str, Callable[..., Any]] = {
    "linked": linked,
    "moment": moment,
    "options": options,
    "size": size,
    "spark": spark,
    "span": span,
}
