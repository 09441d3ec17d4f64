"""Converting a folder of scans or pictures to pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from imgmed.conversion import ConversionSummary, PictureConversion, SliceConversion, convert_folder
from imgmed.errors import ConversionError
from r2d2_base.machine import whole_cores
from r2d2_base.progress import Progress, StopRequest
from r2d2_base.settings_faults import settings_faults

__all__ = ["convert"]


def convert(
    kind: Literal["slices", "pictures"],
    src: str | Path,
    dst: str | Path,
    workers: int | None = None,
    progress: Progress | None = None,
    stop: StopRequest | None = None,
    **settings: Any,
) -> ConversionSummary:
    """Convert a folder with the settings of `imgmed.conversion.SliceConversion` or `PictureConversion`.

    Args:
        kind: "slices" turns volumes into pictures, "pictures" turns pictures into pictures.
        src: folder of the sources, or one file.
        dst: folder of the pictures.
        workers: processes; by default the cores that this process may use.
        progress: called with stage, done and total.
        stop: ends the work where it is made; the same call then goes on where it was.
        settings: of the conversion.

    Raises:
        imgmed.errors.ConversionError: settings that break a rule, all listed; and as `convert_folder` raises.
    """
    if workers is not None and workers < 1:
        raise ConversionError(f"workers: at least 1; received {workers}")
    try:
        conversion = SliceConversion(**settings) if kind == "slices" else PictureConversion(**settings)
    except ValidationError as error:
        raise ConversionError("; ".join(settings_faults(error))) from error
    return convert_folder(
        conversion, Path(src), Path(dst), workers=workers or whole_cores(), progress=progress, stop=stop
    )
