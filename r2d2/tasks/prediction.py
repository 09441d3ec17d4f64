"""Predicting: label maps for scans from anywhere, or for cases of a prepared dataset."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from dist_training.inference.model_card import ModelCard, Split
from dist_training.inference.postprocessing import apply_rules
from imgmed import PreparedDataset, SliceGrid, Volume
from imgmed.errors import ImgMedError
from imgmed.formats import is_picture
from r2d2.errors import PredictionError
from r2d2.prediction.ensemble import preparation_differences
from r2d2.prediction.manifest import EnsembleMember, PredictedCase, PredictionManifest, prediction_name
from r2d2.prediction.predictor import Predictor
from r2d2.prediction.reading import CheckedScan, NoScanError, check_scan, is_capture_alone, read_scan
from r2d2.prediction.scans import FoundScans, few, found_scans
from r2d2.prediction.settings import InferenceSettings, PredictionSettings
from r2d2.prediction.uncertainty import case_uncertainty
from r2d2.prediction.volumes import volumes_in
from r2d2.prediction.writing import UnfinishedPrediction, maps_of, unfinished_prediction
from r2d2_base.errors import R2D2Error
from r2d2_base.files import check_writable, sha256_of
from r2d2_base.folders import check_absent
from r2d2_base.progress import Progress, StopRequest, Watcher

__all__ = ["PredictSettings", "Prediction", "predict", "predict_dataset", "predict_scans"]

LEAVE_OUT = "--on-error skip leaves such scans out"


class PredictSettings(BaseModel):
    """What a prediction is told: a network, and cases of a dataset or scans from anywhere.

    >>> PredictSettings(model="work/run", inputs=["new/scan.nii.gz"], out="work/elsewhere").scans.on_error
    'stop'
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str | Path | tuple[str | Path, ...] = Field(
        description="run folder of a training, or a model.keras beside its model.json; several, or the folder of a"
        " cross-validation, are asked together"
    )
    out: Path = Field(description="folder for the label maps; it must not exist, or be empty")
    dataset: Path | None = Field(default=None, description="prepared dataset whose cases are predicted")
    split: Split = Field(default="test", description="which of the dataset's cases")
    inputs: tuple[Path, ...] = Field(default=(), description="scans: files, folders of any layout, archives")
    scans: PredictionSettings = Field(default_factory=PredictionSettings, description="how scans are found and read")
    inference: InferenceSettings = Field(default_factory=InferenceSettings, description="how networks are applied")
    trust_code: bool = Field(
        default=False,
        description="import the module that a model's card names for layers of its own: it may do anything",
    )


def predict(
    settings: PredictSettings, *, progress: Progress | None = None, stop: StopRequest | None = None
) -> Prediction:
    """Segment scans by a trained network, each in its own voxel grid.

    Args:
        settings: which network, and which scans.
        progress: told of each scan.
        stop: ends the work where it is made; the same call then goes on where it was.

    Returns:
        What was predicted, left out and passed over.

    Raises:
        PredictionError: settings that contradict each other, or scans that the network cannot be applied to.
        CancelledError: ``stop`` was made.
    """
    if (settings.dataset is None) == (not settings.inputs):
        raise PredictionError("give either --dataset (with --split) or --input, to say what to predict")
    reading = settings.scans
    if settings.dataset is None:
        return predict_scans(
            settings.model,
            settings.inputs,
            settings.out,
            reading,
            settings.inference,
            trust_code=settings.trust_code,
            progress=progress,
            stop=stop,
        )
    if reading.model_copy(update={"on_error": "stop"}) != PredictionSettings():
        raise PredictionError(
            "--recipe, --series, --channels and --spatial-units say how --input is read; --dataset needs none of them"
        )
    dataset = PreparedDataset.read(settings.dataset)
    case_ids = getattr(dataset.original_splits, settings.split)
    return predict_dataset(
        settings.model,
        dataset,
        case_ids,
        settings.out,
        progress,
        stop,
        settings.inference,
        trust_code=settings.trust_code,
        on_error=reading.on_error,
    )


