"""Predicting: label maps for scans from anywhere, or for cases of a prepared dataset; files, or arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from dist_training.inference.model_card import Split
from imgmed import PreparedDataset, Volume
from imgmed.formats import dicom
from imgmed.formats.dicom_source import segment_numbers
from r2d2.errors import PredictionError
from r2d2.prediction.finished import finished_prediction
from r2d2.prediction.items import Items, items_among, items_of_dataset
from r2d2.prediction.keeping import keep_finished
from r2d2.prediction.manifest import EnsembleMember, PredictedCase, PredictionManifest
from r2d2.prediction.predictor import Predictor
from r2d2.prediction.segmenting import ScanCourse, SegmentedScan, SegmentedVolume, segmented_volume
from r2d2.prediction.settings import InferenceSettings, PredictionSettings
from r2d2.prediction.writing import unfinished_prediction
from r2d2.zoo.registries.resolution import name_of
from r2d2_base.files import check_writable
from r2d2_base.progress import Progress, StopRequest, Watcher

__all__ = ["PredictSettings", "Prediction", "SegmentedScans", "predict", "segment", "segment_volume"]

Notice = Callable[[str], None]


class PredictSettings(BaseModel):
    """What a prediction is told: a network, and cases of a dataset or scans from anywhere.

    >>> PredictSettings(model="work/run", inputs=["new/scan.nii.gz"], out="work/elsewhere").scans.on_error
    'skip'
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str | Path | tuple[str | Path, ...] = Field(
        description="run folder of a training, a model.keras beside its model.json, or zoo:NAME[:VERSION]; several, or"
        " the folder of a cross-validation, are asked together"
    )
    out: Path | None = Field(
        default=None,
        description="folder for the label maps; one of the same model and settings is added to. null: only arrays",
    )
    overwrite: bool = Field(default=False, description="replace label maps in the folder that differ")
    dataset: Path | None = Field(default=None, description="prepared dataset whose cases are predicted")
    split: Split = Field(default="test", description="which of the dataset's cases")
    case_ids: tuple[str, ...] | None = Field(default=None, description="the cases themselves. null: those of the split")
    inputs: tuple[Path, ...] = Field(default=(), description="scans: files, folders of any layout, archives")
    scans: PredictionSettings = Field(default_factory=PredictionSettings, description="how scans are found and read")
    inference: InferenceSettings = Field(default_factory=InferenceSettings, description="how networks are applied")
    trust_code: bool = Field(
        default=False,
        description="import the module that a model's card names for layers of its own: it may do anything",
    )


@dataclass(frozen=True)
class Prediction:
    """What a prediction made.

    Attributes:
        folder: of the label maps and of prediction.json.
        manifest: content of prediction.json.
        kept: how many of the label maps earlier calls had made, in this folder or before they were interrupted.
        unlike_rate: which share at most of scans like those of the training is told as unlike, as the cards say; of
            several networks the sum, since any of them tells. None: no card says so.
    """

    folder: Path
    manifest: PredictionManifest
    kept: int = 0
    unlike_rate: float | None = None

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


def predict(
    settings: PredictSettings,
    *,
    progress: Progress | None = None,
    stop: StopRequest | None = None,
    on_notice: Notice | None = None,
) -> Prediction:
    """Segment scans by a trained network, each in its own voxel grid, and write the label maps.

    Label maps are called as `prepare` would call the cases. What an interrupted or failed call has made is kept beside
    ``out``, and the same call goes on from there. Into a finished folder of the same model and settings come those that
    it lacks; the folder changes in one step at the end.

    Args:
        settings: which network, and which scans.
        progress: told of ("checking", done, total) and ("predicting", done, total).
        stop: ends the work where it is made; the same call then goes on where it was.
        on_notice: called with a line about each scan that is left out, as soon as that is known.

    Returns:
        What was predicted, left out and passed over; the manifest is also in ``out``.

    Raises:
        PredictionError: settings that contradict each other, or scans that cannot be predicted, all of them listed.
        ImgMedError: a path is missing, or is no scan; a layout is ambiguous.
        ModelError: there is no such model.
        NotWritableError: nothing can be written where ``out`` is to be.
        OutputExistsError: other files are in ``out``; or label maps that differ, and ``settings.overwrite`` is not set.
        CancelledError: ``stop`` was made.
    """
    if settings.out is None:
        raise PredictionError("give --out, the folder for the label maps; r2d2.segment gives arrays without one")
    out, watcher = settings.out, Watcher(progress, stop)
    _check(settings)
    finished_prediction(out)
    check_writable(out)
    predictor = _predictor(settings)
    with _opened(settings, predictor, watcher) as found, unfinished_prediction(out, _made_by(predictor)) as folder:
        stay = keep_finished(out, folder, found.items, predictor, may_replace=settings.overwrite)
        course = ScanCourse(predictor, found, settings.scans.on_error, watcher, on_notice or _unheard, folder)
        entries = [made for made in course if isinstance(made, PredictedCase)]
        files = {case.file for case in entries}
        others = [case for case in stay if case.file not in files]
        named, labels = name_of(predictor.path.parent), predictor.card.labels
        are_dicom = any(Path(case.file).suffix in dicom.SUFFIXES for case in (*others, *entries))
        manifest = PredictionManifest(
            model=str(predictor.path.absolute()),
            model_sha256=predictor.card.model_sha256,
            zoo_name=None if named is None else str(named),
            ensemble=_ensemble_of(predictor),
            inference=predictor.settings,
            labels=labels,
            segment_numbers=segment_numbers(labels) if are_dicom else {},
            cases=(*others, *entries),
            left_out=tuple(course.left_out),
            passed_over=found.passed_over,
        )
        manifest = folder.finish(manifest)
    return Prediction(out, manifest, len(others) + course.kept, _unlike_rate(predictor))


