"""Intensities: clipping, statistics and normalisation."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = ["Clipping", "IntensityStatistics", "Normalisation", "NormalisationKind", "percentile_bounds"]

NormalisationKind = Literal["zscore_case", "zscore_dataset"]
Bounds = tuple[tuple[float, float], ...]
CONSTANT = 1e-6  # a standard deviation below this part of the mean is rounding of float32


class Clipping(BaseModel):
    """Which intensities are cut off: at fixed bounds, or at percentiles of each case itself.

    >>> rule = Clipping(bounds=((0.0, 2.0),))
    >>> rule.bounds_for(np.zeros((2, 2, 2, 1)))
    ((0.0, 2.0),)
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    percentiles: tuple[float, float] = Field(
        default=(0.5, 99.5),
        description="Percentiles that the bounds come from, of the case or of the training cases.",
    )
    bounds: Bounds | None = Field(
        default=None,
        description="(lowest, highest) per channel, the same for every case; null: each case's own percentiles.",
    )

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        low, high = self.percentiles
        if not 0 <= low < high <= 100:
            raise ValueError(f"percentiles must rise within 0 to 100; received {self.percentiles}")
        for low, high in self.bounds or ():
            if not low <= high:
                raise ValueError(f"a lower bound may not exceed its upper bound; received {low} and {high}")
        return self

    def bounds_for(self, image: np.ndarray) -> Bounds:
        """Return (lowest, highest) per channel for an image (..., channels)."""
        return self.bounds if self.bounds is not None else percentile_bounds(image, self.percentiles)


def percentile_bounds(image: np.ndarray, percentiles: tuple[float, float]) -> Bounds:
    """Return the two percentiles (linear interpolation) of each channel of an image (..., channels).

    >>> percentile_bounds(np.arange(101.0)[:, None], (1, 99))
    ((1.0, 99.0),)
    """
    channels = np.moveaxis(image, -1, 0)
    found = (np.percentile(channel, percentiles) for channel in channels)
    return tuple((float(low), float(high)) for low, high in found)


class IntensityStatistics(BaseModel):
    """Count, sum and sum of squares of intensities per channel, from which means over any cases follow.

    >>> a = IntensityStatistics.of(np.array([[1.0], [3.0]]))
    >>> b = IntensityStatistics.of(np.array([[5.0]]))
    >>> IntensityStatistics.pooled([a, b]).mean
    (3.0,)
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    count: int = Field(ge=1, description="Pixels per channel.")
    sums: tuple[float, ...] = Field(description="Sum of the intensities of each channel.")
    sums_of_squares: tuple[float, ...] = Field(description="Sum of their squares.")

    @classmethod
    def of(cls, image: np.ndarray) -> Self:
        """Return the statistics of an image (..., channels), summed in float64."""
        channels = image.shape[-1]
        sums = np.zeros(channels)
        squares = np.zeros(channels)
        for part in image if image.ndim > 2 else (image,):  # slice by slice: no float64 copy of the whole image
            columns = np.ascontiguousarray(part.reshape(-1, channels).T, np.float64)  # rows are summed pairwise
            sums += columns.sum(axis=1)
            squares += np.square(columns).sum(axis=1)
        return cls(count=image.size // channels, sums=tuple(sums.tolist()), sums_of_squares=tuple(squares.tolist()))

    @classmethod
    def pooled(cls, parts: Iterable[IntensityStatistics]) -> Self:
        """Return the statistics of all pixels of `parts` (at least one) together."""
        parts = list(parts)
        if not parts:
            raise ValueError("statistics over no cases are undefined; name at least one case")
        return cls(
            count=sum(part.count for part in parts),
            sums=tuple(sum(column) for column in zip(*(part.sums for part in parts), strict=True)),
            sums_of_squares=tuple(
                sum(column) for column in zip(*(part.sums_of_squares for part in parts), strict=True)
            ),
        )

    @property
    def mean(self) -> tuple[float, ...]:
        """Mean of each channel."""
        return tuple(total / self.count for total in self.sums)

    @property
    def std(self) -> tuple[float, ...]:
        """Standard deviation of each channel (divisor: count); 1 for a constant one: it can divide."""
        return tuple(
            _std(mean, squares / self.count) for mean, squares in zip(self.mean, self.sums_of_squares, strict=True)
        )


class Normalisation(BaseModel):
    """z = (intensity - mean) / std, per channel, with the numbers of each case or of all training cases.

    >>> rule = Normalisation(kind="zscore_dataset", mean=(2.0,), std=(4.0,))
    >>> image = np.full((1, 1, 1, 1), 10.0, np.float32)
    >>> rule.apply(image, *rule.statistics(image)).item()
    2.0
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: NormalisationKind = Field(description="Whose mean and standard deviation are used.")
    mean: tuple[float, ...] | None = Field(default=None, description="Per channel; for zscore_dataset only.")
    std: tuple[float, ...] | None = Field(default=None, description="Per channel; for zscore_dataset only.")

    @model_validator(mode="after")
    def _check_numbers(self) -> Self:
        fixed = self.kind == "zscore_dataset"
        if fixed != (self.mean is not None) or fixed != (self.std is not None):
            raise ValueError("zscore_dataset needs mean and std, zscore_case takes neither")
        if self.mean is not None and self.std is not None:
            if len(self.mean) != len(self.std):
                raise ValueError(f"mean and std need one number per channel; received {self.mean} and {self.std}")
            if not all(value > 0 for value in self.std):
                raise ValueError(f"std must be positive; received {self.std}")
        return self

    @classmethod
    def of_cases(cls, kind: NormalisationKind, cases: Iterable[IntensityStatistics]) -> Self:
        """Return the normalisation of `kind` with numbers pooled from `cases` (unused by zscore_case)."""
        if kind == "zscore_case":
            return cls(kind=kind)
        pooled = IntensityStatistics.pooled(cases)
        return cls(kind=kind, mean=pooled.mean, std=pooled.std)

    def statistics(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and std, (channels,) float64 each, that are due to a clipped image (..., channels)."""
        if self.mean is not None and self.std is not None:
            return np.array(self.mean), np.array(self.std)
        return self.statistics_of_case(IntensityStatistics.of(image))

    def statistics_of_case(self, case: IntensityStatistics) -> tuple[np.ndarray, np.ndarray]:
        """Return the same two arrays from a case's stored statistics, without its pixels."""
        if self.mean is not None and self.std is not None:
            return np.array(self.mean), np.array(self.std)
        return np.array(case.mean), np.array(case.std)

    @staticmethod
    def apply(image: np.ndarray, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
        """Return (image - mean) / std as a new float32 array of the same shape (..., channels)."""
        centred = np.subtract(image, np.asarray(mean, np.float32), dtype=np.float32)
        return np.divide(centred, np.asarray(std, np.float32), out=centred)


def _std(mean: float, mean_square: float) -> float:
    std = max(0.0, mean_square - mean * mean) ** 0.5
    return std if std > CONSTANT * abs(mean) else 1.0
