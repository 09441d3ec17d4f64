"""Every slice once an epoch, the same order for everybody, arrays as the dataset holds them."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dist_training.inputs.feed import IGNORED, SliceFeed, Step, epoch_permutation, epoch_steps, prefetch, rank_share
from imgmed import PreparationSettings, PreparedDataset, prepare_dataset, write_phantom_study


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> PreparedDataset:
    folder = tmp_path_factory.mktemp("feed")
    write_phantom_study(folder / "study", cases=5, shape=(32, 40, 8))
    return prepare_dataset(folder / "study", folder / "dataset", PreparationSettings())


@given(count=st.integers(0, 200), world_size=st.integers(1, 20))
def test_shares_are_consecutive_complete_and_even(count: int, world_size: int) -> None:
    shares = [rank_share(count, rank, world_size) for rank in range(world_size)]
    assert [i for share in shares for i in range(count)[share]] == list(range(count))
    sizes = [share.stop - share.start for share in shares]
    assert max(sizes) - min(sizes) <= 1


@given(
    count=st.integers(1, 100),
    global_batch_size=st.integers(1, 40),
    world_size=st.integers(1, 8),
    epoch=st.integers(0, 5),
)
def test_an_epoch_sees_every_slice_once_over_all_ranks(
    count: int, global_batch_size: int, world_size: int, epoch: int
) -> None:
    ranks = [
        epoch_steps(3, epoch, count, global_batch_size=global_batch_size, rank=rank, world_size=world_size)
        for rank in range(world_size)
    ]
    joined = [np.concatenate([steps[t].indices for steps in ranks]) for t in range(len(ranks[0]))]
    np.testing.assert_array_equal(np.concatenate(joined), epoch_permutation(3, epoch, count))
    assert all(steps[t].global_count == joined[t].size for steps in ranks for t in range(len(joined)))
    assert all(part.size == global_batch_size for part in joined[:-1])


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    orders = {tuple(epoch_permutation(seed, epoch, 50)) for seed in range(3) for epoch in range(3)}
    assert len(orders) == 9
    assert tuple(epoch_permutation(1, 2, 50)) in orders


def test_a_batch_holds_the_normalised_slices_centred_in_padding(dataset: PreparedDataset) -> None:
    case_ids = dataset.splits.train
    feed = SliceFeed(dataset, case_ids, case_ids)
    batch = feed.batch(Step(np.arange(len(feed)), len(feed)))
    index = 0
    for case_id in case_ids:
        image, label_map = np.asarray(dataset.image(case_id), np.float64), dataset.label_map(case_id)
        normalised = (image - image.mean(axis=(0, 1, 2))) / image.std(axis=(0, 1, 2))
        for slice_image, slice_labels in zip(normalised, label_map, strict=True):
            real = batch.classes[index] != IGNORED
            height, width = slice_labels.shape
            rows, columns = np.flatnonzero(real.any(axis=1)), np.flatnonzero(real.any(axis=0))
            assert (rows.size, columns.size, real.sum()) == (height, width, height * width)
            assert abs((feed.slice_size[0] - rows[-1] - 1) - rows[0]) <= 1
            np.testing.assert_allclose(batch.images[index][real], slice_image.reshape(-1, 1), atol=1e-4)
            np.testing.assert_array_equal(batch.classes[index][real], slice_labels.ravel())
            assert not batch.images[index][~real].any()
            index += 1
    assert index == len(feed) == batch.images.shape[0]
    assert batch.weights.all()


def test_slices_to_validate_on_are_normalised_by_the_training_cases(tmp_path: Path) -> None:
    """With zscore_dataset: by mean and deviation of all the voxels of those, which are not those of the others."""
    write_phantom_study(tmp_path / "study", cases=4, shape=(32, 32, 8))
    settings = PreparationSettings(normalisation="zscore_dataset")
    dataset = prepare_dataset(tmp_path / "study", tmp_path / "dataset", settings)
    train, validation = dataset.splits.train, dataset.splits.validation
    known, unknown = (
        np.concatenate([np.asarray(dataset.image(case), np.float64).ravel() for case in cases])
        for cases in (train, validation)
    )
    assert abs(known.mean() - unknown.mean()) > 0.02 * known.std()
    feed = SliceFeed(dataset, validation, train, "float64")
    batch = feed.batch(Step(np.arange(len(feed)), len(feed)))
    found = batch.images[batch.classes != IGNORED].ravel()
    np.testing.assert_allclose(found, (unknown - known.mean()) / known.std(), atol=1e-4)


def test_a_slice_has_other_seeds_of_dropout_in_another_epoch_but_not_in_another_place(dataset: PreparedDataset) -> None:
    feed = SliceFeed(dataset, dataset.splits.train, dataset.splits.train, seed=1)

    def seeds(indices: list[int], epoch: int) -> list[int]:
        return feed.batch(Step(np.array(indices), 3, epoch)).sample_seeds.tolist()

    assert len({*seeds([3, 4], 0), *seeds([3, 4], 1), *seeds([3, 4], 2)}) == 6
    assert seeds([4, 3], 2) == seeds([3, 4], 2)[::-1]


def test_an_empty_share_is_one_slice_without_weight(dataset: PreparedDataset) -> None:
    feed = SliceFeed(dataset, dataset.splits.train, dataset.splits.train, dtype="float64")
    batch = feed.batch(Step(np.array([], dtype=np.int64), 3))
    assert batch.images.shape == (1, *feed.slice_size, 1)
    assert batch.images.dtype == np.float64
    assert batch.weights.tolist() == [0.0]
    assert (batch.classes == IGNORED).all()
    assert batch.global_count == 3


def test_prefetching_keeps_the_order_and_passes_errors_on(dataset: PreparedDataset) -> None:
    feed = SliceFeed(dataset, dataset.splits.train, dataset.splits.train)
    steps = epoch_steps(0, 0, len(feed), global_batch_size=3, rank=0, world_size=1)
    for step, batch in zip(steps, prefetch(feed, steps), strict=True):
        np.testing.assert_array_equal(batch.images, feed.batch(step).images)
    bad = [*steps[:2], Step(np.array([10_000]), 1)]
    with pytest.raises(IndexError):
        list(prefetch(feed, bad))


def test_labels_with_gaps_become_consecutive_classes(tmp_path: Path) -> None:
    import nibabel as nib

    for part in ("images", "labels"):
        (tmp_path / "study" / part).mkdir(parents=True)
    labels = np.zeros((8, 8, 3), np.uint8)
    labels[2:4, 2:4], labels[5:7, 5:7] = 1, 4
    generator = np.random.default_rng(0)
    for case in "abc":
        image = labels + generator.normal(size=labels.shape)  # three scans, not one three times
        nib.save(nib.Nifti1Image(image.astype(np.float32), np.eye(4)), tmp_path / f"study/images/{case}.nii.gz")
        nib.save(nib.Nifti1Image(labels, np.eye(4)), tmp_path / f"study/labels/{case}.nii.gz")
    dataset = prepare_dataset(tmp_path / "study", tmp_path / "dataset", PreparationSettings())
    feed = SliceFeed(dataset, dataset.splits.train, dataset.splits.train)
    classes = feed.batch(Step(np.array([0]), 1)).classes
    assert set(np.unique(classes)) - {IGNORED} == {0, 1, 2}
    assert (classes == 2).sum() == 4
