"""Augmented copies as cases: enough of them, from training cases only, the same for the same seed."""

from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from imgmed import (
    AugmentationSettings,
    IntensityStatistics,
    PreparationSettings,
    PreparedDataset,
    prepare_dataset,
    write_phantom_study,
)
from imgmed.augmentation.enlarge import PlannedCopy, enlarge_training, plan_copies, write_copy
from imgmed.dataset import Case, map_arrays, write_arrays, write_description
from imgmed.errors import AugmentationError
from imgmed.splits import Splits
from r2d2_base.errors import NoSpaceError
from r2d2_base.progress import Watcher

VARIED = AugmentationSettings(
    rotation_degrees=45, zoom=(0.8, 1.2), translation_px=4, elastic_alpha_px=1, contrast=(0.8, 1.2), noise_std=0.1
)


@pytest.fixture
def dataset(tmp_path: Path) -> PreparedDataset:
    write_phantom_study(tmp_path / "study", cases=6, shape=(32, 36, 8))
    return prepare_dataset(tmp_path / "study", tmp_path / "dataset", PreparationSettings(folds=3))


def enlarge(
    dataset: PreparedDataset, target: int, settings: AugmentationSettings = VARIED, seed: int = 0
) -> tuple[list[Case], Splits]:
    cases = list(dataset.cases.values())
    return enlarge_training(dataset.folder, cases, dataset.splits, target_slices=target, settings=settings, seed=seed)


def training_slices(cases: list[Case], splits: Splits) -> int:
    chosen = [case for case in cases if case.case_id in splits.train]
    return sum(case.grid.slices if case.training_slices is None else len(case.training_slices) for case in chosen)


def at_hand(dataset: PreparedDataset) -> int:
    return training_slices(list(dataset.cases.values()), dataset.splits)


def test_the_training_part_gets_the_slices_asked_for_and_nothing_else_changes(dataset: PreparedDataset) -> None:
    target = 3 * at_hand(dataset) + 5
    cases, splits = enlarge(dataset, target)
    assert training_slices(cases, splits) == target
    assert cases[: len(dataset.cases)] == list(dataset.cases.values())
    assert (splits.validation, splits.test) == (dataset.splits.validation, dataset.splits.test)
    copies = cases[len(dataset.cases) :]
    assert {copy.augmented_from for copy in copies} == set(dataset.splits.train)
    assert {copy.case_id for copy in copies} == set(splits.train) - set(dataset.splits.train)
    for copy in copies:
        source = dataset.case(copy.augmented_from or "")
        assert copy.case_id.startswith(f"{source.case_id}__aug00")
        assert (copy.patient_id, copy.grid) == (source.patient_id, source.grid)


def test_a_copy_trains_where_its_source_trains_and_validates_nowhere(dataset: PreparedDataset) -> None:
    cases, splits = enlarge(dataset, 4 * at_hand(dataset))
    source_of = {case.case_id: case.augmented_from for case in cases if case.augmented_from}
    for before, after in zip(dataset.splits.folds, splits.folds, strict=True):
        assert after.validation == before.validation
        assert set(after.train) == {*before.train, *(c for c, source in source_of.items() if source in before.train)}
        assert list(after.train) == sorted(after.train)


def test_the_enlarged_dataset_reads_like_any_other(dataset: PreparedDataset) -> None:
    cases, splits = enlarge(dataset, 2 * at_hand(dataset))
    write_description(dataset.folder, dataset.description, cases, splits)
    again = PreparedDataset.read(dataset.folder)
    assert again.splits == splits
    for case in cases:
        image, label_map = again.image(case.case_id), again.label_map(case.case_id)
        assert image.shape[:3] == label_map.shape == case.grid.stack_shape
        assert (image.dtype, label_map.dtype) == (np.float32, dataset.label_map(cases[0].case_id).dtype)
        if case.augmented_from is None:
            assert case.intensity == IntensityStatistics.of(image)
        labelled = np.flatnonzero(label_map.any(axis=(1, 2)))
        assert case.slice_range == (labelled[0], labelled[-1] + 1)
        low, high = np.array(case.clip_bounds).T
        assert (image >= low - 1e-3).all() and (image <= high + 1e-3).all()
        assert set(np.unique(label_map)) <= set(dataset.labels.values())


def test_copies_are_a_function_of_the_seed_and_their_number(dataset: PreparedDataset) -> None:
    cases = list(dataset.cases.values())
    planned = plan_copies(cases, dataset.splits, 4 * at_hand(dataset))

    def content(seed: int) -> dict[str, bytes]:
        made = [write_copy(dataset.folder, copy, VARIED, seed) for copy in reversed(planned)]
        return {copy.case_id: map_arrays(dataset.folder, copy.case_id)[0].tobytes() for copy in made}

    first, again, other = content(1), content(1), content(2)
    assert first == again
    assert len(set(first.values())) == len(planned)
    assert all(first[name] != other[name] for name in first)


