"""The prepared dataset on disk: what `prepare` writes and everything else reads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from shlex import quote
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from imgmed.augmentation.settings import AugmentationSettings
from imgmed.errors import (
    NotADatasetError,
    SchemaVersionError,
    SourceNotFoundError,
    UnknownCaseError,
    UnknownFoldError,
)
from imgmed.fingerprint.words import PICTURES, SCANS, Words
from imgmed.formats import is_picture, write_volume
from imgmed.intensity import IntensityStatistics, Normalisation
from imgmed.intensity_settings import Bounds, NormalisationKind
from imgmed.labels import class_values
from imgmed.npy import write_npy
from imgmed.scan import ScanPreparation
from imgmed.settings import PreparationSettings
from imgmed.slices import Affine, SliceGrid
from imgmed.splits import Fold, Splits
from imgmed.volume import Volume
from r2d2_base.files import read_json, write_json
from r2d2_base.settings_faults import settings_faults

__all__ = [
    "SCHEMA_VERSION",
    "Case",
    "DatasetDescription",
    "PreparedDataset",
    "SourceFiles",
    "array_path",
    "case_files",
    "map_arrays",
    "reference_path",
    "write_arrays",
    "write_description",
    "write_reference",
]

SCHEMA_VERSION = 2
Task = Literal["segmentation", "classification"]
DATASET, CASES, SPLITS = "dataset.json", "cases.json", "splits.json"
ARRAYS, REFERENCES = "arrays", "references"


class SourceFiles(BaseModel):
    """The files that make one volume of a case, relative to the source folder (see `imgmed.study.VolumeSource`)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    files: tuple[str, ...] = Field(min_length=1, description="One file, or those of a DICOM series or a stack.")
    entry: str | None = Field(default=None, description="Which volume within the file; null: the file is the volume.")

    @property
    def path(self) -> str:
        """The file, or the first of them."""
        return self.files[0]

    def __str__(self) -> str:
        more = f" and {len(self.files) - 1} more" if len(self.files) > 1 else ""
        return f"{self.path}{more}" if self.entry is None else f"{self.path}[{self.entry}]"


class Case(BaseModel):
    """One case of a prepared dataset. Voxel quantities refer to the source files' own voxel order."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    case_id: str = Field(description="Name of the image file without suffix.")
    patient_id: str = Field(description="The case id itself unless a pattern was given.")
    images: tuple[SourceFiles, ...] = Field(description="One volume with all channels, or one for each channel.")
    label: SourceFiles | None = Field(description="The label map; null in a classification study.")
    sha256: dict[str, str] = Field(description="SHA-256 of each of these files.")
    grid: SliceGrid = Field(description="Where the prepared slices lie in the source's voxel grid.")
    spacing_mm: tuple[float, float, float] = Field(description="Spacing along i, j, k of the source.")
    slice_range: tuple[int, int] = Field(
        description="First slice with a labelled pixel, and last plus one; 0, 0: none."
    )
    label_counts: dict[str, int] = Field(description="Voxels of each label in the source, background included.")
    labels_cropped: int = Field(
        default=0, description="Labelled voxels of the source that were cropped away with what surrounds the content."
    )
    clip_bounds: Bounds = Field(description="(lowest, highest) that each channel was limited to; empty: it was not.")
    intensity: IntensityStatistics = Field(description="Of the prepared (clipped) image.")
    category: str | None = Field(default=None, description="Class name in a classification study.")
    training_slices: tuple[int, ...] | None = Field(
        default=None, description="Slices to train on, where not all are; validation and test take every slice."
    )
    augmented_from: str | None = Field(default=None, description="The case that this is an augmented copy of.")

    @property
    def slices_to_train_on(self) -> int:
        """How many of the case's slices training sees."""
        return self.grid.slices if self.training_slices is None else len(self.training_slices)

    @property
    def image_sha256(self) -> tuple[str, ...]:
        """SHA-256 of every image file in order: tells this scan wherever it lies."""
        return tuple(self.sha256[path] for image in self.images for path in image.files)

    @property
    def is_picture(self) -> bool:
        """Whether the images are pictures: without a size in millimetres and a place in a patient."""
        return all(is_picture(path) for image in self.images for path in image.files)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along i, j, k of the source."""
        return self.grid.shape

    @property
    def affine(self) -> Affine:
        """Voxel index of the source -> RAS millimetres."""
        return self.grid.affine


class DatasetDescription(BaseModel):
    """Content of dataset.json."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int = SCHEMA_VERSION
    name: str
    task: Task = Field(default="segmentation", description="In a classification study labels number the categories.")
    source_root: str = Field(description="Absolute path of the source folder or archive.")
    source_digest: str = Field(description="SHA-256 of that path and, of an archive, of its size and date.")
    recipe: str
    settings: PreparationSettings = Field(description="What the user asked for.")
    channels: tuple[str, ...]
    augmentation: AugmentationSettings | None = Field(
        default=None, description="How the augmented copies vary; null: there are none."
    )
    labels: dict[str, int] = Field(description="{name: value}, ascending, background included.")
    ignore_label: int | None = Field(
        default=None,
        description="Value of voxels that count nowhere: not in the loss, the statistics, the scores.",
    )
    regions: dict[str, tuple[int, ...]] = Field(
        default_factory=dict, description="{name: values that make it up}, for labels that overlap or belong together."
    )
    scan_preparation: ScanPreparation
    normalisation: NormalisationKind
    intensity: Normalisation = Field(description="Numbers from the training cases of the split.")
    reasons: dict[str, str] = Field(description="Why each derived choice was made.")
    fingerprint: dict[str, Any] = Field(description="Geometry of the training cases, axes right, anterior, superior.")
    warnings: tuple[str, ...] = Field(default=(), description="What was noticed and did not stop the preparation.")
    skipped: tuple[str, ...] = Field(default=(), description="Cases left out with on_error=skip, each with its reason.")
    rules_digest: str = Field(default="", description="Tells which arrays a later preparation may take over.")


