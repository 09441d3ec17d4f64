"""Augmented feeding: what a slice becomes depends on (seed, epoch, slice) alone; the dataset's choices are kept."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dist_training.inputs.augmentation import DeviceAugmentation
from dist_training.inputs.feed import IGNORED, Batch, SliceFeed, Step, epoch_steps
from dist_training.learning.transfer import TransferSettings
from dist_training.run.plan import run_facts, training_slice_count
from dist_training.settings import TrainingSettings
from imgmed import AugmentationSettings, PreparationSettings, PreparedDataset, prepare_dataset, write_phantom_study
from tests.keras_backends import environment_of

TABLE1 = AugmentationSettings.model_validate("table1")
EVERYTHING = AugmentationSettings(
    rotation_degrees=45,
    zoom=(0.8, 1.2),
    translation_px=6,
    vertical_flip_probability=0.5,
    horizontal_flip_probability=0.5,
    elastic_alpha_px=2,
    elastic_sigma_px=5,
    elastic_probability=0.8,
    crop_size=(24, 32),
    gamma=(0.7, 1.5),
    gamma_probability=0.5,
    contrast=(0.75, 1.25),
    brightness=0.2,
    noise_std=0.1,
)


ON_ANOTHER_BACKEND = """
import sys
from pathlib import Path
import numpy as np
from keras import ops
from dist_training.inputs.augmentation import DeviceAugmentation
from imgmed import AugmentationSettings
folder, shape = Path(sys.argv[1]), tuple(map(int, sys.argv[2:]))
batch = np.load(folder / "batch.npz")
settings = AugmentationSettings.model_validate_json((folder / "settings.json").read_text())
given = [ops.convert_to_tensor(batch[name]) for name in batch.files]
images, classes = DeviceAugmentation(settings, shape, "float32")(given[0], given[1], given[2:])
np.savez(folder / "result.npz", images=ops.convert_to_numpy(images), classes=ops.convert_to_numpy(classes))
"""


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> PreparedDataset:
    folder = tmp_path_factory.mktemp("augmented")
    write_phantom_study(folder / "study", cases=5, shape=(32, 40, 8))
    return prepare_dataset(folder / "study", folder / "dataset", PreparationSettings())


@pytest.fixture
def with_cases(dataset: PreparedDataset) -> Callable[..., PreparedDataset]:
    def change(**fields: object) -> PreparedDataset:
        return replace(dataset, cases={name: case.model_copy(update=fields) for name, case in dataset.cases.items()})

    return change


def with_neighbours(dataset: PreparedDataset, neighbours: int) -> PreparedDataset:
    preparation = dataset.scan_preparation.model_copy(update={"neighbours": neighbours})
    return replace(dataset, description=dataset.description.model_copy(update={"scan_preparation": preparation}))


def feed_of(dataset: PreparedDataset, augmentation: AugmentationSettings | None = None, **options: object) -> SliceFeed:
    train = dataset.splits.train
    return SliceFeed(dataset, train, train, slices="training", augmentation=augmentation, **options)  # type: ignore[arg-type]


def epoch_of(feed: SliceFeed, epoch: int, world_size: int, size: int = 7) -> list[list[Batch]]:
    """The batches of each rank."""
    return [
        [
            feed.batch(step)
            for step in epoch_steps(3, epoch, len(feed), global_batch_size=size, rank=rank, world_size=world_size)
        ]
        for rank in range(world_size)
    ]


def joined(ranks: list[list[Batch]], field: str) -> np.ndarray:
    """All real slices of an epoch in the order of the steps, whatever ranks they were on."""
    return np.concatenate(
        [getattr(batch, field)[batch.weights > 0] for step in zip(*ranks, strict=True) for batch in step]
    )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_same_samples_on_any_number_of_workers_bit_for_bit(dataset: PreparedDataset, dtype: str) -> None:
    feed = feed_of(dataset, EVERYTHING, dtype=dtype, seed=4)
    alone = epoch_of(feed, 2, 1)
    for world_size in (2, 3):
        spread = epoch_of(feed_of(dataset, EVERYTHING, dtype=dtype, seed=4), 2, world_size)
        for field in ("images", "classes"):
            np.testing.assert_array_equal(joined(alone, field), joined(spread, field))
    assert joined(alone, "images").dtype == dtype
    assert joined(alone, "images").shape == (len(feed), 24, 32, 1)


def test_a_run_that_goes_on_in_the_middle_of_an_epoch_sees_the_same_samples(dataset: PreparedDataset) -> None:
    first, later = feed_of(dataset, EVERYTHING), feed_of(dataset, EVERYTHING)
    steps = epoch_steps(0, 1, len(first), global_batch_size=5, rank=0, world_size=1)
    whole = [first.batch(step) for step in steps]
    for step, batch in list(zip(steps, whole, strict=True))[2:]:
        np.testing.assert_array_equal(later.batch(step).images, batch.images)


def test_epochs_seeds_and_slices_differ(dataset: PreparedDataset) -> None:
    def one(seed: int, epoch: int) -> bytes:
        return feed_of(dataset, TABLE1, seed=seed).batch(Step(np.array([3]), 1, epoch)).images.tobytes()

    assert len({one(seed, epoch) for seed in range(3) for epoch in range(3)}) == 9
    assert one(1, 2) == one(1, 2)


def test_without_augmentation_nothing_changes_and_nothing_is_drawn(dataset: PreparedDataset) -> None:
    train = dataset.splits.train
    step = Step(np.arange(6), 6, epoch=3)
    plain = SliceFeed(dataset, train, train).batch(step)
    for neutral in (None, AugmentationSettings()):
        batch = feed_of(dataset, neutral).batch(step)
        np.testing.assert_array_equal(batch.images, plain.images)
        np.testing.assert_array_equal(batch.classes, plain.classes)
        assert batch.draws == ()


def test_augmented_slices_hold_the_classes_of_their_slice_and_ignore_the_rest(dataset: PreparedDataset) -> None:
    feed = feed_of(dataset, TABLE1)
    plain = feed_of(dataset).batch(Step(np.arange(len(feed)), len(feed)))
    batch = feed.batch(Step(np.arange(len(feed)), len(feed)))
    for before, after, image in zip(plain.classes, batch.classes, batch.images, strict=True):
        assert set(np.unique(after)) <= set(np.unique(before)) | {IGNORED}
        assert not image[after == IGNORED].any()


def test_an_empty_share_is_one_slice_without_weight(dataset: PreparedDataset) -> None:
    for where in ("host", "device"):
        feed = feed_of(dataset, EVERYTHING.model_copy(update={"where": where}))
        batch = feed.batch(Step(np.array([], dtype=np.int64), 3))
        assert batch.images.shape == (1, *feed.batch_shape)
        assert batch.weights.tolist() == [0.0]
        assert (batch.classes == IGNORED).all()
        assert all(len(draw) == 1 for draw in batch.draws)


class TestSlicesToTrainOn:
    def test_only_training_takes_the_choice(self, with_cases: Callable[..., PreparedDataset]) -> None:
        dataset = with_cases(training_slices=(1, 4, 5))
        train = dataset.splits.train
        everything, chosen = SliceFeed(dataset, train, train), feed_of(dataset)
        slices = dataset.image(train[0]).shape[0]
        assert len(everything) == sum(dataset.image(case).shape[0] for case in train)
        assert len(chosen) == 3 * len(train) == training_slice_count(dataset)
        indices = np.array([1 * slices + number for number in (1, 4, 5)])
        expected = everything.batch(Step(indices, 3))
        received = chosen.batch(Step(np.array([3, 4, 5]), 3))
        np.testing.assert_array_equal(received.images, expected.images)
        np.testing.assert_array_equal(received.classes, expected.classes)
        assert [chosen.case_index(index) for index in range(3, 6)] == [1, 1, 1]

    def test_a_case_may_have_none(self, with_cases: Callable[..., PreparedDataset]) -> None:
        assert len(feed_of(with_cases(training_slices=()))) == 0


class TestNeighbours:
    def test_slices_before_and_after_are_channels(self, dataset: PreparedDataset) -> None:
        """Channels (slice - 1, slice, slice + 1); at either end of the volume its last slice stands in."""
        plain, stacked = feed_of(dataset), feed_of(with_neighbours(dataset, 1))
        first, slices = (dataset.image(case).shape[0] for case in dataset.splits.train[:2])
        assert stacked.channels == 3 * plain.channels == stacked.input_shape[2]
        numbers = np.arange(slices) + first  # the second case
        alone = plain.batch(Step(numbers, slices)).images[..., 0]
        together = stacked.batch(Step(numbers, slices)).images
        np.testing.assert_array_equal(together[..., 1], alone)
        np.testing.assert_array_equal(together[1:, ..., 0], alone[:-1])
        np.testing.assert_array_equal(together[:-1, ..., 2], alone[1:])
        np.testing.assert_array_equal(together[0, ..., 0], alone[0])
        np.testing.assert_array_equal(together[-1, ..., 2], alone[-1])

    def test_they_move_with_their_slice(self, dataset: PreparedDataset) -> None:
        plain, stacked = feed_of(dataset, TABLE1), feed_of(with_neighbours(dataset, 2), TABLE1)
        step = Step(np.arange(3, 9), 6, epoch=1)
        np.testing.assert_array_equal(stacked.batch(step).images[..., 2], plain.batch(step).images[..., 0])


class TestRunFacts:
    def test_another_augmentation_is_another_run_but_another_place_is_not(self, dataset: PreparedDataset) -> None:
        settings = TrainingSettings().resolved(1)

        def facts(**fields: object) -> dict:
            return run_facts(dataset, settings, TABLE1.model_copy(update=fields), TransferSettings())

        assert facts() == facts(where="host") == facts(where="device")
        assert facts()["augmentation.zoom"] == [0.8, 1.2]
        assert facts() != facts(zoom=(0.8, 1.3))
        assert facts() != facts(interpolation="cubic")

    def test_another_choice_of_slices_is_other_data(self, with_cases: Callable[..., PreparedDataset]) -> None:
        settings, none = TrainingSettings().resolved(1), TransferSettings()
        one, other = (with_cases(training_slices=chosen) for chosen in ((1, 2), (1, 3)))
        assert run_facts(one, settings, TABLE1, none) != run_facts(other, settings, TABLE1, none)


class TestDevice:
    """What the device makes of slices and draws is what the host makes."""

    @pytest.mark.parametrize(
        "settings",
        [
            TABLE1,
            EVERYTHING,
            AugmentationSettings(crop_size=(48, 30)),
            AugmentationSettings(elastic_alpha_px=3, noise_std=0.2, elastic_probability=0.5),
            AugmentationSettings(gamma=(0.5, 2), gamma_probability=0.6),
            AugmentationSettings(contrast=(0.5, 2), rotation_degrees=180),
        ],
        ids=["table1", "everything", "crop", "elastic-noise", "gamma", "contrast"],
    )
    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    def test_the_device_agrees_with_the_host(
        self, dataset: PreparedDataset, settings: AugmentationSettings, dtype: str
    ) -> None:
        import tensorflow as tf

        data = with_neighbours(dataset, 1)
        host = feed_of(data, settings.model_copy(update={"where": "host"}), dtype=dtype)
        device = feed_of(data, settings.model_copy(update={"where": "device"}), dtype=dtype)
        step = Step(np.arange(0, len(host), 2), len(host), epoch=2)
        expected, given = host.batch(step), device.batch(step)
        assert device.input_shape == host.input_shape == host.batch_shape
        assert given.images.shape[1:] == device.batch_shape
        augment = DeviceAugmentation(settings, device.input_shape, dtype)
        assert [draw.shape[1:] for draw in given.draws] == augment.draw_shapes
        for run in (augment, tf.function(augment)):
            images, classes = (value.numpy() for value in run(given.images, given.classes, given.draws))
            assert images.dtype == dtype and classes.dtype == np.int32
            assert np.mean(classes == expected.classes) > 0.9998
            same = (classes == IGNORED) == (expected.classes == IGNORED)
            np.testing.assert_allclose(images[same], expected.images[same], atol=1e-3)

    @pytest.mark.parametrize("backend", ["jax", "torch"])
    def test_another_keras_backend_agrees_too(self, dataset: PreparedDataset, tmp_path: Path, backend: str) -> None:
        environment = environment_of(backend)
        host, device = (feed_of(dataset, EVERYTHING.model_copy(update={"where": w})) for w in ("host", "device"))
        step = Step(np.arange(len(host)), len(host))
        expected, given = host.batch(step), device.batch(step)
        draws = {f"draw{number}": draw for number, draw in enumerate(given.draws)}
        np.savez(tmp_path / "batch.npz", images=given.images, classes=given.classes, **draws)
        (tmp_path / "settings.json").write_text(EVERYTHING.model_dump_json())
        command = [sys.executable, "-c", ON_ANOTHER_BACKEND, str(tmp_path), *map(str, device.input_shape)]
        subprocess.run(command, env=environment, check=True)
        with np.load(tmp_path / "result.npz") as result:
            same = result["classes"] == expected.classes
            assert same.mean() > 0.9998
            np.testing.assert_allclose(result["images"][same], expected.images[same], atol=1e-3)

    def test_slices_smaller_than_the_rest_turn_about_their_own_centre(self, tmp_path: Path) -> None:
        import nibabel as nib

        for part in ("images", "labels"):
            (tmp_path / "study" / part).mkdir(parents=True)
        generator = np.random.default_rng(0)
        for number, case in enumerate("abcdef"):
            shape = (20 + 3 * number, 31 - 2 * number, 3)
            for part in ("images", "labels"):
                array = generator.integers(0, 2, shape).astype(np.uint8)
                nib.save(nib.Nifti1Image(array, np.eye(4)), tmp_path / "study" / part / f"{case}.nii.gz")
        dataset = prepare_dataset(tmp_path / "study", tmp_path / "dataset", PreparationSettings(slice_axis=2))
        settings = AugmentationSettings(rotation_degrees=180, zoom=(0.5, 1), brightness=0.5)
        host, device = (feed_of(dataset, settings.model_copy(update={"where": w})) for w in ("host", "device"))
        step = Step(np.arange(len(host)), len(host))
        expected, given = host.batch(step), device.batch(step)
        augment = DeviceAugmentation(settings, device.input_shape, "float32")
        images, classes = (value.numpy() for value in augment(given.images, given.classes, given.draws))
        assert np.mean(classes == expected.classes) > 0.9998
        same = classes == expected.classes
        np.testing.assert_allclose(images[same], expected.images[same], atol=1e-3)
