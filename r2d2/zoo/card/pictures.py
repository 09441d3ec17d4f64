"""The pictures on a model's page, card.html: taken out of it, all else of which, as others wrote it, stays unused."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from html.parser import HTMLParser

__all__ = ["CardPicture", "pictures_of_page"]

MOST_PICTURES = 12
LARGEST_PICTURE = 4_000_000
LARGEST_SIDE = 4000
LONGEST_WORDS = 500
_PNG = b"\x89PNG\r\n\x1a\n"
_EMBEDDED = "data:image/png;base64,"


@dataclass(frozen=True)
class CardPicture:
    """A picture with the words that stand for it.

    Attributes:
        png: the file's bytes.
        width, height: in CSS pixels.
        alt: what it shows.
        caption: what stands below it.
    """

    png: bytes
    width: int
    height: int
    alt: str
    caption: str


def pictures_of_page(page: str) -> tuple[CardPicture, ...]:
    """Find the pictures that are embedded in a page as PNG, in their order; what is no such picture is passed over.

    Args:
        page: card.html, as `card_html` writes it.

    >>> pictures_of_page('<figure><img src="https://example.org/x.png" width="9" height="9"></figure>')
    ()
    """
    reader = _Reader()
    reader.feed(page)
    return tuple(reader.found[:MOST_PICTURES])


class _Reader(HTMLParser):
    """Collects figures: an image, and the words of its caption."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[CardPicture] = []
        self._image: dict[str, str] | None = None
        self._caption: list[str] = []
        self._within: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "figure":
            self._image, self._caption, self._within = None, [], {"figure"}
        elif tag == "figcaption":
            self._within.add(tag)
        elif tag == "img" and "figure" in self._within and self._image is None:
            self._image = {name: value or "" for name, value in attrs}

    def handle_data(self, data: str) -> None:
        if "figcaption" in self._within:
            self._caption.append(data)

    def handle_endtag(self, tag: str) -> None:
        if tag == "figure" and self._image is not None and len(self.found) < MOST_PICTURES:
            picture = _picture(self._image, "".join(self._caption))
            self.found += [] if picture is None else [picture]
        if tag == "figure":
            self._image = None
        self._within.discard(tag)


def _picture(image: dict[str, str], caption: str) -> CardPicture | None:
    source = image.get("src", "")
    if not source.startswith(_EMBEDDED) or len(source) > LARGEST_PICTURE * 4 // 3 + len(_EMBEDDED) + 4:
        return None
    sides = [image.get(name, "") for name in ("width", "height")]
    try:
        png = base64.b64decode(source.removeprefix(_EMBEDDED), validate=True)
    except (binascii.Error, ValueError):
        return None
    if not png.startswith(_PNG) or not all(side.isascii() and side.isdecimal() and len(side) < 6 for side in sides):
        return None
    width, height = (min(max(int(side), 1), LARGEST_SIDE) for side in sides)
    return CardPicture(png, width, height, image.get("alt", "")[:LONGEST_WORDS], caption.strip()[:LONGEST_WORDS])