@dataclass(frozen=True)
class PreparedDataset:
    """A prepared dataset; opening it reads three small files, arrays are mapped when asked for."""

    folder: Path
    description: DatasetDescription
    cases: dict[str, Case]
    splits: Splits

    @property
    def words(self) -> Words:
        """How sizes, axes and amounts of this dataset are called: a scan's way, or where all are pictures theirs."""
        return PICTURES if all(case.is_picture for case in self.cases.values()) else SCANS

    @classmethod
    def read(cls, folder: Path | str) -> PreparedDataset:
        """Open the dataset in `folder`.

        Raises:
            SourceNotFoundError: no such folder.
            NotADatasetError: it holds no prepared dataset, or a damaged one.
            SchemaVersionError: it was prepared by another version of ImgMed.
        """
        folder = Path(folder)
        if not folder.is_dir():
            raise SourceNotFoundError(f"dataset folder {folder} does not exist; make one with 'r2d2 prepare'")
        head = _read_versioned(folder / DATASET)
        cases = _read_versioned(folder / CASES)
        splits = _read_versioned(folder / SPLITS)
        splits.pop("schema_version")
        try:
            found = [Case.model_validate(case) for case in cases["cases"]]
            return cls(
                folder=folder,
                description=DatasetDescription.model_validate(head),
                cases={case.case_id: case for case in found},
                splits=Splits.model_validate(splits),
            )
        except (ValidationError, KeyError, TypeError) as error:
            raise NotADatasetError(
                f"{folder}: damaged dataset ({_first_line(error)}); run 'r2d2 prepare' again"
            ) from error

    @property
    def name(self) -> str:
        """Name of the study."""
        return self.description.name

    @property
    def channels(self) -> tuple[str, ...]:
        """Channel names, in order."""
        return self.description.channels

    @property
    def labels(self) -> dict[str, int]:
        """{name: value}, ascending, background included."""
        return dict(self.description.labels)

    @property
    def class_values(self) -> tuple[int, ...]:
        """Label value of each class index; class 0 is the background."""
        return class_values(self.description.labels)

    @property
    def scan_preparation(self) -> ScanPreparation:
        """The steps that every case went through."""
        return self.description.scan_preparation

    @property
    def source_root(self) -> Path:
        """The folder that the cases' source files are relative to."""
        return Path(self.description.source_root)

    def case(self, case_id: str) -> Case:
        """Return one case; raises UnknownCaseError for an identifier that is not there."""
        try:
            return self.cases[case_id]
        except KeyError:
            known = ", ".join(list(self.cases)[:5])
            raise UnknownCaseError(
                f"{self.folder}: no case {case_id!r} among {len(self.cases)} cases ({known}, ...)"
            ) from None

    def image(self, case_id: str) -> np.ndarray:
        """Map a case's image, read-only: float32 (slices, height, width, channels), not normalised."""
        return self._map(case_id, "image")

    def label_map(self, case_id: str) -> np.ndarray:
        """Map a case's label values, read-only: uint8 or uint16 (slices, height, width)."""
        return self._map(case_id, "label")

    def reference(self, case_id: str) -> Path:
        """Return the file of a case's label map in its scan's own voxel grid, remapped as prepared: .nii.gz."""
        return reference_path(self.folder, self.case(case_id).case_id)

    def grid(self, case_id: str) -> SliceGrid:
        """Return where a case's slices lie in the source's voxel grid."""
        return self.case(case_id).grid

    def restored_image(self, case_id: str) -> Volume:
        """Return a case's image put back into its scan's voxel grid, (i, j, k, channels) float32, as prepared."""
        grid = self.grid(case_id)
        return Volume(grid.restore(np.asarray(self.image(case_id)), order=1), np.array(grid.affine))

    @property
    def original_splits(self) -> Splits:
        """The splits without augmented copies."""
        copies = {case.case_id for case in self.cases.values() if case.augmented_from is not None}
        return Splits(
            train=_without(copies, self.splits.train),
            validation=self.splits.validation,
            test=self.splits.test,
            folds=tuple(
                Fold(_without(copies, fold.train), _without(copies, fold.validation)) for fold in self.splits.folds
            ),
        )

    def with_fold(self, fold: int | None) -> PreparedDataset:
        """Give the dataset with the training and validation cases of a fold of the cross-validation.

        Args:
            fold: which one, from 0; None: the dataset as it is, with its own split.

        Raises:
            UnknownFoldError: there is no such fold.
        """
        if fold is None:
            return self
        folds = self.splits.folds
        if not 0 <= fold < len(folds):
            valid = f"0 to {len(folds) - 1}" if folds else "none, as the splits have no folds"
            raise UnknownFoldError(f"{self.folder}: fold must be one of {valid}; received {fold}")
        train, validation = folds[fold]
        splits = self.splits.model_copy(update={"train": train, "validation": validation})
        return replace(self, splits=splits)

    def case_statistics(self, case_id: str) -> IntensityStatistics:
        """Return count, sums and sums of squares of a case's prepared intensities."""
        return self.case(case_id).intensity

    def normalisation(self, case_ids: Iterable[str]) -> Normalisation:
        """Return the normalisation with numbers from these cases alone (those trained on)."""
        return Normalisation.of_cases(
            self.description.normalisation, [self.case_statistics(case_id) for case_id in case_ids]
        )

    def _map(self, case_id: str, kind: str) -> np.ndarray:
        path = array_path(self.folder, self.case(case_id).case_id, kind)
        try:
            return np.load(path, mmap_mode="r")
        except (OSError, ValueError) as error:
            raise NotADatasetError(f"{path}: missing or damaged ({error}); run 'r2d2 prepare' again") from error


