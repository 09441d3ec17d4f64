"""Every value of a metric as a point, with a box for each label: how scores spread over cases."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from r2d2.reports.formatting import heading, measure, shorten
from r2d2.reports.page import Html, figures, paragraph, section
from r2d2.reports.picture import COLOURS, Picture, encode, new_figure
from segeval import METRICS, Evaluation, Metric
from segeval.statistics.means import interval_of

__all__ = ["Spread", "distributions_section", "draw_distribution", "quartiles", "spread_of"]

_DRAWN = ("dice", "hd95_mm", "nsd")
_SMALLEST_BOX = 5
"""Values from which a box is drawn: quartiles of fewer say nothing."""

_FAR = 1.25
"""A value that was not measured lies off the scale where it is this much larger than the largest measured one."""

_JITTER = 0.17
_MEASURED, _NOT_MEASURED = COLOURS[0], COLOURS[1]


@dataclass(frozen=True, slots=True)
class Spread:
    """The values of a metric for one label.

    Attributes:
        name: of the label.
        values: float64, one for each case that has a value; inf is a value.
        is_measured: bool, whether the value was measured on two structures, or set by the convention.
        left_out: number of cases without a value.
    """

    name: str
    values: NDArray[np.float64]
    is_measured: NDArray[np.bool_]
    left_out: int


def spread_of(evaluation: Evaluation, metric: str) -> list[Spread]:
    """Collect the values of a metric, label by label."""
    spreads = []
    for column, name in enumerate(evaluation.labels):
        scores = [case.scores[column] for case in evaluation.cases]
        values = np.array([score[metric] for score in scores], np.float64)
        is_measured = np.array([score.status == "measured" for score in scores])
        valued = ~np.isnan(values)
        spreads.append(Spread(name, values[valued], is_measured[valued], int(np.count_nonzero(~valued))))
    return spreads


def quartiles(values: NDArray[np.float64]) -> tuple[float, float, float]:
    """Give lower quartile, median and upper quartile; never between a finite and an infinite value.

    >>> quartiles(np.array([1.0, 2.0, 3.0, 4.0, np.inf]))
    (2.0, 3.0, 4.0)
    """
    low, high = interval_of(values, confidence=0.5)
    return low, float(np.median(values)), high


def distributions_section(evaluation: Evaluation) -> Html:
    """Draw Dice, HD95 and NSD of each label (the first metrics where none of them was measured)."""
    measured = evaluation.conventions.metrics
    names = [name for name in _DRAWN if name in measured] or list(measured[:3])
    explanation = (
        "Each dot is a case. A cross was not measured: the structure is missing on one side, or its prediction is, and "
        "the value is that of the convention. Diamond: mean. Box, from five values on: quartiles and median; its "
        "whiskers reach the last values within 1.5 box widths. All values in the mean are in the box, crosses too."
    )
    pictures = [draw_distribution(evaluation, METRICS[name]) for name in names]
    return section("How the scores spread over cases", paragraph(explanation, "note"), figures(pictures, "wide"))


def draw_distribution(evaluation: Evaluation, metric: Metric) -> Picture:
    """Draw every value of a metric, a row for each label.

    Values that were not measured, and lie far beyond those that were (or are infinite), stand in a grey band at the
    right, so that they do not press all others together.

    Args:
        evaluation: the evaluation.
        metric: one of those measured.

    Returns:
        The picture.
    """
    spreads = spread_of(evaluation, metric.name)
    scale = _Scale.of(spreads, metric)
    figure = new_figure(5.6, 1.2 + (0.5 * len(spreads) if len(spreads) > 4 else 0.3 + 0.55 * max(2, len(spreads))))
    axes = figure.add_subplot()
    for row, spread in enumerate(spreads):
        _draw_row(axes, row, spread, scale, evaluation.seed)
    axes.set_ylim(len(spreads) - 0.45, -0.55)
    labels = [f"{shorten(spread.name, 24)}\n{_counts(spread)}" for spread in spreads]
    axes.set_yticks(range(len(spreads)), labels, fontsize=9)
    for text in axes.get_yticklabels():
        text.set_parse_math(False)
    scale.draw(axes, metric)
    axes.set_title(f"{heading(metric)} ({metric.better} is better)", fontsize=10, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="x", color="#dddddd", linewidth=0.7)
    axes.set_axisbelow(True)
    figure.legend(handles=_LEGEND, loc="outside lower center", ncols=3, fontsize=9, frameon=False)
    return encode(figure, _alt(spreads, metric), _caption(spreads, scale, metric))


@dataclass(frozen=True, slots=True)
class _Scale:
    """The axis: its ends, and where what lies beyond it is drawn (None: nothing does)."""

    low: float
    high: float
    band: tuple[float, float] | None
    beyond: tuple[float, float] | None

    @classmethod
    def of(cls, spreads: Sequence[Spread], metric: Metric) -> _Scale:
        values = np.concatenate([spread.values for spread in spreads])
        is_measured = np.concatenate([spread.is_measured for spread in spreads])
        finite = values[np.isfinite(values)]
        if not metric.unit and metric.better == "higher":
            return cls(*_shares(finite), None, None)
        near = values[is_measured & np.isfinite(values)]
        limit = float(near.max()) if near.size else 0.0
        is_far = ~np.isfinite(values) | (~is_measured & (values > _FAR * limit))
        if not is_far.any() or (not near.size and np.isfinite(values).all()):
            return cls(*_distances(float(finite.max(initial=0.0))), None, None)
        low, near_high = _distances(max(limit, float(values[~is_far].max(initial=0.0))))
        far = values[is_far]
        return cls(low, near_high, (1.05 * near_high, 1.2 * near_high), (float(far.min()), float(far.max())))

    def place(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Give where values are drawn."""
        if self.band is None:
            return values
        return np.where(values > self.high, sum(self.band) / 2, values)

    def draw(self, axes: Axes, metric: Metric) -> None:
        """Set the limits and ticks of the axis and draw the band beyond it."""
        if self.band is None or self.beyond is None:
            axes.set_xlim(self.low, self.high)
            axes.tick_params(axis="x", labelsize=9)
            return
        axes.set_xlim(self.low, self.band[1])
        axes.axvspan(*self.band, color="#e6e6e6", zorder=0, linewidth=0)
        ticks = [tick for tick in MaxNLocator(6).tick_values(self.low, self.high) if self.low <= tick <= self.high]
        least, most = (measure(value, metric) for value in self.beyond)
        words = least if least == most else f"{least} to {most}"
        ticks = [tick for tick in ticks if tick < 0.9 * self.high]
        axes.set_xticks([*ticks, sum(self.band) / 2], [*(f"{tick:g}" for tick in ticks), words], fontsize=9)


