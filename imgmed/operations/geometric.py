"""Operations that move voxels: image and label map together, world coordinates kept by the affine."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from imgmed.operations.step import Step

if TYPE_CHECKING:  # settings hold these models, and the command line shows settings without NumPy
    from imgmed.axis_map import Maps
    from imgmed.operations.scan import Scan
    from imgmed.volume import Volume

__all__ = ["Centre", "Crop", "CropToContent", "Reorient", "Resample", "Resize"]

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Size = Annotated[int, Field(ge=1)]
Extent = tuple[float, float]
Order = Literal[1, 3]
AxisOrder = Literal[0, 1, 3]


class Reorient(Step):
    """Turn the array so that its axes run in named directions; no value changes.

    >>> import numpy as np
    >>> from imgmed import Volume
    >>> from imgmed.operations import Scan
    >>> scan = Scan(Volume(np.zeros((4, 5, 6)), np.diag([-1.0, 1.0, 3.0, 1.0])))
    >>> Reorient(axes="SAR").apply(scan).image.shape
    (6, 5, 4)
    """

    op: Literal["reorient"] = "reorient"
    axes: str = Field(
        default="RAS",
        description="Where the array axes point: one of R L, one of A P, one of S I, in any order.",
    )

    @field_validator("axes")
    @classmethod
    def _check_axes(cls, axes: str) -> str:
        if sorted(axes.translate(str.maketrans("LPI", "RAS"))) != ["A", "R", "S"]:
            raise ValueError(
                f"axes take one letter of R or L, one of A or P, one of S or I, such as RAS; received {axes}"
            )
        return axes

    def geometry(self, volume: Volume) -> Volume:
        """Return the volume in the new voxel order (a view)."""
        from imgmed.operations.maps import turned

        return turned(volume, self.axes)

    def apply(self, scan: Scan) -> Scan:
        """Return the scan in the new voxel order (views)."""
        from imgmed.operations.maps import turned

        label = None if scan.label is None else turned(scan.label, self.axes)
        return replace(scan, image=turned(scan.image, self.axes), label=label)


class Resample(Step):
    """Resample to a spacing: interpolated where an axis grows, averaged where it shrinks.

    The field of view is kept, so the spacing is met to within half a voxel over the whole axis.

    >>> import numpy as np
    >>> from imgmed import Volume
    >>> from imgmed.operations import Scan
    >>> scan = Scan(Volume(np.zeros((4, 5, 6)), np.diag([1.0, 1.0, 3.0, 1.0])))
    >>> Resample(spacing_mm=(2.0, None, 1.0)).apply(scan).image.shape
    (2, 5, 18)
    >>> thick = Scan(Volume(np.arange(4.0).reshape(1, 1, 4), np.diag([1.0, 1.0, 5.0, 1.0])))
    >>> Resample(spacing_mm=(None, None, 2.5), order=(3, 3, 0)).apply(thick).image.array.ravel().tolist()
    [0.0, 0.0, 1.0, 1.0, 2.0, 2.0, 3.0, 3.0]
    """

    op: Literal["resample"] = "resample"
    spacing_mm: tuple[Positive | None, Positive | None, Positive | None] = Field(
        description="Along left-right, back-front, foot-head; null keeps an axis, as does a spacing within 1 %."
    )
    order: Order | tuple[AxisOrder, AxisOrder, AxisOrder] = Field(
        default=3,
        description="How images grow: 1 linearly, 3 by cubic convolution; or a number for each axis, of which 0 is the"
        " nearest voxel.",
    )

    def axis_maps(self, image: Volume) -> Maps:
        """Return how each array axis of the scan is resampled."""
        from imgmed.operations.maps import resampled

        return resampled(image, self.spacing_mm)

    def geometry(self, volume: Volume) -> Volume:
        """Return what becomes of shape and place."""
        from imgmed.operations.maps import placed

        return placed(volume, self.axis_maps(volume))

    def apply(self, scan: Scan) -> Scan:
        """Return the scan with the new spacing; the image is float32."""
        from imgmed.operations.maps import by_array_axis
        from imgmed.operations.scan import moved

        along = self.order if isinstance(self.order, tuple) else (self.order,) * 3
        first, second, third = by_array_axis(scan.image, along)
        return moved(scan, self.axis_maps(scan.image), (first, second, third))


class Resize(Step):
    """Resample to a number of voxels, keeping the field of view (and not the proportions).

    >>> import numpy as np
    >>> from imgmed import Volume
    >>> from imgmed.operations import Scan
    >>> scan = Scan(Volume(np.zeros((4, 5, 6)), np.eye(4)))
    >>> Resize(size=(8, None, 3)).apply(scan).image.spacing_mm
    (0.5, 1.0, 2.0)
    """

    op: Literal["resize"] = "resize"
    size: tuple[Size | None, Size | None, Size | None] = Field(
        description="Voxels along left-right, back-front, foot-head; null keeps an axis."
    )
    order: Order = Field(default=3, description="How images grow: 1 linearly, 3 by cubic convolution.")

    def axis_maps(self, image: Volume) -> Maps:
        """Return how each array axis of the scan is resampled."""
        from imgmed.operations.maps import resized

        return resized(image, self.size)

    def geometry(self, volume: Volume) -> Volume:
        """Return what becomes of shape and place."""
        from imgmed.operations.maps import placed

        return placed(volume, self.axis_maps(volume))

    def apply(self, scan: Scan) -> Scan:
        """Return the scan with the new number of voxels; the image is float32."""
        from imgmed.operations.scan import moved

        return moved(scan, self.axis_maps(scan.image), self.order)


class Crop(Step):
    """Cut out a box, given in voxels or in world millimetres; what reaches beyond the scan is ignored.

    >>> import numpy as np
    >>> from imgmed import Volume
    >>> from imgmed.operations import Scan
    >>> scan = Scan(Volume(np.arange(6.0).reshape(1, 1, 6), np.diag([1.0, 1.0, 2.0, 1.0])))
    >>> Crop(mm=(None, None, (3.0, 8.0))).apply(scan).image.array.ravel().tolist()
    [2.0, 3.0, 4.0]
    """

    op: Literal["crop"] = "crop"
    voxels: tuple[tuple[int, int] | None, tuple[int, int] | None, tuple[int, int] | None] | None = Field(
        default=None,
        description="(first, last plus one) voxel from the left, from the back, from the foot; null keeps an axis.",
    )
    mm: tuple[Extent | None, Extent | None, Extent | None] | None = Field(
        default=None,
        description="(lowest, highest) world coordinate to the right, front, head in millimetres: voxels whose"
        " centres lie within are kept (of a tilted scan, the smallest box of voxels around them).",
    )

    @model_validator(mode="after")
    def _check_box(self) -> Self:
        if (self.voxels is None) == (self.mm is None):
            raise ValueError("a crop takes either voxels or mm")
        for low, high in (extent for extent in self.voxels or () if extent is not None):
            if not 0 <= low < high:
                raise ValueError(f"a crop keeps from voxel FIRST up to and without LAST; received {low}, {high}")
        for start, end in (extent for extent in self.mm or () if extent is not None):
            if not start <= end:
                raise ValueError(f"the lower end of a box may not exceed its upper end; received {start}, {end}")
        return self

    def axis_maps(self, image: Volume) -> Maps:
        """Return how each array axis of the scan is cut."""
        from imgmed.operations.maps import in_box_mm, in_voxels

        if self.mm is not None:
            return in_box_mm(image, self.mm)
        return in_voxels(image, self.voxels or (None, None, None))

    def geometry(self, volume: Volume) -> Volume:
        """Return what becomes of shape and place."""
        from imgmed.operations.maps import placed

        return placed(volume, self.axis_maps(volume))

    def apply(self, scan: Scan) -> Scan:
        """Return the part of the scan in the box (views); raises InvalidVolumeError where there is none."""
        from imgmed.operations.scan import moved

        return moved(scan, self.axis_maps(scan.image))


class CropToContent(Step):
    """Cut away what surrounds the content: voxels of no channel above a threshold, or all 0.

    >>> import numpy as np
    >>> from imgmed import Volume
    >>> from imgmed.operations import Scan
    >>> array = np.zeros((8, 8, 8)); array[2:4, 5, 1:7] = 9
    >>> CropToContent(margin_mm=1).apply(Scan(Volume(array, np.eye(4)))).image.shape
    (4, 3, 8)
    """

    op: Literal["crop_to_content"] = "crop_to_content"
    above: float | None = Field(default=None, description="Content is brighter than this; null: any value but 0.")
    margin_mm: float = Field(default=0.0, ge=0, allow_inf_nan=False, description="What is kept around it.")

    def axis_maps(self, image: Volume) -> Maps:
        """Return how each array axis of the scan is cut; a scan without content is kept whole."""
        from imgmed.operations.maps import content

        return content(image, self.above, self.margin_mm)

    def apply(self, scan: Scan) -> Scan:
        """Return the scan without its empty surroundings (views)."""
        from imgmed.operations.scan import moved

        return moved(scan, self.axis_maps(scan.image))


class Centre(Step):
    """Crop or pad around the centre to a number of voxels.

    >>> import numpy as np
    >>> from imgmed import Volume
    >>> from imgmed.operations import Scan
    >>> scan = Scan(Volume(np.ones((2, 5, 6)), np.eye(4)))
    >>> Centre(size=(4, 3, None), fill=0).apply(scan).image.array[:, 0, 0].tolist()
    [0.0, 1.0, 1.0, 0.0]
    """

    op: Literal["centre"] = "centre"
    size: tuple[Size | None, Size | None, Size | None] = Field(
        description="Voxels along left-right, back-front, foot-head; null keeps an axis."
    )
    fill: float | None = Field(
        default=None, description="Intensity of the padding; null: the lowest of each channel. Labels are padded by 0."
    )

    def axis_maps(self, image: Volume) -> Maps:
        """Return how each array axis of the scan is cut or padded."""
        from imgmed.operations.maps import centred

        return centred(image, self.size)

    def geometry(self, volume: Volume) -> Volume:
        """Return what becomes of shape and place."""
        from imgmed.operations.maps import placed

        return placed(volume, self.axis_maps(volume))

    def apply(self, scan: Scan) -> Scan:
        """Return the scan with the new number of voxels, none of them moved."""
        from imgmed.operations.scan import moved

        return moved(scan, self.axis_maps(scan.image), fill=self.fill)