def test_a_copy_is_its_source_moved_as_a_whole(dataset: PreparedDataset) -> None:
    """A pure shift: every slice by the same whole or broken number of pixels; what enters is background."""
    cases = list(dataset.cases.values())
    (copy,) = plan_copies(cases, dataset.splits, at_hand(dataset) + 1)
    settings = AugmentationSettings(translation_px=6)
    case = write_copy(dataset.folder, copy, settings, 0)
    (image, labels), (source, source_labels) = (
        map_arrays(dataset.folder, name) for name in (case.case_id, copy.source.case_id)
    )
    low = copy.source.clip_bounds[0][0]
    best = min(
        (
            float(np.abs(ndimage.shift(source[..., 0], (0, down, right), order=1, cval=low) - image[..., 0]).mean()),
            down,
            right,
        )
        for down in np.arange(-6, 6.1, 0.5)
        for right in np.arange(-6, 6.1, 0.5)
    )
    _, down, right = best
    assert max(abs(down), abs(right)) > 0.5
    moved = ndimage.shift(source_labels, (0, round(down), round(right)), order=0)
    assert np.mean(moved == labels) > 0.97
    outside = np.zeros(labels.shape[1:], bool)
    rows, columns = round(down), round(right)
    if abs(rows) > 1:
        outside[: rows - 1 if rows > 0 else 0] = True
        outside[outside.shape[0] + rows + 1 if rows < 0 else outside.shape[0] :] = True
    if abs(columns) > 1:
        outside[:, : columns - 1 if columns > 0 else 0] = True
        outside[:, outside.shape[1] + columns + 1 if columns < 0 else outside.shape[1] :] = True
    assert outside.any()
    assert not labels[:, outside].any()
    np.testing.assert_array_equal(image[:, outside, 0], np.float32(low))


def test_the_background_that_enters_is_no_part_of_the_statistics(dataset: PreparedDataset) -> None:
    """A scan of one intensity with its own clip bounds: the copy's mean is that intensity, not that of its corners."""
    source = next(dataset.case(case_id) for case_id in dataset.splits.train)
    image, labels = (np.array(array) for array in map_arrays(dataset.folder, source.case_id))
    bright = np.full_like(image, 7.0)
    write_arrays(dataset.folder, source.case_id, bright, labels)
    source = source.model_copy(update={"clip_bounds": ((0.0, 10.0),), "intensity": IntensityStatistics.of(bright)})
    copy = write_copy(
        dataset.folder, PlannedCopy(source, 1, 1), AugmentationSettings(rotation_degrees=45, zoom=(0.8, 0.8)), 0
    )
    new = map_arrays(dataset.folder, copy.case_id)[0]
    assert set(np.unique(new)) == {0.0, 7.0}
    assert copy.intensity.count == (new == 7).sum()
    assert copy.intensity.mean == pytest.approx((7.0,))


def test_noise_differs_between_slices_and_is_relative_to_the_cases_spread(dataset: PreparedDataset) -> None:
    cases = list(dataset.cases.values())
    (copy,) = plan_copies(cases, dataset.splits, at_hand(dataset) + 1)
    settings = AugmentationSettings(noise_std=0.5)
    name = write_copy(dataset.folder, copy, settings, 0).case_id
    image, source = map_arrays(dataset.folder, name)[0], map_arrays(dataset.folder, copy.source.case_id)[0]
    low, high = copy.source.clip_bounds[0]
    within = (image > low) & (image < high) & (source > low) & (source < high)
    noise = [(new - old)[real] for new, old, real in zip(image, source, within, strict=True)]
    spread = copy.source.intensity.std[0]
    assert all(0 < part.std() < 0.5 * spread for part in noise)
    together = within[0] & within[1]
    assert abs(np.corrcoef((image - source)[0][together], (image - source)[1][together])[0, 1]) < 0.3


def test_cases_with_a_choice_of_slices_keep_it(dataset: PreparedDataset) -> None:
    cases = [case.model_copy(update={"training_slices": (0, 2, 3, 5)}) for case in dataset.cases.values()]
    count = 4 * len(dataset.splits.train)
    everything, splits = enlarge_training(
        dataset.folder, cases, dataset.splits, target_slices=count + 6, settings=VARIED, seed=0
    )
    whole, part = everything[len(cases) :]
    assert whole.training_slices == (0, 2, 3, 5)
    assert part.training_slices == (0, 3)  # two of four, evenly
    assert map_arrays(dataset.folder, part.case_id)[0].shape[0] == part.grid.slices
    assert training_slices(everything, splits) == count + 6


def test_enough_slices_need_no_copies(dataset: PreparedDataset) -> None:
    assert enlarge(dataset, at_hand(dataset)) == (list(dataset.cases.values()), dataset.splits)


def test_progress_is_told(dataset: PreparedDataset) -> None:
    told: list[tuple[str, int, int]] = []
    enlarge_training(
        dataset.folder,
        list(dataset.cases.values()),
        dataset.splits,
        target_slices=at_hand(dataset) + 7,
        settings=VARIED,
        seed=0,
        watcher=Watcher(lambda *said: told.append(said)),
    )
    assert told == [("augmenting", done, len(told) - 1) for done in range(len(told))]
    assert len(told) > 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (AugmentationSettings(), "change nothing"),
        (AugmentationSettings(rotation_degrees=5, crop_size=(8, 8)), "cannot be cropped"),
        (AugmentationSettings(rotation_degrees=5, tilt_degrees=5), "no room for tilt_degrees; leave this out here"),
    ],
)
def test_settings_that_make_no_copies_are_refused(
    dataset: PreparedDataset, settings: AugmentationSettings, message: str
) -> None:
    with pytest.raises(AugmentationError, match=message):
        enlarge(dataset, 1000, settings)


def test_copies_are_not_copied_again(dataset: PreparedDataset) -> None:
    cases, splits = enlarge(dataset, at_hand(dataset) + 1)
    with pytest.raises(AugmentationError, match="holds augmented copies already"):
        enlarge_training(dataset.folder, cases, splits, target_slices=1000, settings=VARIED, seed=0)


def test_a_disk_that_is_too_small_is_noticed_before_anything_is_written(dataset: PreparedDataset) -> None:
    files = sorted(dataset.folder.rglob("*"))
    with pytest.raises(NoSpaceError, match="free in"):
        enlarge(dataset, 10**12)
    assert sorted(dataset.folder.rglob("*")) == files