@dataclass(frozen=True)
class Prediction:
    """What a prediction made.

    Attributes:
        folder: of the label maps and of prediction.json.
        manifest: content of prediction.json.
        taken_over: label maps that an earlier call, which was interrupted, had made.
    """

    folder: Path
    manifest: PredictionManifest
    taken_over: int = 0

    @property
    def cases(self) -> tuple[PredictedCase, ...]:
        """One entry a label map."""
        return self.manifest.cases

    @property
    def left_out(self) -> tuple[str, ...]:
        """A sentence for each scan that could not be predicted."""
        return self.manifest.left_out

    @property
    def passed_over(self) -> tuple[str, ...]:
        """A line for each file that was looked at and is no scan, and why."""
        return self.manifest.passed_over


@dataclass(frozen=True)
class _Item:
    """A scan on its way through the network.

    Attributes:
        name: what messages call it.
        entry: makes its entry in the manifest, which needs its files' digests.
        read: gives its slices (s, h, w, c), clipped but not normalised, their grid, and the affine of its voxels.
        like: a NIfTI file whose header the label map takes over.
        made_from: what else the label map depends on.
    """

    name: str
    entry: Callable[[], PredictedCase]
    read: Callable[[], tuple[np.ndarray, SliceGrid, np.ndarray]]
    like: Path | None
    made_from: tuple[object, ...] = ()


def predict_scans(
    model: str | Path | Sequence[str | Path],
    inputs: Sequence[Path],
    out: Path,
    settings: PredictionSettings | None = None,
    inference: InferenceSettings | None = None,
    *,
    trust_code: bool = False,
    progress: Progress | None = None,
    stop: StopRequest | None = None,
) -> Prediction:
    """Segment scans from anywhere, each in its own voxel grid.

    Label maps are called as `prepare` would call the cases. What an interrupted or failed call has made is kept beside
    ``out``, and the same call goes on from there.

    Args:
        model: what `resolve_ensemble` takes.
        inputs: files, folders and archives, see `found_scans`.
        out: folder for the label maps; must not exist, or be empty.
        settings: how scans are found and read; None: the defaults.
        inference: how networks are applied; None: the defaults.
        trust_code: see `PredictSettings`.
        progress: told of ("checking", done, total) and ("predicting", done, total).
        stop: ends the work where it is made.

    Returns:
        The manifest, which is also in ``out``.

    Raises:
        PredictionError: no scans, or scans that cannot be predicted, all of them listed.
        ImgMedError: a path is missing, or is no scan; a layout is ambiguous.
        ModelError: there is no such model.
        NotWritableError: nothing can be written where ``out`` is to be.
        CancelledError: a stop was requested.
    """
    chosen, watcher = settings or PredictionSettings(), Watcher(progress, stop)
    check_absent(out)
    check_writable(out)
    predictor = Predictor(model, inference, trust_code=trust_code)
    series = predictor.card.series if chosen.series is None else chosen.series
    with found_scans(inputs, chosen.recipe, series, watcher) as found:
        checked, faults, passed_over = _checked(found, predictor.card, chosen, watcher)
        if faults and (chosen.on_error == "stop" or not checked):
            raise PredictionError(_listed(faults, len(checked) + len(faults)))
        if not checked:
            raise PredictionError(f"no scans that suit the model: {few(passed_over)}")
        items = [_item_of(scan, predictor) for scan in checked]
        return _Work(predictor, out, chosen.on_error, watcher, found.told).run(items, faults, passed_over)


def predict_dataset(
    model: str | Path | Sequence[str | Path],
    dataset: PreparedDataset,
    case_ids: Sequence[str],
    out: Path,
    progress: Progress | None = None,
    stop: StopRequest | None = None,
    inference: InferenceSettings | None = None,
    *,
    trust_code: bool = False,
    on_error: Literal["stop", "skip"] = "stop",
) -> Prediction:
    """Segment cases of a prepared dataset, in the voxel grid of their source files.

    Args:
        model: what `resolve_ensemble` takes.
        dataset: the prepared dataset; its arrays alone are read.
        case_ids: which of its cases.
        out: folder for the label maps, named like the scans; must not exist, or be empty.
        progress: told of each case.
        stop: ends the work where it is made; what is done is kept beside ``out`` for the same call.
        inference: how networks are applied; None: the defaults.
        trust_code: see `PredictSettings`.
        on_error: cases whose arrays cannot be read: stop, or leave them out and name them.

    Returns:
        The manifest, which is also in ``out``.

    Raises:
        PredictionError: the dataset was prepared in another way than the model's.
        CancelledError: a stop was requested.
    """
    check_absent(out)
    check_writable(out)
    predictor = Predictor(model, inference, trust_code=trust_code)
    _check_preparation(predictor.card, dataset)
    items = [_item_of_case(dataset, case_id, predictor) for case_id in case_ids]
    return _Work(predictor, out, on_error, Watcher(progress, stop)).run(items)


