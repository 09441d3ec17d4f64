"""Which files a case is looked at from: its scan, its reference, a prediction."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from imgmed import PreparedDataset, VolumeSource
from imgmed.formats import is_picture
from r2d2.errors import PredictionError
from r2d2.prediction.manifest import PredictionManifest, is_of_dicom, read_manifest
from segeval.files.label_map import case_id_of
from segeval.files.pairing import label_maps_in

__all__ = ["LAYERS", "Layer", "ViewedCase", "case_of_dataset", "case_of_prediction", "predicted_in"]

Layer = Literal["reference", "prediction"]
LAYERS: tuple[Layer, ...] = ("reference", "prediction")


@dataclass(frozen=True)
class ViewedCase:
    """A case, and where its parts lie.

    Attributes:
        case_id: its name.
        images: the volumes of its scan: one with all channels, or one for each; or the folder of one DICOM series. None
            is known: ().
        channels: names of the channels that can be looked at.
        channel_numbers: which channels of the scan these are.
        labels: name to label value, without the background, in their order.
        is_picture: whether it has no size in millimetres and no place in a patient.
        reference: file of its label map, in the scan's grid.
        prediction: file of the label map that a model gave for it.
        dataset: where it was prepared, whose arrays stand in for a scan that cannot be read.
    """

    case_id: str
    images: tuple[VolumeSource | Path, ...]
    channels: tuple[str, ...]
    channel_numbers: tuple[int, ...]
    labels: dict[str, int]
    is_picture: bool = False
    reference: Path | None = None
    prediction: Path | None = None
    dataset: PreparedDataset | None = None

    def file_of(self, layer: Layer) -> Path | None:
        """Give the file of a label map; None: there is none."""
        return self.reference if layer == "reference" else self.prediction


def case_of_dataset(dataset: PreparedDataset, case_id: str, prediction: Path | None = None) -> ViewedCase:
    """Find a case of a prepared dataset.

    Args:
        dataset: that has it.
        case_id: its name.
        prediction: folder of label maps, where one of the case is to be shown too.

    Raises:
        UnknownCaseError: the dataset has no such case.
        PredictionError: the folder is no prediction, or has none of the case.
    """
    case = dataset.case(case_id)
    root, preparation = dataset.source_root, dataset.scan_preparation
    own = case.augmented_from is None and root.is_dir()
    images = tuple(VolumeSource(tuple(root / file for file in one.files), one.entry) for one in case.images)
    reference = dataset.reference(case_id)
    viewed = ViewedCase(
        case_id=case_id,
        images=images if own else (),
        channels=dataset.channels,
        channel_numbers=preparation.channel_indices or tuple(range(len(dataset.channels))),
        labels=_foreground(dataset.labels),
        is_picture=case.is_picture,
        reference=reference if case.label is not None and reference.is_file() else None,
        dataset=dataset,
    )
    return viewed if prediction is None else replace(viewed, prediction=_predicted(prediction, case_id)[1])


def case_of_prediction(
    folder: Path, case_id: str, dataset: PreparedDataset | None = None, reference: Path | None = None
) -> ViewedCase:
    """Find a case of a folder of label maps that `predict` wrote.

    Args:
        folder: with its prediction.json.
        case_id: of the case.
        dataset: whose cases were predicted; None: scans from anywhere.
        reference: label maps that these were compared with, by names as an evaluation pairs them: a folder, or one of
            them; None: those of the dataset alone.

    Raises:
        PredictionError: it is no such folder, or has none of the case.
    """
    manifest, file = _predicted(folder, case_id)
    judged_by = None if reference is None else _reference_of(file, reference)
    if dataset is not None and case_id in dataset.cases:
        viewed = case_of_dataset(dataset, case_id, folder)
        return viewed if judged_by is None else replace(viewed, reference=judged_by)
    source = Path(next(case.source for case in manifest.cases if case.case_id == case_id))
    return ViewedCase(
        case_id=case_id,
        images=(source.parent if is_of_dicom(source) else VolumeSource((source,)),),
        channels=("image",),
        channel_numbers=(0,),
        labels=_foreground(manifest.labels),
        is_picture=is_picture(source),
        reference=judged_by,
        prediction=file,
    )


def predicted_in(folder: Path) -> tuple[str, ...]:
    """Name the cases of a folder of label maps.

    Raises:
        PredictionError: it is no such folder.
    """
    return tuple(case.case_id for case in _manifest(folder).cases)


def _manifest(folder: Path) -> PredictionManifest:
    manifest = read_manifest(folder)
    if manifest is None:
        raise PredictionError(f"{folder} is no folder of predictions: it has no prediction.json")
    return manifest


def _predicted(folder: Path, case_id: str) -> tuple[PredictionManifest, Path]:
    manifest = _manifest(folder)
    for case in manifest.cases:
        if case.case_id == case_id:
            return manifest, folder / Path(case.file).name
    raise PredictionError(f"{folder} has no label map of case {case_id!r}")


def _reference_of(file: Path, reference: Path) -> Path | None:
    """Give the label map that one of a model is compared with; None: there is none, or not one alone."""
    named = case_id_of(file)
    found = [] if named is None else label_maps_in(reference).get(named, [])
    return found[0] if len(found) == 1 and found[0].is_file() else None


def _foreground(labels: dict[str, int]) -> dict[str, int]:
    return {name: value for name, value in sorted(labels.items(), key=lambda pair: pair[1]) if value != 0}
