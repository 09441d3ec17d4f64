"""Applying a trained network to scans: label maps in each scan's own voxel grid."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from dist_training.architectures import read_network
from dist_training.inference.model_card import ModelCard, Split, read_model_card
from dist_training.run.plan import check_tensorflow
from imgmed import (
    PreparedDataset,
    SliceGrid,
    Volume,
    case_stem,
    has_known_suffix,
    known_suffixes,
    prepare_scan,
    read_volume,
    with_neighbours,
    write_volume,
)
from imgmed.formats.dicom import find_series
from imgmed.formats.dicom_file import is_dicom
from imgmed.recipes.names import label_name
from imgmed.study import VolumeSource
from r2d2.errors import PredictionError
from r2d2_base.files import read_json, sha256_of, write_json
from r2d2_base.folders import staged_folder
from r2d2_base.progress import UNWATCHED, Progress, StopRequest, Watcher

__all__ = [
    "MANIFEST",
    "PredictedCase",
    "PredictionManifest",
    "Predictor",
    "find_scans",
    "predict_dataset",
    "predict_scans",
    "prediction_name",
    "read_manifest",
]

MANIFEST = "prediction.json"
PIXELS_AT_A_TIME = 2**19


class PredictedCase(BaseModel):
    """One label map of a prediction folder.

    Attributes:
        case_id: the case.
        file: its label map, in the folder.
        source: the scan's path.
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
    """prediction.json: which model made a folder of label maps, from what.

    Attributes:
        model: path of the network.
        model_sha256: SHA-256 of the network.
        labels: name to label value, background included.
        cases: one entry a label map.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    model: str
    model_sha256: str
    labels: dict[str, int]
    cases: tuple[PredictedCase, ...]


@dataclass(frozen=True)
class _Scan:
    """A scan on its way through the network: slices (s, h, w, c), clipped but not normalised."""

    image: np.ndarray
    grid: SliceGrid
    affine: np.ndarray
    case: PredictedCase
    like: Path | None


class Predictor:
    """A trained network with all that its card says about scans.

    Args:
        model: a run folder, or a model.keras with its model.json beside it.

    Raises:
        ModelError: there is no such network, or it is damaged.
    """

    def __init__(self, model: Path) -> None:
        check_tensorflow()
        self.path, self.card = read_model_card(model)
        self._network, self._outputs = read_network(self.path, self.card.network), self.card.outputs
        self._used_cases = self.card.used_cases

    def split_of(self, image_sha256: tuple[str, ...]) -> Split | None:
        """Tell what the model's training, or that of the networks it started from, used a scan for, by its content."""
        case = self._used_cases.get(image_sha256)
        return None if case is None else case.split

    def predict(self, image: np.ndarray, grid: SliceGrid, watcher: Watcher = UNWATCHED) -> np.ndarray:
        """Segment a prepared scan.

        Args:
            image: float32 (slices, height, width, channels), clipped but not normalised.
            grid: where the slices lie in the scan.
            watcher: may ask the work to end, between any slices and the next.

        Returns:
            Label values in the scan's own voxel order and shape (i, j, k), the smallest unsigned type that fits.
        """
        normalisation = self.card.normalisation
        normalised = normalisation.apply(image, *normalisation.statistics(image))
        is_resampled = grid.is_resampled
        parts = [scores if is_resampled else self._decide(scores) for scores in self._scores(normalised, watcher)]
        stack = np.concatenate(parts)
        classes = self._decide(grid.restore(stack, order=1)) if is_resampled else grid.restore(stack, order=0)
        return np.array(self.card.class_values, dtype=np.min_scalar_type(max(self.card.class_values)))[classes]

    def _scores(self, image: np.ndarray, watcher: Watcher) -> Iterator[np.ndarray]:
        """Yield class scores (n, height, width, outputs) for a few slices at a time, padding cut off again."""
        size = image.shape[1:3]
        canvas = tuple(max(pair) for pair in zip(size, self.card.scan_preparation.slice_size, strict=True))
        top, left = ((whole - part) // 2 for whole, part in zip(canvas, size, strict=True))
        count = max(1, PIXELS_AT_A_TIME // (canvas[0] * canvas[1]))
        for start in range(0, image.shape[0], count):
            watcher.check()
            wanted = np.arange(start, min(start + count, image.shape[0]))
            part = with_neighbours(image, wanted, self.card.scan_preparation.neighbours)
            padded = np.zeros((part.shape[0], *canvas, part.shape[3]), dtype=np.float32)
            padded[:, top : top + size[0], left : left + size[1]] = part
            logits = np.asarray(self._network.predict_on_batch(padded), dtype=np.float32)
            # between voxels, probabilities are what may be averaged
            yield self._outputs.probabilities(logits[:, top : top + size[0], left : left + size[1]])

    def _decide(self, probabilities: np.ndarray) -> np.ndarray:
        """Turn (..., outputs) into class indices."""
        classes = self._outputs.decode_probabilities(probabilities)
        return classes.astype(np.min_scalar_type(len(self.card.class_values)))


def predict_dataset(
    model: Path,
    dataset: PreparedDataset,
    case_ids: Sequence[str],
    out: Path,
    progress: Progress | None = None,
    stop: StopRequest | None = None,
) -> PredictionManifest:
    """Segment cases of a prepared dataset, in the voxel grid of their source files.

    Args:
        model: a run folder, or a model.keras.
        dataset: the prepared dataset; its arrays alone are read.
        case_ids: which of its cases.
        out: folder for the label maps, named like the scans; must not exist, or be empty.
        progress: told of each case.
        stop: ends the work where it is made; nothing is left in ``out``.

    Returns:
        The manifest, which is also in ``out``.

    Raises:
        PredictionError: the dataset was prepared in another way than the model's.
    """
    predictor = Predictor(model)
    _check_preparation(predictor.card, dataset)

    def scans() -> Iterator[_Scan]:
        for case_id in case_ids:
            case = dataset.case(case_id)
            digests = case.image_sha256
            source = dataset.source_root / case.images[0].path
            predicted = PredictedCase(
                case_id=case_id,
                file=prediction_name(case_id, source),
                source=str(source),
                source_sha256=digests,
                split=predictor.split_of(digests),
            )
            like = source if _is_nifti(source) and source.is_file() else None
            yield _Scan(dataset.image(case_id), case.grid, np.array(case.affine), predicted, like)

    return _write(predictor, scans(), len(case_ids), out, Watcher(progress, stop))


def _check_preparation(card: ModelCard, dataset: PreparedDataset) -> None:
    theirs, ours = dict(card.scan_preparation), dict(dataset.scan_preparation)
    differing = [name for name in ours if name != "slice_size" and theirs[name] != ours[name]]
    if differing:
        listed = "; ".join(f"{n}: model {_shown(theirs[n])}, dataset {_shown(ours[n])}" for n in differing)
        raise PredictionError(
            f"{dataset.folder} was prepared in another way than the model's data ({listed}); "
            f"predict its scans with --input {dataset.source_root} instead"
        )


def _shown(value: Any) -> str:
    """A setting as text; operations as their names and parameters."""
    if isinstance(value, tuple) and value and isinstance(value[0], BaseModel):
        return "[" + ", ".join(str(dict(operation)) for operation in value) + "]"
    return str(value)


def prediction_name(case_id: str, scan: Path) -> str:
    """Give the file name of a label map: the case's, as NIfTI, compressed unless the scan is an uncompressed one.

    >>> prediction_name("a", Path("a.nii")), prediction_name("b", Path("study/0001.dcm"))
    ('a.nii', 'b.nii.gz')
    """
    return f"{case_id}.nii" if scan.name.lower().endswith(".nii") else f"{case_id}.nii.gz"


def _is_nifti(path: Path) -> bool:
    return path.name.lower().endswith((".nii", ".nii.gz"))


def find_scans(inputs: Sequence[Path]) -> list[tuple[str, VolumeSource]]:
    """List the scans among files and folders, each with a name.

    Args:
        inputs: files, and folders whose scans are taken: their files (not those of their subfolders), or, where there
            are none but label maps, the DICOM image series anywhere below.

    Returns:
        Name and files of each, those of a folder in the order of their names. A series is called as its folder is,
        with those above it where several are called so ("p1_CT", "p2_CT"), and with a number where it holds several.

    Raises:
        PredictionError: a path is missing, is no scan, or a folder holds none.
    """
    found: list[tuple[str, VolumeSource]] = []
    suffixes = ", ".join(known_suffixes())
    for path in inputs:
        if path.is_dir():
            scans = sorted(p for p in path.iterdir() if p.is_file() and has_known_suffix(p) and not is_dicom(p))
            are_labels = all(label_name(case_stem(scan)) is not None for scan in scans)  # or there are none
            series = _series_in(path) if are_labels else []
            named = series or [(case_stem(scan), VolumeSource((scan,))) for scan in scans]
            if not named:
                raise PredictionError(f"no scans in {path}; files that can be read end in {suffixes}, or are DICOM")
            found += named
        elif not path.exists():
            raise PredictionError(f"no such file or folder: {path}")
        elif not has_known_suffix(path):
            raise PredictionError(f"{path} is no scan that can be read; such files end in {suffixes}")
        else:
            found.append((case_stem(path), VolumeSource((path,))))
    return found


def _series_in(folder: Path) -> list[tuple[str, VolumeSource]]:
    series = [one.source for one in find_series(folder) if one.kind == "image"]
    counts = Counter(source.path.parent for source in series)
    same_name = Counter(parent.name for parent in counts)
    numbers: Counter[Path] = Counter()
    named = []
    for source in series:
        parent = source.path.parent
        numbers[parent] += 1
        is_alone = parent == folder or same_name[parent.name] == 1
        name = parent.resolve().name if is_alone else "_".join(parent.relative_to(folder).parts)
        named.append((name if counts[parent] == 1 else f"{name}_{numbers[parent]}", source))
    return named


def predict_scans(
    model: Path,
    inputs: Sequence[Path],
    out: Path,
    progress: Progress | None = None,
    stop: StopRequest | None = None,
) -> PredictionManifest:
    """Segment scans from anywhere, each in its own voxel grid.

    Args:
        model: a run folder, or a model.keras.
        inputs: files or folders.
        out: folder for the label maps, named like the scans; must not exist, or be empty.
        progress: told of each scan.
        stop: ends the work where it is made; nothing is left in ``out``.

    Returns:
        The manifest, which is also in ``out``.

    Raises:
        PredictionError: no scans, or two with the same name.
        ImgMedError: a scan that cannot be read or does not suit the model; nothing is left in ``out``.
    """
    found = find_scans(inputs)
    _check_names(found)
    predictor = Predictor(model)

    def scans() -> Iterator[_Scan]:
        for case_id, source in found:
            volume = read_volume(source)
            prepared = prepare_scan(volume, predictor.card.scan_preparation)
            digests = tuple(sha256_of(path) for path in source.files)
            predicted = PredictedCase(
                case_id=case_id,
                file=prediction_name(case_id, source.path),
                source=str(source.path.absolute()),
                source_sha256=digests,
                split=predictor.split_of(digests),
            )
            like = source.path if _is_nifti(source.path) else None
            yield _Scan(prepared.image, prepared.grid, volume.affine, predicted, like)

    return _write(predictor, scans(), len(found), out, Watcher(progress, stop))


def _check_names(scans: Sequence[tuple[str, VolumeSource]]) -> None:
    """Refuse two scans whose label maps would have the same name."""
    first: dict[str, VolumeSource] = {}
    for case_id, source in scans:
        other = first.setdefault(case_id, source)
        if other is not source:
            raise PredictionError(f"{other} and {source} would both be written as {case_id}; predict them apart")


def _write(predictor: Predictor, scans: Iterator[_Scan], total: int, out: Path, watcher: Watcher) -> PredictionManifest:
    with staged_folder(out) as staging:
        cases = []
        watcher.report("predicting", 0, total)
        for number, scan in enumerate(scans, start=1):
            label_map = predictor.predict(scan.image, scan.grid, watcher)
            write_volume(staging / scan.case.file, Volume(label_map, scan.affine), like=scan.like)
            cases.append(scan.case)
            watcher.report("predicting", number, total)
        manifest = PredictionManifest(
            model=str(predictor.path.absolute()),
            model_sha256=predictor.card.model_sha256,
            labels=predictor.card.labels,
            cases=tuple(cases),
        )
        write_json(staging / MANIFEST, manifest.model_dump(mode="json"))
    return manifest


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