@dataclass(frozen=True)
class _Work:
    """Scans sent through a network one by one."""

    predictor: Predictor
    out: Path
    on_error: Literal["stop", "skip"]
    watcher: Watcher
    told: Callable[[object], str] = str

    def run(self, items: Sequence[_Item], left_out: Sequence[str] = (), passed_over: Sequence[str] = ()) -> Prediction:
        cases: list[PredictedCase] = []
        faults, made, predictor = list(left_out), 0, self.predictor
        cards = [member.card.model_dump_json() for member in predictor.members]
        with unfinished_prediction(self.out, (*cards, predictor.settings.model_dump_json())) as folder:
            self.watcher.report("predicting", 0, len(items))
            looks = self.watcher.ahead([partial(_look, item, folder) for item in items])
            for number, (item, look) in enumerate(zip(items, looks, strict=True), start=1):
                try:
                    seen = look()
                    case = seen if isinstance(seen, PredictedCase) else self._predict(item, seen, folder)
                except (ImgMedError, PredictionError, OSError, MemoryError) as error:
                    fault = _sentence(error, item.name, self.told)
                    if self.on_error == "stop":
                        raise PredictionError(_with_what_is_kept(fault, len(cases), len(items))) from error
                    faults.append(fault)
                else:
                    made += case is not seen
                    cases.append(case)
                self.watcher.report("predicting", number, len(items))
            if not cases:
                raise PredictionError(_listed(faults, len(faults)))
            manifest = PredictionManifest(
                model=str(predictor.path.absolute()),
                model_sha256=predictor.card.model_sha256,
                ensemble=_ensemble_of(predictor),
                inference=predictor.settings,
                labels=predictor.card.labels,
                cases=tuple(cases),
                left_out=tuple(faults),
                passed_over=tuple(passed_over),
            )
            folder.finish(manifest)
        return Prediction(self.out, manifest, len(cases) - made)

    def _predict(self, item: _Item, seen: _Seen, folder: UnfinishedPrediction) -> PredictedCase:
        """Make a scan's label map and what comes with it, and give its entry."""
        segmentation = self.watcher.call(lambda: self.predictor.predict(seen.image, seen.grid, self.watcher))
        label_map = apply_rules(
            Volume(segmentation.label_map, seen.affine), self.predictor.rules, self.predictor.card.labels
        )
        said: dict[str, object] = {}
        if segmentation.uncertainty is not None:
            said["uncertainty"] = case_uncertainty(segmentation.uncertainty, label_map.array)
        if not is_picture(seen.case.source):
            said["volumes_ml"] = volumes_in(label_map, self.predictor.card)
        case = seen.case.model_copy(update=said)
        folder.write(case, label_map, maps_of(segmentation, self.predictor.output_names), item.like, *item.made_from)
        return case


@dataclass(frozen=True, eq=False)
class _Seen:
    """A scan that was read: its entry, its slices and their grid, and the affine of its voxels."""

    case: PredictedCase
    image: np.ndarray
    grid: SliceGrid
    affine: np.ndarray


def _look(item: _Item, folder: UnfinishedPrediction) -> PredictedCase | _Seen:
    """Read a scan; give its entry alone where an earlier call has made its label map."""
    case = item.entry()
    return folder.earlier(case, *item.made_from) or _Seen(case, *item.read())


