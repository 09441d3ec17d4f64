"""Intensities: limits, percentiles, statistics and normalisation of arrays with the channels last."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Self, get_args

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from imgmed.intensity_settings import Bounds, NormalisationKind

__all__ = [
    "IntensityStatistics",
    "Normalisation",
    "clip_channels",
    "percentile_bounds",
    "rescale_channels",
    "sorted_percentiles",
]

CONSTANT = 1e-6  # a standard deviation below this part of the mean is rounding of float32
SAMPLE = 2**15  # voxels that guess where a percentile lies


def clip_channels(image: np.ndarray, bounds: Bounds, out: np.ndarray | None = None) -> np.ndarray:
    """Return an image (slices, ..., channels) limited to (lowest, highest) per channel, new float32 in C order.

    Args:
        image: real numbers.
        bounds: of each channel.
        out: float32 of the same shape and order that gets the result, such as the image itself; None: a new one.

    >>> clip_channels(np.array([[-5.0, 1.0, 9.0]]).T, ((0.0, 2.0),)).ravel().tolist()
    [0.0, 1.0, 2.0]
    """
    result = np.empty(image.shape, np.float32) if out is None else out
    if image.flags.c_contiguous and result.flags.c_contiguous:
        low, high = np.array(bounds, np.float32).T
        rows, low, high = _as_rows(image, low, high)
        np.clip(rows, low, high, out=result.reshape(rows.shape))
        return result
    for channel, (lowest, highest) in enumerate(bounds):
        source, target = image[..., channel], result[..., channel]
        np.clip(source, np.float32(lowest), np.float32(highest), out=target)
    return result


def rescale_channels(image: np.ndarray, bounds: Bounds, wanted: tuple[float, float], limits: Bounds) -> np.ndarray:
    """Return an image (slices, ..., channels) whose `bounds` per channel are mapped to `wanted`, new float32.

    A channel without range (both bounds the same) becomes the lower wanted value. Nothing leaves `limits`, which
    are (lowest, highest) per channel after the mapping: rounding could.

    >>> image = np.array([[0.0, 5.0, 10.0]]).T
    >>> rescale_channels(image, ((0.0, 10.0),), (-1.0, 1.0), ((-1.0, 1.0),)).ravel().tolist()
    [-1.0, 0.0, 1.0]
    """
    low, high = wanted
    result = np.empty(image.shape, np.float32)
    for channel, (first, last) in enumerate(bounds):
        factor = (high - low) / (last - first) if last > first else 0.0
        target = result[..., channel]
        np.subtract(image[..., channel], np.float32(first), out=target, dtype=np.float32)
        target *= np.float32(factor)
        target += np.float32(low)
        least, most = limits[channel]
        np.clip(target, np.float32(least), np.float32(most), out=target)
    return result


def percentile_bounds(image: np.ndarray, percentiles: tuple[float, float]) -> Bounds:
    """Return the two percentiles (linear interpolation) of each channel of an image (..., channels).

    Exact, as by `numpy.percentile`; of large images only the voxels near a percentile are sorted.

    >>> percentile_bounds(np.arange(101.0)[:, None], (1, 99))
    ((1.0, 99.0),)
    """
    low, high = percentiles
    found = []
    for channel in np.moveaxis(image, -1, 0):
        forwards = channel[tuple(slice(None, None, -1 if stride < 0 else 1) for stride in channel.strides)]
        values = forwards.ravel(order="K")  # a view where the voxels lie together in memory
        sample = np.sort(values[:: max(1, values.size // SAMPLE) | 1])
        found.append((_percentile(values, sample, low), _percentile(values, sample, high)))
    return tuple(found)


def sorted_percentiles(values: np.ndarray, percentiles: Sequence[float]) -> np.ndarray:
    """Return several percentiles (linear interpolation) of an array, float64; quicker than NumPy's.

    >>> sorted_percentiles(np.array([3.0, 1.0, 2.0]), (0, 25, 100)).tolist()
    [1.0, 1.5, 3.0]
    """
    ordered = np.sort(values, axis=None)
    places = np.asarray(percentiles, np.float64) / 100 * (ordered.size - 1)
    below = places.astype(np.intp)
    low, high = (ordered[rank].astype(np.float64) for rank in (below, np.minimum(below + 1, ordered.size - 1)))
    found: np.ndarray = low + (high - low) * (places - below)
    return found


def _percentile(values: np.ndarray, sample: np.ndarray, percentile: float) -> float:
    """One percentile of (n,) `values`, of which `sample` is an ordered part."""
    if values.size == 1:
        return float(values[0])
    place = percentile / 100 * (values.size - 1)
    rank = min(int(place), values.size - 2)  # it lies between the values of this rank and the next
    guess = percentile / 100 * (sample.size - 1)
    reach = 5 * (guess * (1 - percentile / 100)) ** 0.5 + 5
    if percentile <= 50:
        lower, upper = _ordered_pair(values, sample[min(sample.size - 1, int(guess + reach))], rank, np.less)
    else:
        mirrored = values.size - 2 - rank
        upper, lower = _ordered_pair(values, sample[max(0, int(guess - reach))], mirrored, np.greater)
    return float(lower) + (float(upper) - float(lower)) * (place - rank)


def _ordered_pair(values: np.ndarray, limit: np.number, rank: int, beyond: np.ufunc) -> tuple[np.number, np.number]:
    """The values of `rank` and `rank` + 1 from the end that `beyond` points to; `limit` is a guess past both."""
    mask = beyond(values, limit)
    count = int(np.count_nonzero(mask))
    if rank + 1 < count:
        values = values[mask]
    elif count <= rank and rank + 1 < count + int(np.count_nonzero(values == limit)):
        return limit, limit
    del mask
    places = [rank, rank + 1] if beyond is np.less else [values.size - 1 - rank, values.size - 2 - rank]
    ordered = np.partition(values, sorted(places))
    return ordered[places[0]], ordered[places[1]]


class IntensityStatistics(BaseModel):
    """Counts, sums and extremes of intensities per channel, from which the numbers over any cases follow.

    >>> a = IntensityStatistics.of(np.array([[1.0], [3.0]]))
    >>> b = IntensityStatistics.of(np.array([[5.0]]))
    >>> IntensityStatistics.pooled([a, b]).mean
    (3.0,)
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    count: int = Field(ge=1, description="Pixels per channel.")
    sums: tuple[float, ...] = Field(description="Sum of the intensities of each channel.")
    sums_of_squares: tuple[float, ...] = Field(description="Sum of their squares.")
    nonzero: tuple[int, ...] = Field(description="Pixels of each channel that are not 0.")
    lowest: tuple[float, ...] = Field(description="Lowest intensity of each channel.")
    highest: tuple[float, ...] = Field(description="Highest intensity of each channel.")

    @classmethod
    def of(cls, image: np.ndarray) -> Self:
        """Return the statistics of an image (..., channels), summed in float64."""
        channels = image.shape[-1]
        sums, squares, nonzero = np.zeros(channels), np.zeros(channels), np.zeros(channels, np.int64)
        lowest, highest = np.full(channels, np.inf), np.full(channels, -np.inf)
        exact = np.empty(0)  # used again for every slice: new memory costs more than the sums
        for part in image if image.ndim > 2 else (image,):  # slice by slice: no float64 copy of the whole image
            values_of = np.ascontiguousarray(part.reshape(-1, channels).T)
            exact = exact if exact.size == values_of.shape[1] else np.empty(values_of.shape[1])
            for channel, values in enumerate(values_of):
                nonzero[channel] += np.count_nonzero(values != 0)
                lowest[channel] = min(lowest[channel], values.min())
                highest[channel] = max(highest[channel], values.max())
                np.copyto(exact, values)
                sums[channel] += exact.sum()  # pairwise
                squares[channel] += exact @ exact
        return cls(
            count=image.size // channels,
            sums=tuple(sums.tolist()),
            sums_of_squares=tuple(squares.tolist()),
            nonzero=tuple(nonzero.tolist()),
            lowest=tuple(lowest.tolist()),
            highest=tuple(highest.tolist()),
        )

    @classmethod
    def pooled(cls, parts: Iterable[IntensityStatistics]) -> Self:
        """Return the statistics of all pixels of `parts` (at least one) together."""
        parts = list(parts)
        if not parts:
            raise ValueError("statistics over no cases are undefined; name at least one case")
        return cls(
            count=sum(part.count for part in parts),
            sums=tuple(map(sum, zip(*(part.sums for part in parts), strict=True))),
            sums_of_squares=tuple(map(sum, zip(*(part.sums_of_squares for part in parts), strict=True))),
            nonzero=tuple(map(sum, zip(*(part.nonzero for part in parts), strict=True))),
            lowest=tuple(map(min, zip(*(part.lowest for part in parts), strict=True))),
            highest=tuple(map(max, zip(*(part.highest for part in parts), strict=True))),
        )

    @property
    def mean(self) -> tuple[float, ...]:
        """Mean of each channel."""
        return tuple(total / self.count for total in self.sums)

    @property
    def std(self) -> tuple[float, ...]:
        """Standard deviation of each channel (divisor: count); 1 for a constant one: it can divide."""
        return _deviations(self.mean, self.sums_of_squares, (self.count,) * len(self.sums))

    @property
    def nonzero_mean(self) -> tuple[float, ...]:
        """Mean of the pixels of each channel that are not 0; 0 where there are none."""
        return tuple(total / max(1, count) for total, count in zip(self.sums, self.nonzero, strict=True))

    @property
    def nonzero_std(self) -> tuple[float, ...]:
        """Their standard deviation; 1 where they are all the same: it can divide."""
        return _deviations(self.nonzero_mean, self.sums_of_squares, self.nonzero)


