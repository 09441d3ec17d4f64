"""The paper's high-level interface: folders of scans and pictures converted in a line each.

Four lines turn N 4D NIfTI files into N x slices grey PNG pictures of 350 x 350 pixels::

    from r2d2.img import ImgMed

    ImgMed.convert_4DNI_to_RGBJPG("scans", "work/rgb", 2)
    ImgMed.reshape_JPG_to2D("work/rgb", "work/grey")
    ImgMed.convert_JPG_to_PNG("work/grey", "work/png")
    ImgMed.resize_img("work/png", "work/350", "png", 350, 350)

JPEG is lossy and holds 8 bits. One line does it without loss and in one pass::

    ImgMed.convert_4DNI_to_PNG("scans", "work/350", 2, size=(350, 350))
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from r2d2_base.progress import Progress

if TYPE_CHECKING:
    from imgmed.conversion import ConversionSummary

__all__ = ["ImgMed"]

Where = str | Path
Window = Literal["percentiles", "values"] | tuple[float, float] | None


class ImgMed:
    """Conversions of whole folders, under the names of the R2D2 paper.

    Sub-folders are kept. Every call goes on where an interrupted one stopped, does nothing where all is done, and
    uses all cores (`workers`: that many processes, with one volume each in memory). `progress` is called with a
    stage, the files done and their number; without it, a terminal shows a bar. Errors are ImgMed's: broken files are
    listed together, in one `imgmed.errors.ConversionError`, when all others are done.

    Source: S. Guedria, N. De Palma, F. Renard, N. Vuillerme, R2D2: A scalable deep learning toolkit for medical
    imaging segmentation, Software: Practice and Experience 50 (2020), doi 10.1002/spe.2878.

    >>> ImgMed.convert_4DNI_to_RGBJPG("no-such-folder", "out", 2)
    Traceback (most recent call last):
    ...
    imgmed.errors.SourceNotFoundError: no such file or folder: no-such-folder
    """

    @staticmethod
    def convert_4DNI_to_RGBJPG(  # noqa: N802
        src: Where,
        dst: Where,
        dim: int = 2,
        *,
        slices: int | None = None,
        channels: Sequence[int] | None = None,
        window: Window = "percentiles",
        percentiles: tuple[float, float] = (0.5, 99.5),
        quality: int = 95,
        workers: int | None = None,
        progress: Progress | None = None,
    ) -> ConversionSummary:
        """Turn volumes into 8 bit colour JPEG pictures, one a slice: CASE_z000.jpg.

        Args:
            src: folder of NIfTI files (4D, or 3D as one channel), or one file.
            dst: folder of the pictures.
            dim: axis across which slices are cut: 0 sagittal, 1 coronal, 2 axial.
            slices: that many slices a volume, evenly spread; all by default.
            channels: three for red, green and blue, or one for grey; by default 0, 1 and 2, or channel 0 as grey
                where a volume has fewer.
            window: what becomes black and white: two intensities, or "percentiles" of each volume and channel.
            percentiles: those two.
            quality: of JPEG, 1 to 100; lossy even at 100.
            workers: processes; by default the cores that this process may use.
            progress: called with stage, done and total.

        Returns:
            How many files there are, how many were converted now, and how many pictures there are.
        """
        settings = {"axis": _axis(dim), "slices": slices, "channels": channels, "quality": quality}
        intensities = {"window": window, "percentiles": percentiles}
        return _convert("slices", src, dst, workers, progress, format="jpg", colour="rgb", **settings, **intensities)

    @staticmethod
    def convert_4DNI_to_PNG(  # noqa: N802
        src: Where,
        dst: Where,
        dim: int = 2,
        *,
        bits: int = 16,
        slices: int | None = None,
        channels: Sequence[int] | None = None,
        window: Window = None,
        percentiles: tuple[float, float] = (0.5, 99.5),
        offset: int = 0,
        size: tuple[int, int] | None = None,
        labels: bool = False,
        workers: int | None = None,
        progress: Progress | None = None,
    ) -> ConversionSummary:
        """Turn volumes into lossless grey PNG pictures, one a slice and channel: CASE_z000.png, CASE_z000_0001.png.

        Args:
            src: folder of NIfTI files (4D, or 3D as one channel), or one file.
            dst: folder of the pictures.
            dim: axis across which slices are cut: 0 sagittal, 1 coronal, 2 axial.
            bits: 16 stores whole intensities within 0 to 65535 as they are; 8 scales them (see `window`).
            slices: that many slices a volume, evenly spread; all by default.
            channels: those wanted; all by default.
            window: what becomes black and white: two intensities, "percentiles" of each volume and channel, or
                "values": nothing is scaled; by default "values" for 16 bits and label maps, else "percentiles".
            percentiles: those two; (0, 100) cuts nothing off.
            offset: added to intensities that are stored as they are: 1024 for most CT.
            size: (height, width) in pixels, resampled from the original intensities; one pixel a voxel by default.
            labels: the volumes are label maps: stored as they are, resized without inventing values.
            workers: processes; by default the cores that this process may use.
            progress: called with stage, done and total.

        Returns:
            How many files there are, how many were converted now, and how many pictures there are.
        """
        settings = {"axis": _axis(dim), "slices": slices, "channels": channels, "size": size, "labels": labels}
        intensities = {"bits": bits, "window": window, "percentiles": percentiles, "offset": offset}
        return _convert("slices", src, dst, workers, progress, **settings, **intensities)

    @staticmethod
    def reshape_JPG_to2D(  # noqa: N802
        src: Where, dst: Where, *, quality: int = 95, workers: int | None = None, progress: Progress | None = None
    ) -> ConversionSummary:
        """Turn colour JPEG pictures (height, width, 3) into grey ones (height, width).

        Grey is 0.299 R + 0.587 G + 0.114 B (BT.601); where R = G = B, it is that value. The result is encoded as
        JPEG again, which loses a little once more; a picture that is grey already is copied.

        Args:
            src: folder of .jpg files, or one.
            dst: folder of the pictures.
            quality: of JPEG, 1 to 100.
            workers: processes; by default the cores that this process may use.
            progress: called with stage, done and total.

        Returns:
            How many files there are, and how many were converted now.
        """
        return _convert("pictures", src, dst, workers, progress, source="jpg", grey=True, quality=quality)

    @staticmethod
    def convert_JPG_to_PNG(  # noqa: N802
        src: Where, dst: Where, *, workers: int | None = None, progress: Progress | None = None
    ) -> ConversionSummary:
        """Turn JPEG pictures into PNG pictures with exactly the same pixels (what JPEG lost stays lost).

        Args:
            src: folder of .jpg files, or one.
            dst: folder of the pictures.
            workers: processes; by default the cores that this process may use.
            progress: called with stage, done and total.

        Returns:
            How many files there are, and how many were converted now.
        """
        return _convert("pictures", src, dst, workers, progress, source="jpg", format="png")

    @staticmethod
    def resize_img(
        src: Where,
        dst: Where,
        format: str,
        height: int,
        width: int,
        *,
        labels: bool = False,
        quality: int = 95,
        workers: int | None = None,
        progress: Progress | None = None,
    ) -> ConversionSummary:
        """Resize pictures: averaged over areas where they shrink, cubic where they grow; the shape may be stretched.

        Args:
            src: folder of PNG, JPEG, TIFF or BMP pictures, or one.
            dst: folder of the pictures.
            format: "png" (lossless) or "jpg".
            height: of the result in pixels.
            width: of the result in pixels.
            labels: the pictures are label maps: no value is invented; png only.
            quality: of JPEG, 1 to 100.
            workers: processes; by default the cores that this process may use.
            progress: called with stage, done and total.

        Returns:
            How many files there are, and how many were converted now.
        """
        form = format.lower().lstrip(".").replace("jpeg", "jpg")
        settings = {"format": form, "size": (height, width), "labels": labels, "quality": quality}
        return _convert("pictures", src, dst, workers, progress, **settings)


def _convert(
    kind: Literal["slices", "pictures"],
    src: Where,
    dst: Where,
    workers: int | None,
    progress: Progress | None,
    **settings: Any,
) -> ConversionSummary:
    """Convert a folder; a terminal shows a bar, where nobody else listens."""
    from r2d2.tasks.conversion import convert

    with _shown(progress) as report:
        return convert(kind, src, dst, workers, progress or report, **settings)


def _axis(dim: int) -> int:
    from imgmed.errors import ConversionError

    if dim not in (0, 1, 2):
        raise ConversionError(
            f"dim is the axis across which slices are cut: 0 sagittal, 1 coronal, 2 axial; received {dim};"
            " use slices= for a number of slices"
        )
    return dim


def _shown(progress: Progress | None) -> AbstractContextManager[Progress | None]:
    """A bar for a terminal; nothing where someone else listens, or nobody looks."""
    if progress is not None or not sys.stderr.isatty():
        return nullcontext(None)
    from r2d2.cli.progress import stages

    return stages()