def _checked(
    found: FoundScans, card: ModelCard, settings: PredictionSettings, watcher: Watcher
) -> tuple[list[CheckedScan], list[str], list[str]]:
    """The scans whose headers suit the model, what is wrong with the others, and what is none after all."""
    checked: list[CheckedScan] = []
    pictures: list[CheckedScan] = []
    faults, passed_over = list(found.problems), list(found.passed_over)
    watcher.report("checking", 0, len(found.scans))
    for number, scan in enumerate(found.scans, start=1):
        try:
            fitting = check_scan(scan, card.scan_preparation, settings.channels, settings.spatial_units)
            (pictures if is_capture_alone(scan) else checked).append(fitting)
        except NoScanError as error:
            passed_over.append(found.told(error))
        except (ImgMedError, OSError, MemoryError) as error:
            faults.append(_sentence(error, scan.shown, found.told))
        watcher.report("checking", number, len(found.scans))
    if not checked:
        return pictures, faults, passed_over
    passed_over += [f"{one.scan.shown}: a picture of a study, such as a report" for one in pictures]
    return checked, faults, passed_over


def _item_of(checked: CheckedScan, predictor: Predictor) -> _Item:
    scan = checked.scan
    path = scan.images[0].path

    def entry() -> PredictedCase:
        digests = tuple(sha256_of(file) for image in scan.images for file in image.files)
        return PredictedCase(
            case_id=scan.case_id,
            file=prediction_name(scan.case_id, path, is_one_file=len(scan.images[0].files) == 1),
            source=str(Path(scan.shown).absolute()),
            source_sha256=digests,
            split=predictor.split_of(digests),
        )

    def read() -> tuple[np.ndarray, SliceGrid, np.ndarray]:
        volume, prepared = read_scan(checked, predictor.card.scan_preparation)
        return prepared.image, prepared.grid, volume.affine

    return _Item(scan.shown, entry, read, path if _is_nifti(path) else None, (checked.channels, checked.spatial_units))


def _item_of_case(dataset: PreparedDataset, case_id: str, predictor: Predictor) -> _Item:
    case = dataset.case(case_id)
    source = dataset.source_root / case.images[0].path

    def entry() -> PredictedCase:
        return PredictedCase(
            case_id=case_id,
            file=prediction_name(case_id, source, is_one_file=len(case.images[0].files) == 1),
            source=str(source),
            source_sha256=case.image_sha256,
            split=predictor.split_of(case.image_sha256),
        )

    def read() -> tuple[np.ndarray, SliceGrid, np.ndarray]:
        return dataset.image(case_id), case.grid, np.array(case.affine)

    return _Item(case_id, entry, read, source if _is_nifti(source) and source.is_file() else None)


def _is_nifti(path: Path) -> bool:
    return path.name.lower().endswith((".nii", ".nii.gz"))


def _check_preparation(card: ModelCard, dataset: PreparedDataset) -> None:
    differences = preparation_differences(("model", card.scan_preparation), ("dataset", dataset.scan_preparation))
    if differences:
        raise PredictionError(
            f"{dataset.folder} was prepared in another way than the model's data ({'; '.join(differences)}); "
            f"predict its scans with --input {dataset.source_root} instead"
        )


def _ensemble_of(predictor: Predictor) -> tuple[EnsembleMember, ...]:
    members = [
        EnsembleMember(model=str(member.path.absolute()), model_sha256=member.card.model_sha256)
        for member in predictor.members
    ]
    return tuple(members) if len(members) > 1 else ()


def _sentence(error: Exception, scan: str, told: Callable[[object], str] = str) -> str:
    """Say what is wrong with a scan, and with which."""
    if isinstance(error, MemoryError):
        return f"{scan}: needs more memory than there is"
    if isinstance(error, OSError) and not isinstance(error, R2D2Error):
        return told(f"{error.filename or scan}: cannot be read ({error.strerror or 'input or output failed'})")
    sentence = told(error)
    return sentence if str(Path(scan).parent) in sentence else f"{scan}: {sentence}"


def _listed(faults: Sequence[str], scans: int) -> str:
    """Say what is wrong with some of several scans."""
    if len(faults) == 1:
        return faults[0] if scans == 1 else f"{faults[0]}; {LEAVE_OUT}"
    lines = "\n".join(f"  {fault}" for fault in faults)
    advice = f" ({LEAVE_OUT})" if scans > len(faults) else ""
    return f"{len(faults)} of {scans} scans cannot be predicted{advice}:\n{lines}"


def _with_what_is_kept(fault: str, done: int, scans: int) -> str:
    if not done:
        return _listed([fault], scans)
    maps = "1 label map is" if done == 1 else f"{done} label maps are"
    return f"{fault}; {maps} kept, and the same command goes on after them ({LEAVE_OUT})"