def _without(copies: set[str], case_ids: Iterable[str]) -> tuple[str, ...]:
    return tuple(case_id for case_id in case_ids if case_id not in copies)


def write_arrays(folder: Path, case_id: str, image: np.ndarray, label_map: np.ndarray | None) -> None:
    """Write one case's arrays into a dataset folder: image (s, h, w, c) float32, label map (s, h, w) if any."""
    (folder / ARRAYS).mkdir(exist_ok=True)
    write_npy(array_path(folder, case_id, "image"), image)
    if label_map is not None:
        write_npy(array_path(folder, case_id, "label"), label_map)


def write_reference(folder: Path, case_id: str, label_map: Volume) -> None:
    """Write one case's label map (i, j, k) in its scan's own voxel grid into a dataset folder."""
    (folder / REFERENCES).mkdir(exist_ok=True)
    write_volume(reference_path(folder, case_id), label_map)


def map_arrays(folder: Path, case_id: str) -> tuple[np.ndarray, np.ndarray]:
    """Map one case's image and label map in a dataset folder, read-only."""
    image, label_map = (np.load(array_path(folder, case_id, kind), mmap_mode="r") for kind in ("image", "label"))
    return image, label_map


def write_description(folder: Path, description: DatasetDescription, cases: Iterable[Case], splits: Splits) -> None:
    """Write dataset.json, cases.json and splits.json into a dataset folder."""
    version = {"schema_version": SCHEMA_VERSION}
    write_json(folder / CASES, version | {"cases": [case.model_dump(mode="json") for case in cases]})
    write_json(folder / SPLITS, version | splits.model_dump(mode="json"))
    write_json(folder / DATASET, description.model_dump(mode="json"))


def array_path(folder: Path, case_id: str, kind: str) -> Path:
    """Return where an array lies; `kind` is "image" or "label"."""
    return folder / ARRAYS / f"{case_id}.{kind}.npy"


def reference_path(folder: Path, case_id: str) -> Path:
    """Return where a case's label map in its scan's own voxel grid lies."""
    return folder / REFERENCES / f"{case_id}.nii.gz"


def case_files(folder: Path, case_id: str, is_labelled: bool) -> tuple[Path, ...]:
    """Return the files that a case of a dataset consists of."""
    image = array_path(folder, case_id, "image")
    if not is_labelled:
        return (image,)
    return image, array_path(folder, case_id, "label"), reference_path(folder, case_id)


def _read_versioned(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise NotADatasetError(
            f"{path.parent} is not a prepared dataset: it has no {path.name};"
            f" make one with 'r2d2 prepare SOURCE --out FOLDER'"
        )
    try:
        content = read_json(path)
    except (OSError, ValueError) as error:
        raise NotADatasetError(f"{path}: damaged ({error}); run 'r2d2 prepare' again") from error
    if not isinstance(content, Mapping) or "schema_version" not in content:
        raise NotADatasetError(
            f"{path.parent} is not a prepared dataset ({path.name} has no schema_version);"
            f" if it is a study, run 'r2d2 prepare {quote(str(path.parent))} --out FOLDER' first"
        )
    if content["schema_version"] != SCHEMA_VERSION:
        raise SchemaVersionError(
            f"{path}: prepared with schema version {content['schema_version']}, expected {SCHEMA_VERSION};"
            " run 'r2d2 prepare' again"
        )
    return dict(content)


def _first_line(error: Exception) -> str:
    if isinstance(error, ValidationError):
        return settings_faults(error)[0]
    return f"{type(error).__name__} {error}"
