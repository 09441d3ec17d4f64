"""Volumes and scans segmented one after the other, in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from dist_training.inference.postprocessing import apply_rules
from imgmed import Volume
from imgmed.errors import ImgMedError
from imgmed.formats import is_picture
from imgmed.operations import select_channels
from imgmed.scan import channel_choice
from r2d2.errors import PredictionError
from r2d2.prediction.faults import listed, sentence, with_what_is_kept
from r2d2.prediction.items import Items, ScanItem, stacks_of
from r2d2.prediction.manifest import PredictedCase
from r2d2.prediction.predictor import Predictor, Stack
from r2d2.prediction.uncertainty import case_uncertainty
from r2d2.prediction.volumes import volumes_in
from r2d2.prediction.writing import UnfinishedPrediction, maps_of
from r2d2_base.errors import NoSpaceError, NotWritableError
from r2d2_base.progress import UNWATCHED, Watcher

__all__ = ["ScanCourse", "SegmentedScan", "SegmentedVolume", "segmented_volume"]


@dataclass(frozen=True, eq=False)
class SegmentedVolume:
    """What networks make of a volume, in its own voxels.

    Attributes:
        label_map: (i, j, k) label values, after the rules, of the smallest unsigned type that fits; with the affine.
        outputs: what each channel of the probabilities is that of: a label, or a region.
        volumes_ml: volume of each structure in millilitres.
        probabilities: float32 (i, j, k, outputs), where they were asked for.
        uncertainty: float32 (i, j, k), 0 to 1, where it was asked for.
        case_uncertainty: one number for it, see `case_uncertainty`; None: not asked for, or there is no structure.
    """

    label_map: Volume
    outputs: tuple[str, ...]
    volumes_ml: dict[str, float]
    probabilities: np.ndarray | None = None
    uncertainty: np.ndarray | None = None
    case_uncertainty: float | None = None


@dataclass(frozen=True, eq=False)
class SegmentedScan:
    """A scan that was segmented: its entry as in prediction.json, and the arrays.

    Attributes:
        case: where the scan lies, what training used it for, volumes and uncertainty.
        segmented: the arrays.
    """

    case: PredictedCase
    segmented: SegmentedVolume

    @property
    def label_map(self) -> Volume:
        """See `SegmentedVolume`."""
        return self.segmented.label_map

    @property
    def outputs(self) -> tuple[str, ...]:
        """See `SegmentedVolume`."""
        return self.segmented.outputs

    @property
    def probabilities(self) -> np.ndarray | None:
        """See `SegmentedVolume`."""
        return self.segmented.probabilities

    @property
    def uncertainty(self) -> np.ndarray | None:
        """See `SegmentedVolume`."""
        return self.segmented.uncertainty


def segmented_volume(predictor: Predictor, volume: Volume, watcher: Watcher = UNWATCHED) -> SegmentedVolume:
    """Segment a volume in memory as a file of the same voxels would be.

    Args:
        predictor: the networks.
        volume: (i, j, k) or (i, j, k, channels) in any orientation, with the channels of the scans that the model was
            prepared from, in their order; it is not changed.
        watcher: may ask the work to end.

    Raises:
        WrongChannelsError: other channels.
        InvalidVolumeError: NaN or infinite voxels, or a scan that the model's preparation refuses.
        PredictionError: the memory cannot hold what the network makes of a single slice, or window.
    """
    chosen = channel_choice(predictor.card.scan_preparation, volume.channels, origin=str(volume.origin))
    stacks = stacks_of(select_channels(volume, chosen), predictor)
    return _segmented(predictor, stacks, volume.affine, watcher)


def _segmented(
    predictor: Predictor, stacks: tuple[Stack, ...], affine: np.ndarray, watcher: Watcher
) -> SegmentedVolume:
    made = watcher.call(lambda: predictor.predict(stacks, watcher))
    label_map = apply_rules(Volume(made.label_map, affine), predictor.rules, predictor.card.labels)
    return SegmentedVolume(
        label_map,
        predictor.output_names,
        volumes_in(label_map, predictor.card),
        made.probabilities,
        made.uncertainty,
        None if made.uncertainty is None else case_uncertainty(made.uncertainty, label_map.array),
    )


@dataclass
class ScanCourse:
    """Scans sent through networks one by one, the next being read meanwhile.

    Args:
        predictor: the networks.
        found: the scans.
        on_error: "stop" at a scan that cannot be predicted, or "skip" it and name it.
        watcher: told of ("predicting", done, total).
        on_notice: called with a line about each scan that is left out.
        keeping: writes label maps; None: nothing is written.

    Attributes:
        done: how many scans have been predicted.
        kept: of how many of them an earlier call had made the label map.
        left_out: a sentence for each that could not be.
    """

    predictor: Predictor
    found: Items
    on_error: str
    watcher: Watcher = UNWATCHED
    on_notice: Callable[[str], None] = lambda line: None
    keeping: UnfinishedPrediction | None = None
    done: int = field(default=0, init=False)
    kept: int = field(default=0, init=False)
    left_out: list[str] = field(default_factory=list, init=False)

    def __iter__(self) -> Iterator[SegmentedScan | PredictedCase]:
        """Yield what became of each scan: its entry alone, where label maps are written.

        Raises:
            PredictionError: a scan that cannot be predicted, where ``on_error`` is "stop"; or none can be.
            CancelledError: the work is to end.
        """
        for fault in self.found.left_out:
            self._name(fault)
        items = self.found.items
        self.watcher.report("predicting", 0, len(items))
        looks = self.watcher.ahead([partial(self._look, item) for item in items])
        for number, (item, look) in enumerate(zip(items, looks, strict=True), start=1):
            try:
                seen = look()
                made = seen if isinstance(seen, PredictedCase) else self._segment(item, seen)
            except (NoSpaceError, NotWritableError):
                raise  # no fault of the scan
            except (ImgMedError, PredictionError, OSError, MemoryError) as error:
                self._leave_out(item, error)
            else:
                self.done += 1
                self.kept += made is seen
                yield made
            self.watcher.report("predicting", number, len(items))
        if not self.done:
            raise PredictionError(listed(self.left_out, len(self.left_out)))

    def _leave_out(self, item: ScanItem, error: Exception) -> None:
        fault, total = sentence(error, item.name, self.found.told), len(self.found.items)
        if self.on_error == "stop":
            raise PredictionError(with_what_is_kept(fault, self.done if self.keeping else 0, total)) from error
        self._name(fault)

    def _name(self, fault: str) -> None:
        self.left_out.append(fault)
        self.on_notice(f"left out: {fault}")

    def _look(self, item: ScanItem) -> PredictedCase | _Seen:
        """Read a scan; give its entry alone where an earlier call has made its label map."""
        earlier = None if self.keeping is None else self.keeping.earlier(item.entry, *item.made_from)
        return earlier or _Seen(*item.read())

    def _segment(self, item: ScanItem, seen: _Seen) -> SegmentedScan | PredictedCase:
        segmented = _segmented(self.predictor, seen.stacks, seen.affine, self.watcher)
        said: dict[str, object] = {"uncertainty": segmented.case_uncertainty, "unlike": seen.unlike}
        if not is_picture(item.entry.source):
            said["volumes_ml"] = segmented.volumes_ml
        scan = SegmentedScan(item.entry.model_copy(update=said), segmented)
        if self.keeping is None:
            return scan
        maps = maps_of(segmented.probabilities, segmented.uncertainty, segmented.outputs)
        self.keeping.write(scan.case, segmented.label_map, maps, item.like, *item.made_from)
        return scan.case


@dataclass(frozen=True, eq=False)
class _Seen:
    """A scan that was read: its slices, the affine of its voxels, and in what it is unlike others."""

    stacks: tuple[Stack, ...]
    affine: np.ndarray
    unlike: tuple[str, ...]
