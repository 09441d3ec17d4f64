"""Text from elsewhere, such as a server's, as a terminal may show it."""

from __future__ import annotations

import unicodedata

__all__ = ["is_printable", "printable"]


def printable(text: str, kept: str = "") -> str:
    """Leave out what would move a terminal's cursor, colour it, or turn letters round.

    Args:
        text: from elsewhere.
        kept: such characters that stay, like line ends.

    >>> printable("a\\x1b[31mb\\nc"), printable("a\\nb", kept="\\n")
    ('a[31mbc', 'a\\nb')
    """
    return "".join(letter for letter in text if letter in kept or not unicodedata.category(letter).startswith("C"))


def is_printable(text: str) -> bool:
    """Tell whether there is nothing to leave out."""
    return printable(text) == text
