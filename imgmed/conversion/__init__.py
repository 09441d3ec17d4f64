"""Volumes to pictures and pictures to pictures, folder by folder: in parallel, and going on where a run stopped."""

from __future__ import annotations

from imgmed.conversion.folder import ConversionSummary, convert_folder
from imgmed.conversion.pictures import PictureConversion
from imgmed.conversion.volumes import SliceConversion

__all__ = ["ConversionSummary", "PictureConversion", "SliceConversion", "convert_folder"]
