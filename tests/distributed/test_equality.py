"""The result does not depend on how the work was spread: real horovodrun, float64, to 1e-9."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from imgmed import PreparedDataset

pytestmark = pytest.mark.distributed

UNET = {"architecture": "unet", "depth": 2, "base_filters": 4}
# Dropout draws differ between ranks (a named exception), so it is off where equality is shown.
FCN = {"architecture": "fcn", "trunk": "vgg16", "width": 0.03125, "dropout": 0.0}
OPTIMIZERS = ("adam", "sgd")
LOSSES = ("dice_cross_entropy", "cross_entropy", "dice")


def job(network: dict[str, Any], **training: Any) -> dict[str, Any]:
    settings = {"epochs": 2, "warmup_epochs": 1, "learning_rate": 0.01, "reference_batch_size": 8, "dtype": "float64"}
    return {"network": network, "training": {**settings, **training}}


@pytest.fixture
def jobs() -> list[dict[str, Any]]:
    both = [job(network, optimizer=optimizer) for network in (UNET, FCN) for optimizer in OPTIMIZERS]
    weighted = job(UNET, class_weights=[0.5, 4.0, 2.0])
    return [*both, *(job(UNET, optimizer="adam", loss=loss) for loss in LOSSES[1:]), weighted]


def with_batch(jobs: list[dict[str, Any]], size: int) -> list[dict[str, Any]]:
    return [{**job, "training": {**job["training"], "batch_size_per_worker": size}} for job in jobs]


def with_global_batch(jobs: list[dict[str, Any]], size: int) -> list[dict[str, Any]]:
    return [{**job, "training": {**job["training"], "global_batch_size": size}} for job in jobs]


def assert_equal_ranks(ranks: list[dict[str, np.ndarray]]) -> None:
    for other in ranks[1:]:
        for name, value in ranks[0].items():
            np.testing.assert_array_equal(value, other[name], err_msg=name)


def largest_difference(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> float:
    assert one.keys() == other.keys()
    assert all(value.dtype == np.float64 for name, value in one.items() if "kernel" in name)
    return max(float(np.abs(one[name] - other[name]).max()) for name in one if not name.startswith("slot"))


def test_two_workers_are_one_worker_with_twice_the_batch(
    small_dataset: PreparedDataset, jobs: list[dict[str, Any]], dump_weights: Callable[..., Any]
) -> None:
    alone = dump_weights(small_dataset, with_batch(jobs, 8), 1)
    paired = dump_weights(small_dataset, with_batch(jobs, 4), 2)
    for settings, (one,), two in zip(jobs, alone, paired, strict=True):
        assert_equal_ranks(two)
        assert largest_difference(one, two[0]) < 1e-9, settings
        np.testing.assert_allclose(one["losses"], two[0]["losses"], rtol=0, atol=1e-9)
        np.testing.assert_array_equal(one["scores"], two[0]["scores"])
        assert len(one["losses"]) == 2 * 3  # 21 slices in batches of 8, 8 and 5


def test_training_changes_the_weights(small_dataset: PreparedDataset, dump_weights: Callable[..., Any]) -> None:
    """Guards the tests above: equality of weights that never moved would prove nothing."""
    still = {**job(UNET), "training": {**job(UNET)["training"], "learning_rate": 1e-12}}
    (moved,), (unmoved,) = dump_weights(small_dataset, [job(UNET), still], 1)
    assert largest_difference(moved, unmoved) > 1e-3
    assert moved["losses"][-1] < moved["losses"][0]


def test_three_workers_on_a_kept_global_batch(small_dataset: PreparedDataset, dump_weights: Callable[..., Any]) -> None:
    """A global batch of 4 on 3 ranks: shares of 2, 1, 1, and a last batch of one slice with two empty shares."""
    jobs = with_global_batch([job(UNET), job(FCN, optimizer="sgd")], 4)
    alone, spread = dump_weights(small_dataset, jobs, 1), dump_weights(small_dataset, jobs, 3)
    for (one,), three in zip(alone, spread, strict=True):
        assert_equal_ranks(three)
        assert largest_difference(one, three[0]) < 1e-9


def test_four_workers_on_seven_slices_neither_hang_nor_skip(
    seven_slices: PreparedDataset, dump_weights: Callable[..., Any]
) -> None:
    """Batches of 4 x 1: four slices, then three with one empty share; every slice counts once."""
    jobs = with_global_batch([job(UNET)], 4)
    ((one,),), (four,) = dump_weights(seven_slices, jobs, 1), dump_weights(seven_slices, jobs, 4)
    assert_equal_ranks(four)
    assert len(four[0]["losses"]) == 2 * 2
    assert largest_difference(one, four[0]) < 1e-9


def test_fewer_validation_slices_than_workers_are_no_fault(
    three_to_validate: PreparedDataset, dump_weights: Callable[..., Any]
) -> None:
    """Three validation slices on four workers: one predicts nothing, and the score is that of one worker."""
    jobs = with_global_batch([job(UNET)], 4)
    ((one,),), (four,) = dump_weights(three_to_validate, jobs, 1), dump_weights(three_to_validate, jobs, 4)
    assert_equal_ranks(four)
    np.testing.assert_array_equal(one["scores"], four[0]["scores"])
    assert np.isfinite(four[0]["scores"]).all()


def test_with_dropout_the_ranks_still_hold_equal_weights(
    small_dataset: PreparedDataset, dump_weights: Callable[..., Any]
) -> None:
    for ranks in dump_weights(small_dataset, [job({**UNET, "dropout": 0.5}), job({**FCN, "dropout": 0.5})], 2):
        assert_equal_ranks(ranks)


AUGMENTATION = {
    "rotation_degrees": 45,
    "zoom": [0.8, 1.2],
    "translation_px": 3,
    "horizontal_flip_probability": 0.5,
    "elastic_alpha_px": 1,
    "crop_size": [14, 16],
    "gamma": [0.7, 1.5],
    "noise_std": 0.1,
}


def test_two_workers_see_the_augmented_slices_of_one(
    small_dataset: PreparedDataset, dump_weights: Callable[..., Any]
) -> None:
    """2 x B is 1 x 2B, augmented on the host and by the device's operations."""
    plain = job({**UNET, "depth": 1}, epochs=1)
    augmented = [{**plain, "augmentation": {**AUGMENTATION, "where": where}} for where in ("host", "device")]
    ((unchanged,), *alone) = dump_weights(small_dataset, with_batch([plain, *augmented], 8), 1)
    paired = dump_weights(small_dataset, with_batch(augmented, 4), 2)
    for (one,), two in zip(alone, paired, strict=True):
        assert_equal_ranks(two)
        assert largest_difference(one, two[0]) < 1e-9
        np.testing.assert_array_equal(one["scores"], two[0]["scores"])
        assert largest_difference(one, unchanged) > 1e-3
    ((host,), (device,)) = alone
    np.testing.assert_allclose(host["losses"], device["losses"], rtol=1e-3)
