"""Sample predictions of a run: what the network of that epoch predicts, whatever is trained on, interrupted or not."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from dist_training.architectures import read_network
from dist_training.errors import RunFolderError
from dist_training.inference.outputs import outputs_of
from dist_training.ranks.communicator import SoloCommunicator
from dist_training.record.events import EpochEnded, Event, StepTaken, read_events
from dist_training.record.run_folder import RunFolder
from dist_training.record.samples import SampleFolder
from dist_training.run.train import train
from dist_training.settings import TrainingSettings
from dist_training.stopping.control import request_stop
from imgmed import PreparationSettings, PreparedDataset, prepare_dataset
from tests.dist_training.run.conftest import DEFAULTS, NETWORK

Train = Callable[..., RunFolder]
SHAPES = [(16, 20, 5), (20, 16, 5), (14, 18, 5), (18, 14, 6), (16, 16, 5)]


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> PreparedDataset:
    """Cases of several sizes, two channels and labels 3 and 200, each slice seen with its neighbours."""
    folder = tmp_path_factory.mktemp("mixed")
    generator = np.random.default_rng(0)
    for part in ("images", "labels"):
        (folder / "study" / part).mkdir(parents=True)
    for number, shape in enumerate(SHAPES):
        label_map = np.zeros(shape, np.uint8)
        label_map[3:9, 4:10, 1:] = 3
        label_map[6:9, 4:10, 2:] = 200
        image = generator.normal(0, 10, (*shape, 2)).astype(np.float32)
        image[..., 0] += label_map
        image[..., 1] -= 50 * (label_map == 3)
        nib.save(nib.Nifti1Image(image, np.eye(4)), folder / "study" / "images" / f"c{number}.nii.gz")
        nib.save(nib.Nifti1Image(label_map, np.eye(4)), folder / "study" / "labels" / f"c{number}.nii.gz")
    settings = PreparationSettings(
        slice_axis=2,
        neighbours=1,
        validation_fraction=0.4,
        labels={"background": 0, "organ": 3, "lesion": 200},
        regions={"whole": (3, 200), "lesion": (200,)},
    )
    return prepare_dataset(folder / "study", folder / "dataset", settings)


def predicted(dataset: PreparedDataset, folder: RunFolder, case_id: str, number: int, has_regions: bool) -> np.ndarray:
    """What the kept network says of a slice, normalised, padded and with its neighbours by NumPy."""
    stack = np.asarray(dataset.image(case_id), np.float64)
    stack = (stack - stack.mean(axis=(0, 1, 2))) / stack.std(axis=(0, 1, 2))
    places = [max(number - 1, 0), number, min(number + 1, len(stack) - 1)]
    one = np.concatenate([stack[place] for place in places], axis=2)
    sizes = [dataset.scan_preparation.slice_size, *(dataset.grid(one).slice_shape for one in dataset.splits.validation)]
    (height, width), canvas = one.shape[:2], np.max(sizes, axis=0)
    top, left = (canvas[0] - height) // 2, (canvas[1] - width) // 2
    framed = np.zeros((*canvas, one.shape[2]))
    framed[top : top + height, left : left + width] = one
    logits = read_network(folder.model)(framed[np.newaxis]).numpy()[0, top : top + height, left : left + width]
    classes = outputs_of(dataset.labels, dataset.description.regions, has_regions=has_regions).decode(logits)
    return np.array(dataset.class_values)[classes]


@pytest.mark.parametrize(
    "settings",
    [{}, {"region_outputs": True}, {"ema_momentum": 0.5, "dtype": "mixed_bfloat16"}],
    ids=["labels", "regions", "mixed precision and averaged weights"],
)
def test_label_maps_are_those_of_the_network_of_that_epoch(
    mixed: PreparedDataset, tmp_path: Path, settings: dict[str, Any]
) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.create()
    training = {
        **DEFAULTS,
        "learning_rate": 0.05,
        "optimizer": "adam",
        "epochs": 4,
        "sample_predictions": 4,
        **settings,
    }
    train(mixed, NETWORK, TrainingSettings(**training), folder, SoloCommunicator())
    samples = SampleFolder(folder.samples)
    assert samples.epochs() == (1, 2, 3, 4)
    shown, best = samples.read_slices(), folder.read_exit().best_epoch
    assert shown.description.labels == {"background": 0, "organ": 3, "lesion": 200}
    assert [one.case_id for one in shown.description.slices] == [
        case_id for case_id in mixed.splits.validation for _ in range(2)
    ]
    differs, total = 0, 0
    for place, one in enumerate(shown.description.slices):
        np.testing.assert_array_equal(shown.references[place], mixed.label_map(one.case_id)[one.number])
        label_map = samples.read_epoch(best)[place]
        assert label_map.dtype == np.uint8 and label_map.shape == shown.scans[place].shape[:2]
        expected = predicted(mixed, folder, one.case_id, one.number, training.get("region_outputs", False))
        differs, total = differs + int((label_map != expected).sum()), total + expected.size
        assert np.unique(expected).size > 1
        for channel, scan in enumerate(np.moveaxis(shown.scans[place], 2, 0)):  # as bright where the scan is
            order = np.argsort(mixed.image(one.case_id)[one.number][..., channel], axis=None)
            assert (np.diff(scan.ravel()[order].astype(int)) >= 0).all() and (scan.min(), scan.max()) == (0, 255)
    assert differs <= (0.02 * total if "dtype" in settings else 0)  # half precision rounds sums in another order


def at_step(step: int, do: Callable[[], None]) -> Callable[[Event], None]:
    def listener(event: Event) -> None:
        if isinstance(event, StepTaken) and event.step == step:
            do()

    return listener


def contents(folder: RunFolder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.samples.iterdir()}


def test_a_run_that_went_on_ends_with_the_same_files(run: Train) -> None:
    """Stopped within its third epoch, and then taken up from the second, as if what came after were lost."""
    settings = {"epochs": 4, "learning_rate": 0.03, "optimizer": "adam"}
    whole = contents(run("whole", **settings))
    assert sorted(whole) == [*(f"epoch-00000{epoch}.npz" for epoch in (1, 2, 3, 4)), "slices.npz"]
    folder = RunFolder(run("stopped", **settings, listeners=[]).path)
    for path in folder.checkpoints.iterdir():
        if int(path.stem.partition("-")[2]) > 8:  # four steps an epoch
            path.unlink()
    run("stopped", **settings, is_resumed=True, listeners=[at_step(10, lambda: request_stop(folder.control, "test"))])
    assert sorted(contents(folder)) == ["epoch-000001.npz", "epoch-000002.npz", "slices.npz"]
    folder.control.unlink()
    run("stopped", **settings, is_resumed=True)
    assert contents(folder) == whole


def test_weights_and_figures_are_the_same_with_and_without(run: Train) -> None:
    def figures(folder: RunFolder) -> list[tuple]:
        return [
            (event.loss, event.validation_dice) for event in read_events(folder.events) if isinstance(event, EpochEnded)
        ]

    with_samples, without = run("with", network=NETWORK), run("without", sample_predictions=0)
    assert figures(with_samples) == figures(without)
    pairs = zip(read_network(with_samples.model).get_weights(), read_network(without.model).get_weights(), strict=True)
    assert all(np.array_equal(one, other) for one, other in pairs)
    assert not without.samples.exists()


def test_a_run_without_validation_has_none(run: Train, dataset: PreparedDataset) -> None:
    splits = dataset.splits.model_copy(update={"validation": ()})
    assert not run("run", splits=splits, epochs=1).samples.exists()


def test_other_slices_on_resumption_begin_anew(run: Train, dataset: PreparedDataset) -> None:
    folder = run("run", epochs=2)
    run("run", epochs=3, sample_predictions=1, is_resumed=True)
    samples = SampleFolder(folder.samples)
    assert samples.epochs() == (3,)
    assert len(samples.read_epoch(3)) == len(samples.read_slices().description.slices) == 1
    with pytest.raises(RunFolderError):
        samples.read_epoch(2)
