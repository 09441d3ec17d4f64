"""Operations on intensities: windows and ranges; label maps pass through."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field, model_validator

from imgmed.errors import InvalidVolumeError
from imgmed.intensity_settings import WINDOWS, Bounds, WindowName
from imgmed.operations.step import Step

if TYPE_CHECKING:  # settings hold these models, and the command line shows settings without NumPy
    import numpy as np

    from imgmed.operations.scan import Scan
    from imgmed.volume import Volume

__all__ = ["Clip", "Rescale"]

DEFAULT_PERCENTILES = (0.5, 99.5)


class Clip(Step):
    """Limit intensities: to fixed bounds (a window), or to percentiles of each case itself.

    >>> import numpy as np
    >>> from imgmed import Volume
    >>> from imgmed.operations import Scan
    >>> rule = Clip(bounds=((-200.0, 250.0),))
    >>> scan = rule.apply(Scan(Volume(np.array([[[-1000.0, 40.0, 900.0]]]), np.eye(4))))
    >>> scan.image.array.tolist(), scan.bounds
    ([[[-200.0, 40.0, 250.0]]], ((-200.0, 250.0),))
    >>> Clip(window="lung").bounds
    ((-1350.0, 150.0),)
    """

    op: Literal["clip"] = "clip"
    bounds: Bounds | None = Field(
        default=None,
        description="(lowest, highest) per channel, or one for all, in the units of the scan (HU for CT); null: each"
        " case's own percentiles.",
    )
    window: WindowName | None = Field(
        default=None, description="Name of a window for CT, which stands for its bounds: lung, abdomen, bone ..."
    )
    percentiles: tuple[float, float] = Field(
        default=DEFAULT_PERCENTILES, description="Percentiles that are the bounds where none are given."
    )
    of: Literal["scan", "source"] = Field(
        default="scan",
        description="Whose percentiles: the scan's as the operations before left it, or as it was read.",
    )

    @model_validator(mode="before")
    @classmethod
    def _look_up_window(cls, given: Any) -> Any:
        window = given.get("window") if isinstance(given, dict) else None
        if isinstance(window, str) and window in WINDOWS and given.get("bounds") is None:
            return given | {"bounds": (WINDOWS[window],)}  # the numbers are what is kept, and what is done
        return given

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if self.window is not None and self.bounds != (WINDOWS[self.window],):
            raise ValueError(f"clip takes either bounds, or the window {self.window}; received both")
        low, high = self.percentiles
        if not 0 <= low < high <= 100:
            raise ValueError(f"percentiles must rise within 0 to 100; received {self.percentiles}")
        if self.bounds is not None and (self.percentiles, self.of) != (DEFAULT_PERCENTILES, "scan"):
            raise ValueError("clip takes either bounds, or percentiles and whose they are (of); received both")
        _check_bounds(self.bounds)
        return self

    def bounds_for(self, scan: Scan) -> Bounds:
        """Return (lowest, highest) of each channel that the scan will be limited to."""
        if self.bounds is not None:
            return _per_channel(self.bounds, scan.image)
        from imgmed.intensity import percentile_bounds

        measured = scan.source if self.of == "source" and scan.source is not None else scan.image
        return percentile_bounds(_with_channels(measured.array), self.percentiles)

    def apply(self, scan: Scan) -> Scan:
        """Return the scan limited to the bounds, float32."""
        return self._limited(scan, is_own=False)

    def apply_to_own(self, scan: Scan) -> Scan:
        """Limit the scan's own float32 image, without a second one in memory."""
        return self._limited(scan, is_own=scan.image.array.dtype.str[1:] == "f4")

    def _limited(self, scan: Scan, *, is_own: bool) -> Scan:
        from imgmed.intensity import clip_channels

        bounds, array = self.bounds_for(scan), scan.image.array
        channels = _with_channels(array)
        clipped = clip_channels(channels, bounds, out=channels if is_own else None).reshape(array.shape)
        return replace(scan, image=replace(scan.image, array=clipped), bounds=bounds)


class Rescale(Step):
    """Map intensities linearly, so that one range becomes another; nothing is cut off.

    >>> import numpy as np
    >>> from imgmed import Volume
    >>> from imgmed.operations import Scan
    >>> scan = Scan(Volume(np.array([[[-200.0, 25.0, 250.0]]]), np.eye(4)), bounds=((-200.0, 250.0),))
    >>> Rescale(low=-1, high=1).apply(scan).image.array.tolist()
    [[[-1.0, 0.0, 1.0]]]
    """

    op: Literal["rescale"] = "rescale"
    low: float = Field(default=0.0, allow_inf_nan=False, description="What the lower bound becomes.")
    high: float = Field(default=1.0, allow_inf_nan=False, description="What the upper bound becomes.")
    bounds: Bounds | None = Field(
        default=None,
        description="(lowest, highest) per channel, or one for all, of the range that is mapped; null: what the scan"
        " was clipped to, or else its own lowest and highest intensity.",
    )

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if not self.low < self.high:
            raise ValueError(f"low must be below high; received {self.low} and {self.high}")
        _check_bounds(self.bounds)
        return self

    def apply(self, scan: Scan) -> Scan:
        """Return the rescaled scan, float32; a channel without range becomes `low`."""
        from imgmed.intensity import rescale_channels

        image = _with_channels(scan.image.array)
        parts = (image[..., channel] for channel in range(image.shape[3]))
        known = scan.bounds or tuple((float(part.min()), float(part.max())) for part in parts)
        bounds = known if self.bounds is None else _per_channel(self.bounds, scan.image)
        limits = tuple(
            (self._mapped(first, low, high), self._mapped(last, low, high))
            for (first, last), (low, high) in zip(known, bounds, strict=True)
        )
        rescaled = rescale_channels(image, bounds, (self.low, self.high), limits)
        array = rescaled.reshape(scan.image.array.shape)
        return replace(scan, image=replace(scan.image, array=array), bounds=limits)

    def _mapped(self, value: float, low: float, high: float) -> float:
        return self.low + (value - low) / (high - low) * (self.high - self.low) if high > low else self.low


def _check_bounds(bounds: Bounds | None) -> None:
    if bounds is not None and not bounds:
        raise ValueError("bounds need one pair of numbers for each channel, or one for all; received none")
    for low, high in bounds or ():
        if not low <= high:
            raise ValueError(f"a lower bound may not exceed its upper bound; received {low} and {high}")


def _per_channel(bounds: Bounds, image: Volume) -> Bounds:
    if len(bounds) not in (1, image.channels):
        raise InvalidVolumeError(
            f"{image.origin}: bounds for {len(bounds)} channels were given, the scan has {image.channels}; give one"
            " pair for each channel, or one pair for all"
        )
    return bounds * image.channels if len(bounds) == 1 else bounds


def _with_channels(array: np.ndarray) -> np.ndarray:
    return array if array.ndim == 4 else array[..., None]
