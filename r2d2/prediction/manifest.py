"""prediction.json: which model made a folder of label maps, from what."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from dist_training.inference.model_card import Split
from r2d2.errors import PredictionError
from r2d2_base.files import read_json, write_json

__all__ = ["MANIFEST", "PredictedCase", "PredictionManifest", "prediction_name", "read_manifest", "write_manifest"]

MANIFEST = "prediction.json"


class PredictedCase(BaseModel):
    """One label map of a prediction folder.

    Attributes:
        case_id: the case.
        file: its label map, in the folder.
        source: the scan's path: the first file, where it has several.
        source_sha256: SHA-256 of the scan's files.
        split: what the model's training, and that of the networks it started from, used this very scan for; None: it
            has never seen it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    case_id: str
    file: str
    source: str
    source_sha256: tuple[str, ...]
    split: Split | None


class PredictionManifest(BaseModel):
    """Content of prediction.json.

    Attributes:
        model: path of the network.
        model_sha256: SHA-256 of the network.
        labels: name to label value, background included.
        cases: one entry a label map.
        left_out: a sentence for each scan that could not be predicted; the file has the key where there are any.
        passed_over: a line for each file that was looked at and is no scan, and why; likewise.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    model: str
    model_sha256: str
    labels: dict[str, int]
    cases: tuple[PredictedCase, ...]
    left_out: tuple[str, ...] = ()
    passed_over: tuple[str, ...] = ()


def prediction_name(case_id: str, scan: Path) -> str:
    """Give the file name of a label map: the case's, as NIfTI, compressed unless the scan is an uncompressed one.

    >>> prediction_name("a", Path("a.nii")), prediction_name("b", Path("study/0001.dcm"))
    ('a.nii', 'b.nii.gz')
    """
    return f"{case_id}.nii" if scan.name.lower().endswith(".nii") else f"{case_id}.nii.gz"


def write_manifest(folder: Path, manifest: PredictionManifest) -> None:
    """Write the manifest of a folder of label maps."""
    empty = {name for name in ("left_out", "passed_over") if not getattr(manifest, name)}
    write_json(folder / MANIFEST, manifest.model_dump(mode="json", exclude=empty))


def read_manifest(folder: Path) -> PredictionManifest | None:
    """Read the manifest of a prediction folder; None where someone else made the label maps.

    Raises:
        PredictionError: where it is damaged.
    """
    path = folder / MANIFEST
    if not path.exists():
        return None
    try:
        return PredictionManifest.model_validate(read_json(path))
    except (ValidationError, ValueError) as error:
        raise PredictionError(f"{path} is damaged; predict again") from error