def _shares(finite: NDArray[np.float64]) -> tuple[float, float]:
    """Choose the ends of an axis of shares: up to 1, from a round value below the least."""
    least = float(finite.min(initial=1.0))
    margin = 0.04 * max(1.0 - least, 0.05)
    low = max(0.0, math.floor(20 * (least - margin)) / 20)
    return low - 0.02 * (1.0 - low), 1.0 + 0.02 * (1.0 - low)


def _distances(largest: float) -> tuple[float, float]:
    """Choose the ends of an axis of distances or volumes: from 0, with room for a point on either end."""
    length = max(largest, 1e-3)
    return -0.02 * length, 1.04 * length


def _draw_row(axes: Axes, row: int, spread: Spread, scale: _Scale, seed: int) -> None:
    values = scale.place(spread.values)
    if not values.size:
        return
    if values.size >= _SMALLEST_BOX and math.isfinite(quartiles(spread.values)[0]):
        _draw_box(axes, row, spread.values, scale)
    heights = row + np.random.default_rng((seed, row)).uniform(-_JITTER, _JITTER, values.size)
    size, opacity = (16, 0.75) if values.size <= 60 else (9, 0.4)
    axes.scatter(
        values[spread.is_measured],
        heights[spread.is_measured],
        size,
        color=_MEASURED,
        alpha=opacity,
        linewidths=0,
        zorder=3,
    )
    others = ~spread.is_measured
    axes.scatter(values[others], heights[others], 1.6 * size, color=_NOT_MEASURED, marker="x", linewidths=1.3, zorder=4)
    mean = float(np.mean(spread.values))
    is_beyond = scale.band is not None and mean > scale.high
    axes.scatter(
        [scale.high if is_beyond else mean],
        [row],
        34,
        color="white",
        edgecolors="#111111",
        marker=">" if is_beyond else "D",
        linewidths=1.1,
        zorder=5,
    )


def _draw_box(axes: Axes, row: int, values: NDArray[np.float64], scale: _Scale) -> None:
    low, median, high = quartiles(values)
    reach = 1.5 * (high - low)
    inside = values[(values >= low - reach) & (values <= high + reach)]
    first, last, low, median, high = (
        float(place) for place in scale.place(np.array([inside.min(), inside.max(), low, median, high]))
    )
    axes.add_patch(Rectangle((low, row - 0.26), high - low, 0.52, facecolor="#f2f2f2", edgecolor="#555555", zorder=1))
    axes.plot([median, median], [row - 0.26, row + 0.26], color="#111111", linewidth=1.8, zorder=2)
    for inner, outer in ((low, first), (high, last)):
        axes.plot([inner, outer], [row, row], color="#555555", linewidth=1.0, zorder=2)
        axes.plot([outer, outer], [row - 0.12, row + 0.12], color="#555555", linewidth=1.0, zorder=2)


def _counts(spread: Spread) -> str:
    return f"n = {spread.values.size}" + (f", {spread.left_out} left out" if spread.left_out else "")


def _alt(spreads: Sequence[Spread], metric: Metric) -> str:
    parts = []
    for spread in spreads:
        if not spread.values.size:
            parts.append(f"{spread.name}: no value")
            continue
        least, most = (measure(float(end), metric) for end in (spread.values.min(), spread.values.max()))
        median = measure(float(np.median(spread.values)), metric)
        parts.append(f"{spread.name}: median {median}, from {least} to {most}")
    return f"{heading(metric)} of every case, by label. {'; '.join(parts)}."


def _caption(spreads: Sequence[Spread], scale: _Scale, metric: Metric) -> str:
    others = sum(int(np.count_nonzero(~spread.is_measured)) for spread in spreads)
    total = sum(spread.values.size for spread in spreads)
    words = f"{metric.title}: {total} values, {others} of them not measured."
    if scale.band is None:
        return words
    return f"{words} Grey band: values beyond the scale, written below it. A triangle at its edge: so is the mean."


_LEGEND = [
    Line2D([], [], color=_MEASURED, marker="o", linestyle="none", markersize=4, label="measured"),
    Line2D([], [], color=_NOT_MEASURED, marker="x", linestyle="none", markersize=5, label="not measured (convention)"),
    Line2D(
        [],
        [],
        color="white",
        markeredgecolor="#111111",
        marker="D",
        linestyle="none",
        markersize=5.5,
        label="mean",
    ),
]
