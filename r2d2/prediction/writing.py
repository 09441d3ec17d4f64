"""The folder of label maps while it is written: what is done stays done, and a later call goes on from there."""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from imgmed import Volume, write_volume
from imgmed.formats import is_picture
from imgmed.formats.nifti import write_fractions
from r2d2 import __version__
from r2d2.prediction.dicom import DicomTarget
from r2d2.prediction.finished import finished_prediction
from r2d2.prediction.manifest import MadeFiles, PredictedCase, PredictionManifest, map_name, write_manifest
from r2d2.prediction.volumes import write_volumes
from r2d2_base.errors import OutputExistsError
from r2d2_base.files import read_json, sha256_of, write_json
from r2d2_base.folders import resumable_folder

__all__ = ["UnfinishedPrediction", "is_whole", "maps_of", "unfinished_prediction"]

JOURNAL = "journal"
WHITE = 2**16 - 1
SAID = ("uncertainty", "volumes_ml", "unlike")  # fields of an entry that are filled after the scan was read


class _Entry(BaseModel):
    """A label map that is complete: its entry in the manifest, and its files."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    case: PredictedCase
    made: MadeFiles


def maps_of(
    probabilities: np.ndarray | None, uncertainty: np.ndarray | None, names: Sequence[str]
) -> dict[str, np.ndarray]:
    """Return what is written beside a label map, by the folder that it goes to.

    Args:
        probabilities: (i, j, k, outputs), where they were asked for.
        uncertainty: (i, j, k), where it was asked for.
        names: of the networks' outputs.
    """
    maps: dict[str, np.ndarray] = {}
    if probabilities is not None:
        channels = np.moveaxis(probabilities, -1, 0)
        folders = folder_names(names)
        maps |= {f"probabilities/{folder}": channel for folder, channel in zip(folders, channels, strict=True)}
    if uncertainty is not None:
        maps["uncertainty"] = uncertainty
    return maps


def folder_names(labels: Sequence[str]) -> list[str]:
    """Give folders names after labels, which may hold what leads elsewhere; each has its own.

    >>> folder_names(["liver+tumour", "../x", "_/x", ""])
    ['liver+tumour', '__x', '__x (2)', 'label']
    """
    names: list[str] = []
    for label in labels:
        name = re.sub(r"[^\w+ .-]", "_", label.replace("..", "_")).strip(". ") or "label"
        used = sum(one == name or one.startswith(f"{name} (") for one in names)
        names.append(f"{name} ({used + 1})" if used else name)
    return names


def _write_map(path: Path, values: Volume, like: Path | None) -> None:
    if is_picture(path):
        write_volume(path, Volume(np.rint(values.array * WHITE).astype(np.uint16), values.affine))
    else:
        write_fractions(path, values, like)


class UnfinishedPrediction:
    """Label maps that are complete, with a journal of them.

    Args:
        folder: of the label maps, not yet under its own name.
        made_by: what all label maps depend on besides their scans, such as the digest of the network.
    """

    def __init__(self, folder: Path, made_by: tuple[object, ...]) -> None:
        self._folder = folder
        self.made_by = hashlib.sha256(repr((__version__, *made_by)).encode()).hexdigest()
        self._made: dict[str, MadeFiles] = {}  # of each label map, by its name
        (folder / JOURNAL).mkdir(exist_ok=True)

    def earlier(self, case: PredictedCase, *made_from: object) -> PredictedCase | None:
        """Return a case's entry as an earlier call has made it, of the same scan by the same network, with its files.

        Args:
            case: its entry in the manifest, without what the networks say.
            made_from: what else the label map depends on.
        """
        try:
            entry = _Entry.model_validate(read_json(self._entry(case)))
        except (OSError, ValueError, ValidationError):
            return None
        is_same = (
            entry.case.source_sha256 == case.source_sha256
            and entry.made.stamp == self.stamp(*made_from)
            and is_whole(self._folder, entry.made)
        )
        if not is_same:
            return None
        self._made[case.file] = entry.made
        return case.model_copy(update={name: getattr(entry.case, name) for name in SAID})

    def adopt(self, case: PredictedCase, made: MadeFiles, folder: Path) -> None:
        """Take over a label map of a finished folder, with what came with it.

        Args:
            case: its entry in the manifest.
            made: its files.
            folder: where they lie.
        """
        for file in made.sha256:
            path = self._folder / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.unlink(missing_ok=True)
            try:
                path.hardlink_to(folder / file)
            except OSError:  # a file system without links
                shutil.copy2(folder / file, path)
        self._note(case, made)

    def write(
        self,
        case: PredictedCase,
        label_map: Volume,
        maps: Mapping[str, np.ndarray],
        like: Path | DicomTarget | None,
        *made_from: object,
    ) -> None:
        """Write a case's label map and what comes with it, and note them.

        Args:
            case: its entry in the manifest.
            label_map: (i, j, k) in the voxel grid of the scan.
            maps: {folder: (i, j, k) from 0 to 1}, each written there, see `map_name`.
            like: a NIfTI file whose header is taken over, or a DICOM series that is referred to.
            made_from: as for `earlier`.
        """
        if isinstance(like, DicomTarget):
            like.write(self._folder / case.file, label_map)
        else:
            write_volume(self._folder / case.file, label_map, like=like)
        for folder, array in maps.items():
            path = self._folder / folder / map_name(case.file)
            path.parent.mkdir(parents=True, exist_ok=True)
            _write_map(path, Volume(array, label_map.affine), like if isinstance(like, Path) else None)
        files = (case.file, *(f"{folder}/{map_name(case.file)}" for folder in maps))
        digests = {file: sha256_of(self._folder / file) for file in files}
        self._note(case, MadeFiles(stamp=self.stamp(*made_from), sha256=digests))

    def finish(self, manifest: PredictionManifest) -> PredictionManifest:
        """Write the manifest, with what later calls know the label maps by, and return it.

        What is of no case of its is of earlier calls, and goes.
        """
        shutil.rmtree(self._folder / JOURNAL)
        made = {case.file: self._made[case.file] for case in manifest.cases}
        manifest = manifest.model_copy(update={"made_by": self.made_by, "made": made})
        files = {self._folder / name for each in made.values() for name in each.sha256}
        for path in sorted(self._folder.rglob("*"), reverse=True):  # what a folder holds comes before it
            if path.is_dir() and not any(path.iterdir()):
                path.rmdir()
            elif path.is_file() and path not in files:
                path.unlink()
        write_volumes(self._folder, ((case.case_id, case.volumes_ml) for case in manifest.cases))
        write_manifest(self._folder, manifest)
        return manifest

    def stamp(self, *made_from: object) -> str:
        """Stand for what a label map is made from besides its scan, and by what."""
        return hashlib.sha256(repr((self.made_by, *made_from)).encode()).hexdigest()

    def _note(self, case: PredictedCase, made: MadeFiles) -> None:
        write_json(self._entry(case), _Entry(case=case, made=made).model_dump(mode="json"))
        self._made[case.file] = made

    def _entry(self, case: PredictedCase) -> Path:
        return self._folder / JOURNAL / f"{hashlib.sha256(case.file.encode()).hexdigest()}.json"


def is_whole(folder: Path, made: MadeFiles) -> bool:
    """Tell whether the files of a label map are in a folder as they were written there."""
    try:
        return all(digest == sha256_of(folder / file) for file, digest in made.sha256.items())
    except OSError:
        return False


@contextmanager
def unfinished_prediction(out: Path, made_by: tuple[object, ...]) -> Iterator[UnfinishedPrediction]:
    """Give the folder beside `out` in which label maps are collected; at the end it becomes `out`.

    After an error or an interruption it stays for the next call, if there is any label map in it.

    Args:
        out: must not exist, be empty, or be a finished prediction.
        made_by: see `UnfinishedPrediction`.

    Raises:
        OutputExistsError: `out` is not free, or changed meanwhile.
        BusyFolderError: another process is writing it.
        NoSpaceError: the disk filled up.
    """
    with resumable_folder(out, is_of_use=_holds_label_maps) as folder:
        before = finished_prediction(out)
        yield UnfinishedPrediction(folder, made_by)
        if finished_prediction(out) != before:
            raise OutputExistsError(f"{out} was changed by someone else meanwhile; the same command goes on after that")


def _holds_label_maps(folder: Path) -> bool:
    journal = folder / JOURNAL
    return journal.is_dir() and any(journal.iterdir())
