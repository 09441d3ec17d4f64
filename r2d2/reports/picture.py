"""Figures drawn into memory and put into the page as they are."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

__all__ = ["COLOURS", "Picture", "axes_over_epochs", "encode", "new_figure"]

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442")
"""The palette of Okabe and Ito (2008), which people with any colour vision can tell apart."""

_DPI = 120


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture with the words that stand for it.

    Attributes:
        png: the file's bytes.
        width: in CSS pixels.
        height: in CSS pixels.
        alt: what it shows, for those who cannot see it.
        caption: what stands below it.
    """

    png: bytes
    width: int
    height: int
    alt: str
    caption: str

    @property
    def data_uri(self) -> str:
        """The picture as an address that holds it."""
        return "data:image/png;base64," + base64.b64encode(self.png).decode("ascii")


def new_figure(width_inches: float, height_inches: float) -> Figure:
    """Give an empty figure, without the state that pyplot would share between callers."""
    figure = Figure(figsize=(width_inches, height_inches), dpi=_DPI, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def axes_over_epochs(title: str = "", width_inches: float = 4.4, height_inches: float = 2.7) -> tuple[Figure, Axes]:
    """Give an empty figure with its axes, for what changes from epoch to epoch."""
    figure = new_figure(width_inches, height_inches)
    axes = figure.add_subplot()
    axes.set_title(title, fontsize=10, loc="left")
    axes.set_xlabel("Epoch", fontsize=9)
    axes.tick_params(labelsize=8)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#dddddd", linewidth=0.7)
    return figure, axes


def encode(figure: Figure, alt: str, caption: str) -> Picture:
    """Draw a figure.

    Args:
        figure: what to draw.
        alt: what it shows, in words.
        caption: what stands below it.

    Returns:
        The picture, shown at 80 pixels an inch.
    """
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    width, height = figure.get_size_inches()
    return Picture(buffer.getvalue(), round(80 * width), round(80 * height), alt, caption)