class Normalisation(BaseModel):
    """(intensity - offset) / scale per channel, with the numbers of each case or of all training cases.

    - none: intensities as they are;
    - zscore_case: mean and standard deviation of each case;
    - zscore_nonzero: those of a case's pixels that are not 0; what is 0 stays 0;
    - zscore_dataset: mean and standard deviation of the training cases together;
    - min_max: a case's lowest intensity becomes 0, its highest 1.

    >>> rule = Normalisation(kind="zscore_dataset", mean=(2.0,), std=(4.0,))
    >>> image = np.full((1, 1, 1, 1), 10.0, np.float32)
    >>> rule.apply(image, *rule.statistics(image)).item()
    2.0
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: NormalisationKind = Field(description="Whose numbers are used: " + ", ".join(get_args(NormalisationKind)))
    mean: tuple[float, ...] | None = Field(default=None, description="Per channel; for zscore_dataset only.")
    std: tuple[float, ...] | None = Field(default=None, description="Per channel; for zscore_dataset only.")

    @model_validator(mode="after")
    def _check_numbers(self) -> Self:
        fixed = self.kind == "zscore_dataset"
        if fixed != (self.mean is not None) or fixed != (self.std is not None):
            raise ValueError("zscore_dataset needs mean and std, the other kinds take neither")
        if self.mean is not None and self.std is not None:
            if len(self.mean) != len(self.std):
                raise ValueError(f"mean and std need one number per channel; received {self.mean} and {self.std}")
            if not all(value > 0 for value in self.std):
                raise ValueError(f"std must be positive; received {self.std}")
        return self

    @classmethod
    def of_cases(cls, kind: NormalisationKind, cases: Iterable[IntensityStatistics]) -> Self:
        """Return the normalisation of `kind` with numbers pooled from `cases` (used by zscore_dataset alone)."""
        if kind != "zscore_dataset":
            return cls(kind=kind)
        pooled = IntensityStatistics.pooled(cases)
        return cls(kind=kind, mean=pooled.mean, std=pooled.std)

    def statistics(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return offset and scale, (channels,) float64 each, that are due to a prepared image (..., channels)."""
        if self.kind == "none":
            return np.zeros(image.shape[-1]), np.ones(image.shape[-1])
        if self.mean is not None and self.std is not None:
            return np.array(self.mean), np.array(self.std)
        return self.statistics_of_case(IntensityStatistics.of(image))

    def statistics_of_case(self, case: IntensityStatistics) -> tuple[np.ndarray, np.ndarray]:
        """Return the same two arrays from a case's stored statistics, without its pixels."""
        channels = len(case.sums)
        if self.kind == "none":
            return np.zeros(channels), np.ones(channels)
        if self.mean is not None and self.std is not None:
            return np.array(self.mean), np.array(self.std)
        if self.kind == "zscore_nonzero":
            return np.array(case.nonzero_mean), np.array(case.nonzero_std)
        if self.kind == "min_max":
            extent = np.subtract(case.highest, case.lowest)
            return np.array(case.lowest), np.where(extent > 0, extent, 1.0)
        return np.array(case.mean), np.array(case.std)

    def apply(self, image: np.ndarray, offset: np.ndarray, scale: np.ndarray) -> np.ndarray:
        """Return (image - offset) / scale as a new float32 array of the same shape (..., channels).

        The numbers are those of `statistics`; with zscore_nonzero, pixels that are 0 stay 0.
        """
        if self.kind == "none":
            return np.array(image, np.float32)
        rows, offset, scale = _as_rows(image, offset, scale)
        result = np.subtract(rows, offset, dtype=np.float32)
        np.divide(result, scale, out=result)
        if self.kind == "zscore_nonzero":
            result *= rows != 0
        return result.reshape(image.shape)


def _as_rows(image: np.ndarray, offset: np.ndarray, scale: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Image and numbers shaped so that NumPy's innermost loop runs over a row of pixels, not over the channels."""
    channels = image.shape[-1]
    offset, scale = np.asarray(offset, np.float32), np.asarray(scale, np.float32)
    if channels == 1 or image.ndim < 2 or not image.flags.c_contiguous:
        return image, offset, scale
    width = image.shape[-2]
    return image.reshape(-1, width * channels), np.tile(offset, width), np.tile(scale, width)


def _deviations(means: tuple[float, ...], squares: tuple[float, ...], counts: tuple[int, ...]) -> tuple[float, ...]:
    """Standard deviations from means, sums of squares and counts; 1 where they are only rounding."""
    found = []
    for mean, square, count in zip(means, squares, counts, strict=True):
        std = max(0.0, square / max(1, count) - mean * mean) ** 0.5
        found.append(std if std > CONSTANT * abs(mean) else 1.0)
    return tuple(found)
