"""The folder of label maps while it is written: what is done stays done, and a later call goes on from there."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from imgmed import Volume, write_volume
from r2d2 import __version__
from r2d2.prediction.manifest import PredictedCase, PredictionManifest, write_manifest
from r2d2_base.files import read_json, sha256_of, write_json
from r2d2_base.folders import check_absent, resumable_folder

__all__ = ["UnfinishedPrediction", "unfinished_prediction"]

JOURNAL = "journal"


class _Entry(BaseModel):
    """A label map that is complete.

    Attributes:
        stamp: what it was made from, and by what.
        case: its entry in the manifest.
        sha256: of its file.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    stamp: str
    case: PredictedCase
    sha256: str


class UnfinishedPrediction:
    """Label maps that are complete, with a journal of them.

    Args:
        folder: of the label maps, not yet under its own name.
        made_by: what all label maps depend on besides their scans, such as the digest of the network.
    """

    def __init__(self, folder: Path, made_by: tuple[object, ...]) -> None:
        self._folder = folder
        self._made_by = (__version__, *made_by)
        (folder / JOURNAL).mkdir(exist_ok=True)

    def holds(self, case: PredictedCase, *made_from: object) -> bool:
        """Tell whether an earlier call has made a case's label map, of the same scan by the same network.

        Args:
            case: its entry in the manifest.
            made_from: what else the label map depends on.
        """
        try:
            entry = _Entry.model_validate(read_json(self._entry(case)))
            is_whole = entry.sha256 == sha256_of(self._folder / case.file)
        except (OSError, ValueError, ValidationError):
            return False
        return is_whole and entry.case == case and entry.stamp == self._stamp(made_from)

    def write(self, case: PredictedCase, label_map: Volume, like: Path | None, *made_from: object) -> None:
        """Write a case's label map, and note it.

        Args:
            case: its entry in the manifest.
            label_map: (i, j, k) in the voxel grid of the scan.
            like: a NIfTI file whose header is taken over.
            made_from: as for `holds`.
        """
        path = self._folder / case.file
        write_volume(path, label_map, like=like)
        entry = _Entry(stamp=self._stamp(made_from), case=case, sha256=sha256_of(path))
        write_json(self._entry(case), entry.model_dump(mode="json"))

    def finish(self, manifest: PredictionManifest) -> None:
        """Write the manifest; what it does not name is of earlier calls, and goes."""
        shutil.rmtree(self._folder / JOURNAL)
        files = {case.file for case in manifest.cases}
        for path in self._folder.iterdir():
            if path.name not in files:
                path.unlink()
        write_manifest(self._folder, manifest)

    def _entry(self, case: PredictedCase) -> Path:
        return self._folder / JOURNAL / f"{hashlib.sha256(case.file.encode()).hexdigest()}.json"

    def _stamp(self, made_from: tuple[object, ...]) -> str:
        return hashlib.sha256(repr((*self._made_by, *made_from)).encode()).hexdigest()


@contextmanager
def unfinished_prediction(out: Path, made_by: tuple[object, ...]) -> Iterator[UnfinishedPrediction]:
    """Give the folder beside `out` in which label maps are collected; at the end it becomes `out`.

    After an error or an interruption it stays for the next call, if there is any label map in it.

    Args:
        out: must not exist, or be empty.
        made_by: see `UnfinishedPrediction`.

    Raises:
        OutputExistsError: `out` is not free.
        BusyFolderError: another process is writing it.
        NoSpaceError: the disk filled up.
    """
    check_absent(out)
    with resumable_folder(out, is_of_use=_holds_label_maps) as folder:
        yield UnfinishedPrediction(folder, made_by)
        check_absent(out)


def _holds_label_maps(folder: Path) -> bool:
    journal = folder / JOURNAL
    return journal.is_dir() and any(journal.iterdir())
