"""Patches as the network gets them: what they show, and that nothing but seed, epoch and number decides it."""

from pathlib import Path

import numpy as np
import pytest

from dist_training.inputs.feed import IGNORED, Step, epoch_steps
from dist_training.inputs.patch_feed import PatchFeed
from dist_training.inputs.patches import PatchDraws
from imgmed import AugmentationSettings, PreparationSettings, PreparedDataset, prepare_dataset, write_phantom_study

SIZE = (4, 24, 48)  # wider than the volumes
VARIED = AugmentationSettings(
    rotation_degrees=30,
    tilt_degrees=20,
    across_slices="always",
    slice_flip_probability=0.5,
    elastic_alpha_px=2,
    gamma=(0.7, 1.5),
    noise_std=0.1,
    blur_sigma_px=(0.2, 0.8),
    low_resolution=(1, 2),
)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> PreparedDataset:
    folder = tmp_path_factory.mktemp("patches")
    write_phantom_study(folder / "study", cases=5, shape=(32, 40, 8))
    return prepare_dataset(folder / "study", folder / "dataset", PreparationSettings())


def feed_of(dataset: PreparedDataset, augmentation: AugmentationSettings | None = None, seed: int = 3) -> PatchFeed:
    return PatchFeed(dataset, dataset.splits.train, SIZE, augmentation=augmentation, seed=seed)


def test_a_patch_shows_the_normalised_volume_and_its_classes(dataset: PreparedDataset) -> None:
    feed, train = feed_of(dataset), dataset.splits.train
    maps = [np.asarray(dataset.label_map(one)) for one in train]
    draws = PatchDraws(maps, dataset.class_values[1:], SIZE, seed=3)
    assert len(feed) == len(draws) > len(train)
    batch = feed.batch(Step(np.arange(len(feed)), len(feed), epoch=2))
    normalisation = dataset.normalisation(train)
    for index, (image, classes) in enumerate(zip(batch.images, batch.classes, strict=True)):
        drawn = draws.draw(2, index)
        volume = np.asarray(dataset.image(train[drawn.case]))
        numbers = normalisation.statistics_of_case(dataset.case_statistics(train[drawn.case]))
        first, rows, columns = drawn.corner
        left = -columns
        assert left == (48 - volume.shape[2]) // 2
        shown = (slice(first, first + 4), slice(rows, rows + 24))
        expected = normalisation.apply(volume, *numbers)[shown]
        within = slice(left, left + volume.shape[2])
        np.testing.assert_array_equal(image[:, :, within], expected)
        np.testing.assert_array_equal(np.array(dataset.class_values)[classes[:, :, within]], maps[drawn.case][shown])
        outside = np.ones(48, bool)
        outside[within] = False
        assert (classes[:, :, outside] == IGNORED).all() and not image[:, :, outside].any()


@pytest.mark.parametrize("augmentation", [None, VARIED])
def test_workers_see_the_same_patches_and_each_once(
    dataset: PreparedDataset, augmentation: AugmentationSettings | None
) -> None:
    def epoch(world_size: int) -> list[np.ndarray]:
        steps = [
            epoch_steps(0, 1, len(feed), global_batch_size=4, rank=rank, world_size=world_size)
            for rank in range(world_size)
        ]
        made = [feed.batch(step) for together in zip(*steps, strict=True) for step in together if step.indices.size]
        return [np.concatenate([getattr(one, name) for one in made]) for name in ("images", "classes", "sample_seeds")]

    feed = feed_of(dataset, augmentation)
    alone = epoch(1)
    assert len(alone[0]) == len(feed) == len(np.unique(alone[2]))
    for found in (epoch(2), epoch(3)):
        for mine, theirs in zip(alone, found, strict=True):
            np.testing.assert_array_equal(theirs, mine)


def test_an_empty_share_is_one_patch_that_counts_nowhere(dataset: PreparedDataset) -> None:
    batch = feed_of(dataset).batch(Step(np.array([], np.int64), 4))
    assert batch.images.shape == (1, *SIZE, 1) and not batch.images.any() and not batch.weights.any()
    assert (batch.classes == IGNORED).all()


def test_augmentation_moves_image_and_classes_alike_and_differs_by_epoch(dataset: PreparedDataset) -> None:
    plain, varied = feed_of(dataset), feed_of(dataset, VARIED)
    flipped = feed_of(dataset, AugmentationSettings(horizontal_flip_probability=1, slice_flip_probability=1))
    step = Step(np.arange(4), 4, epoch=1)
    one, other, mirrored = plain.batch(step), varied.batch(step), flipped.batch(step)
    np.testing.assert_array_equal(mirrored.images, one.images[:, ::-1, :, ::-1])
    np.testing.assert_array_equal(mirrored.classes, one.classes[:, ::-1, :, ::-1])
    assert (other.images != one.images).any() and (other.classes != one.classes).any()
    assert not (other.images[other.classes == IGNORED]).any()
    again = varied.batch(Step(np.arange(4), 4, epoch=2))
    assert (again.images != other.images).any()


@pytest.mark.parametrize(("pixel_mm", "is_flat"), [(1.08, False), (0.9, True)])
def test_slices_more_than_three_pixels_apart_stay_flat(tmp_path: Path, pixel_mm: float, is_flat: bool) -> None:
    write_phantom_study(tmp_path / "study", cases=3, shape=(32, 40, 8))  # slices are 3 mm apart
    finer = {"op": "resample", "spacing_mm": [pixel_mm, pixel_mm, 3], "order": 1}
    preparation = PreparationSettings.model_validate({"slice_axis": 2, "operations": [finer]})
    dataset = prepare_dataset(tmp_path / "study", tmp_path / "dataset", preparation)
    step = Step(np.arange(2), 2)
    tilted, plain = (feed_of(dataset, one).batch(step) for one in (AugmentationSettings(tilt_degrees=40), None))
    assert np.array_equal(tilted.images, plain.images) == is_flat


def test_voxels_of_the_ignored_label_are_shown_and_count_nowhere(tmp_path: Path) -> None:
    write_phantom_study(tmp_path / "study", cases=3, shape=(32, 40, 8))
    preparation = PreparationSettings(ignore_label=1)
    dataset = prepare_dataset(tmp_path / "study", tmp_path / "dataset", preparation)
    settings = AugmentationSettings(rotation_degrees=20, brightness=1)
    feed = PatchFeed(dataset, dataset.splits.train, (4, 24, 24), augmentation=settings, foreground_share=1)
    batch = feed.batch(Step(np.arange(len(feed)), len(feed)))
    ignored = batch.classes == IGNORED
    assert ignored.any() and batch.images[ignored].any()