def _unlike_rate(predictor: Predictor) -> float | None:
    known = dict.fromkeys(member.card.familiarity for member in predictor.members)  # who judges alike adds nothing
    rates = [one.expected_rate for one in known if one is not None]
    return min(1.0, sum(rates)) if rates else None


def _made_by(predictor: Predictor) -> tuple[str, ...]:
    """What all label maps depend on besides their scans."""
    cards = [member.card.model_dump_json() for member in predictor.members]
    return (*cards, predictor.settings.model_dump_json())


def segment(
    settings: PredictSettings,
    *,
    progress: Progress | None = None,
    stop: StopRequest | None = None,
    on_notice: Notice | None = None,
) -> SegmentedScans:
    """Segment scans as `predict` does, and give arrays: nothing is written, ``settings.out`` is not looked at.

    Args:
        settings: which network, and which scans.
        progress: told of ("checking", done, total) and ("predicting", done, total).
        stop: ends the work where it is made.
        on_notice: called with a line about each scan that is left out.

    Returns:
        What the scans are got from, one by one, with a ``for``.

    Raises:
        PredictionError: settings that contradict each other.
        ModelError: there is no such model.
    """
    _check(settings)
    return SegmentedScans(settings, _predictor(settings), Watcher(progress, stop), on_notice or _unheard)


@dataclass
class SegmentedScans:
    """Scans that are segmented while one goes through them: one is held at a time, and the next is read meanwhile.

    Going through them raises what `predict` raises of scans.

    Attributes:
        left_out: a sentence for each scan so far that could not be predicted.
        passed_over: a line for each file that was looked at and is no scan, and why.
    """

    settings: PredictSettings
    predictor: Predictor
    watcher: Watcher
    on_notice: Notice
    left_out: list[str] = field(default_factory=list)
    passed_over: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[SegmentedScan]:
        """Yield for each scan its entry as in prediction.json, the label map, and what else was asked for."""
        with _opened(self.settings, self.predictor, self.watcher, will_be_written=False) as found:
            course = ScanCourse(self.predictor, found, self.settings.scans.on_error, self.watcher, self.on_notice)
            self.left_out, self.passed_over = course.left_out, found.passed_over
            for made in course:
                if isinstance(made, SegmentedScan):
                    yield made


def segment_volume(
    model: Predictor | str | Path | Sequence[str | Path],
    volume: Volume,
    inference: InferenceSettings | None = None,
    *,
    trust_code: bool = False,
) -> SegmentedVolume:
    """Segment a volume in memory; the answer is that for a file of the same voxels and affine.

    Args:
        model: what `resolve_ensemble` takes; or a `Predictor`, which is loaded once for many volumes.
        volume: (i, j, k) or (i, j, k, channels) and its affine, voxel to world (RAS+) in mm, in any orientation.
        inference: how networks are applied; None: the defaults, or those of the `Predictor`.
        trust_code: see `PredictSettings`.

    Raises:
        PredictionError: settings that contradict each other, or a volume that the model cannot be applied to.
        WrongChannelsError: other channels than the model's.
        InvalidVolumeError: NaN or infinite voxels, or a scan that the model's preparation refuses.
    """
    if not isinstance(model, Predictor):
        model = Predictor(model, inference, trust_code=trust_code)
    elif inference is not None:
        raise PredictionError("a Predictor has its own InferenceSettings; give them where it is made")
    return segmented_volume(model, volume)


def _check(settings: PredictSettings) -> None:
    if (settings.dataset is None) == (not settings.inputs):
        raise PredictionError("give either --dataset (with --split) or --input, to say what to predict")
    reading = settings.scans
    if settings.dataset is not None and reading != PredictionSettings(on_error=reading.on_error):
        raise PredictionError(
            "--recipe, --series, --channels and --spatial-units say how --input is read; --dataset needs none of them"
        )


def _predictor(settings: PredictSettings) -> Predictor:
    return Predictor(settings.model, settings.inference, trust_code=settings.trust_code)


def _opened(
    settings: PredictSettings, predictor: Predictor, watcher: Watcher, *, will_be_written: bool = True
) -> AbstractContextManager[Items]:
    """What is predicted; archives are unpacked for as long as the context lasts."""
    if settings.dataset is None:
        return items_among(settings.inputs, settings.scans, predictor, watcher, will_be_written=will_be_written)
    dataset = PreparedDataset.read(settings.dataset)
    case_ids = settings.case_ids
    if case_ids is None:
        case_ids = getattr(dataset.original_splits, settings.split)
    return nullcontext(items_of_dataset(dataset, case_ids, predictor, will_be_written=will_be_written))


def _ensemble_of(predictor: Predictor) -> tuple[EnsembleMember, ...]:
    members = [
        EnsembleMember(model=str(member.path.absolute()), model_sha256=member.card.model_sha256)
        for member in predictor.members
    ]
    return tuple(members) if len(members) > 1 else ()


def _unheard(line: str) -> None:
    """Let a line be that nobody asked for; it is in the result too."""
