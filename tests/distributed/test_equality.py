"""The result does not depend on how the work was spread: real horovodrun, float64, to 1e-9.

Every job has a global batch of 4 of 21 slices: on three workers shares of 2, 1 and 1, on four of one each, and a last
batch of a single slice, which leaves up to three workers with an empty share.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from imgmed import PreparedDataset

pytestmark = pytest.mark.distributed

UNET = {"architecture": "unet", "depth": 1, "base_filters": 4}
FCN = {"architecture": "fcn", "trunk": "vgg16", "width": 0.03125}
RESIDUAL = {"architecture": "residual_unet", "blocks": [1, 1, 1, 1], "base_filters": 4}
SETTINGS = {
    "epochs": 2,
    "warmup_epochs": 1,
    "learning_rate": 0.01,
    "reference_batch_size": 8,
    "global_batch_size": 4,
    "dtype": "float64",
}
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
Job = dict[str, Any]


def job(network: dict[str, Any], augmentation: dict[str, Any] | None = None, **training: Any) -> Job:
    return {"network": network, "training": {**SETTINGS, **training}, "augmentation": augmentation or "none"}


# Each loss, optimizer and network once, and Adam and SGD for both networks of the paper.
JOBS: dict[str, Job] = {
    "unet, adam": job(UNET),
    "unet, sgd": job(UNET, optimizer="sgd", loss="cross_entropy", class_weights=[0.5, 4.0, 2.0]),
    "fcn with dropout, adam": job(FCN),
    "fcn, sgd": job({**FCN, "dropout": 0.0}, optimizer="sgd", nesterov=True, loss="dice", clip_norm=0.1),
    "dropout": job({**UNET, "dropout": 0.5}, optimizer="adamw", weight_decay=0.1, loss="focal"),
    "lamb": job(UNET, optimizer="lamb", loss="tversky"),
    "lars": job(UNET, optimizer="lars", loss="dice_focal", weight_decay=1e-3),
    "average": job(UNET, ema_momentum=0.9, loss="tversky_cross_entropy", schedule="polynomial"),
    "whole-batch Dice": job(UNET, loss="batch_dice"),
    "batch normalisation": job({**UNET, "normalisation": "batch"}, loss="batch_dice_cross_entropy", optimizer="sgd"),
    "overlapping regions": job(UNET, region_outputs=True, loss="cross_entropy"),
    "deep supervision": job(RESIDUAL, schedule="step"),
    "augmented on the host": job(UNET, {**AUGMENTATION, "where": "host"}),
    "augmented on the device": job(UNET, {**AUGMENTATION, "where": "device"}),
}
ON_WORKERS = tuple(name for name in JOBS if name != "augmented on the device")
SPREAD = [
    (2, ON_WORKERS),
    (3, ("unet, adam", "whole-batch Dice", "batch normalisation", "augmented on the host")),
    (4, ("unet, sgd", "fcn with dropout, adam")),
    *(pytest.param(workers, ON_WORKERS, marks=pytest.mark.long) for workers in (3, 4)),
]
"""Every job on two workers; on more, what the number could matter for: four processes share two cores here."""

IN_PARTS = ("unet, adam", "fcn, sgd", "dropout", "deep supervision", "augmented on the device")


def assert_equal_ranks(ranks: list[dict[str, np.ndarray]]) -> None:
    for other in ranks[1:]:
        for name, value in ranks[0].items():
            np.testing.assert_array_equal(value, other[name], err_msg=name)


def largest_difference(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> float:
    assert one.keys() == other.keys()
    assert all(value.dtype == np.float64 for name, value in one.items() if "kernel" in name)
    return max(float(np.abs(one[name] - other[name]).max()) for name in one if not name.startswith("slot"))


def with_settings(jobs: list[Job], **training: Any) -> list[Job]:
    return [{**job, "training": {**job["training"], **training}} for job in jobs]


Train = Callable[..., list[list[dict[str, np.ndarray]]]]


@pytest.fixture(scope="module")
def alone(small_dataset: PreparedDataset, dump_weights: Train) -> dict[str, dict[str, np.ndarray]]:
    """What one worker ends with, by job."""
    trained = dump_weights(small_dataset, list(JOBS.values()), 1)
    return {name: ranks[0] for name, ranks in zip(JOBS, trained, strict=True)}


@pytest.mark.parametrize(
    ("workers", "names"), SPREAD, ids=lambda value: value if isinstance(value, int) else len(value)
)
def test_the_number_of_workers_changes_nothing(
    workers: int,
    names: tuple[str, ...],
    small_dataset: PreparedDataset,
    alone: dict[str, dict[str, np.ndarray]],
    dump_weights: Train,
) -> None:
    spread = dump_weights(small_dataset, [JOBS[name] for name in names], workers)
    for name, ranks in zip(names, spread, strict=True):
        assert_equal_ranks(ranks)
        assert largest_difference(alone[name], ranks[0]) < 1e-9, name
        np.testing.assert_allclose(alone[name]["losses"], ranks[0]["losses"], rtol=0, atol=1e-9, err_msg=name)
        np.testing.assert_array_equal(alone[name]["scores"], ranks[0]["scores"], err_msg=name)
        assert len(ranks[0]["losses"]) == 2 * 6


def test_accumulation_instead_of_workers_changes_nothing(
    small_dataset: PreparedDataset, alone: dict[str, dict[str, np.ndarray]], dump_weights: Train
) -> None:
    """A share of 4 in parts of 2, 1 and 1."""
    jobs = with_settings([JOBS[name] for name in IN_PARTS], accumulation_steps=3)
    for name, ranks in zip(IN_PARTS, dump_weights(small_dataset, jobs, 1), strict=True):
        assert largest_difference(alone[name], ranks[0]) < 1e-9, name


def test_training_changes_the_weights(
    small_dataset: PreparedDataset, alone: dict[str, dict[str, np.ndarray]], dump_weights: Train
) -> None:
    """Guards the tests above: equality of weights that never moved, or were drawn alike, would prove nothing."""
    names = ["unet, adam", "dropout", "augmented on the host"]
    still = dump_weights(small_dataset, with_settings([JOBS[name] for name in names], learning_rate=1e-12), 1)
    for name, (unmoved,) in zip(names, still, strict=True):
        assert largest_difference(alone[name], unmoved) > 1e-3
    assert largest_difference(alone["unet, adam"], alone["augmented on the host"]) > 1e-3
    np.testing.assert_allclose(
        alone["augmented on the host"]["losses"], alone["augmented on the device"]["losses"], rtol=1e-3
    )


def test_in_single_precision_sgd_agrees_to_1e_5_and_compression_stays_near(
    small_dataset: PreparedDataset, dump_weights: Train
) -> None:
    """Half precision has 11 bits: what it rounds away from gradients moves the weights by a share of their way."""
    plain = {**JOBS["unet, sgd"], "training": {**JOBS["unet, sgd"]["training"], "dtype": "float32"}}
    (one,), two, compressed = (
        dump_weights(small_dataset, [given], workers)[0]
        for given, workers in ((plain, 1), (plain, 2), (with_settings([plain], compression="fp16")[0], 2))
    )
    assert_equal_ranks(two)
    assert_equal_ranks(compressed)
    weights = [name for name in one if not name.startswith("slot")]
    assert max(np.abs(one[name] - two[0][name]).max() for name in weights) < 1e-5
    away = max(np.abs(one[name] - compressed[0][name]).max() for name in weights)
    assert 0 < away < 1e-2


def test_two_runs_on_three_workers_agree_bit_for_bit(small_dataset: PreparedDataset, dump_weights: Train) -> None:
    """The order of additions is fixed, whatever the timing: in single precision any other order would show."""
    jobs = with_settings([JOBS["unet, adam"]], dtype="float32", epochs=6, global_batch_size=9)
    (once,), (again,) = dump_weights(small_dataset, jobs, 3), dump_weights(small_dataset, jobs, 3)
    assert_equal_ranks([once[0], again[0]])


@pytest.mark.long
def test_four_workers_on_seven_slices_neither_hang_nor_skip(seven_slices: PreparedDataset, dump_weights: Train) -> None:
    """Batches of 4 x 1: four slices, then three with one empty share; every slice counts once."""
    ((one,),), (four,) = (dump_weights(seven_slices, [JOBS["unet, adam"]], workers) for workers in (1, 4))
    assert_equal_ranks(four)
    assert len(four[0]["losses"]) == 2 * 2
    assert largest_difference(one, four[0]) < 1e-9


def test_fewer_validation_slices_than_workers_are_no_fault(
    three_to_validate: PreparedDataset, dump_weights: Train
) -> None:
    """Three validation slices on four workers: one predicts nothing, and the score is that of one worker."""
    ((one,),), (four,) = (dump_weights(three_to_validate, [JOBS["unet, adam"]], workers) for workers in (1, 4))
    assert_equal_ranks(four)
    np.testing.assert_array_equal(one["scores"], four[0]["scores"])
    assert np.isfinite(four[0]["scores"]).all()
