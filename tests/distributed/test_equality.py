"""The result does not depend on how the work was spread: real horovodrun, float64, to 1e-9.

Every job has a global batch of 4 of 21 slices: on three workers shares of 2, 1 and 1, on four of one each, and a last
batch of a single slice, which leaves up to three workers with an empty share.
"""

import contextlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from imgmed import PreparedDataset
from tests.distributed.pool import WorkerPool
from tests.small_network import SMALL

pytestmark = pytest.mark.distributed

UNET = {"architecture": "unet", "depth": 1, "base_filters": 4}
FCN = {"architecture": "fcn", "trunk": "vgg16", "width": 0.03125}
RESIDUAL = {"architecture": "residual_unet", "blocks": [1, 1, 1], "base_filters": 4}
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


def with_settings(job: Job, **training: Any) -> Job:
    return {**job, "training": {**job["training"], **training}}


# Each loss, optimizer and network once, and Adam and SGD for both networks of the paper; what does not depend on the
# network has a small one, whose steps are soon traced.
JOBS: dict[str, Job] = {
    "unet, adam": job(UNET),
    "unet, sgd": job(UNET, optimizer="sgd", loss="cross_entropy", class_weights=[0.5, 4.0, 2.0]),
    "fcn with dropout, adam": job(FCN),
    "fcn, sgd": job({**FCN, "dropout": 0.0}, optimizer="sgd", nesterov=True, loss="dice", clip_norm=0.1),
    "dropout": job({**UNET, "dropout": 0.5}, optimizer="adamw", weight_decay=0.1, loss="focal"),
    "lamb": job(SMALL, optimizer="lamb", loss="tversky"),
    "lars": job(SMALL, optimizer="lars", loss="dice_focal", weight_decay=1e-3),
    "whole-batch Dice": job(SMALL, loss="batch_dice"),
    "batch normalisation": job({**UNET, "normalisation": "batch"}, loss="batch_dice_cross_entropy", optimizer="sgd"),
    "average of overlapping regions": job(
        SMALL, region_outputs=True, ema_momentum=0.9, loss="tversky_cross_entropy", schedule="polynomial"
    ),
    "deep supervision": job(RESIDUAL, schedule="step"),
    "volumes": job(
        {**RESIDUAL, "dimensions": 3, "strides": [[1, 2, 2], [2, 2, 2]]},
        {
            "rotation_degrees": 20,
            "tilt_degrees": 20,
            "slice_flip_probability": 0.5,
            "across_slices": "always",
            "elastic_alpha_px": 1,
            "low_resolution": [1, 2],
            "noise_std": 0.1,
        },
        patch_size=[4, 12, 12],
        autoencoder=True,
        batch_size_per_worker=1,
    ),
    "small": job(SMALL),
    "augmented on the host": job(SMALL, {**AUGMENTATION, "where": "host"}),
    "augmented on the device": job(SMALL, {**AUGMENTATION, "where": "device"}),
}
ON_WORKERS = tuple(name for name in JOBS if name not in ("small", "augmented on the device"))

IN_PARTS = ("fcn, sgd", "dropout", "deep supervision", "augmented on the device", "volumes")
SINGLE = {**with_settings(JOBS["unet, sgd"], dtype="float32"), "network": SMALL}
# What the tests besides that of the number of workers need; "one slice to validate" comes with its dataset.
OTHERS: dict[str, Job] = {
    **{f"{name}, in parts": with_settings(JOBS[name], accumulation_steps=3) for name in IN_PARTS},
    "single precision": SINGLE,
    "compressed": with_settings(SINGLE, compression="fp16"),
    "bit for bit": with_settings(JOBS["unet, adam"], dtype="float32", epochs=2, global_batch_size=9),
}

ON_THREE = ("unet, adam", "whole-batch Dice", "batch normalisation", "augmented on the host", "volumes")
ON_TWO = tuple(name for name in ON_WORKERS if name not in ON_THREE or name in ("batch normalisation", "volumes"))
ALONE = (*JOBS, *(name for name in OTHERS if name not in ("compressed", "bit for bit")), "one slice to validate")
LAUNCHES: dict[int, tuple[str, ...]] = {
    2: (*ON_TWO, "single precision", "compressed", "one slice to validate"),
    3: ON_THREE,
    4: ("unet, sgd", "fcn with dropout, adam"),
}
"""What is trained on so many workers, as all on all would take long: every job on two or three. On three, some of a
batch's shares are empty already; four are for `--long`, with what their number could matter for."""


def assert_equal_ranks(ranks: list[dict[str, np.ndarray]]) -> None:
    for other in ranks[1:]:
        for name, value in ranks[0].items():
            np.testing.assert_array_equal(value, other[name], err_msg=name)


def largest_difference(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> float:
    assert one.keys() == other.keys()
    assert all(value.dtype == np.float64 for name, value in one.items() if "kernel" in name)
    return max(float(np.abs(one[name] - other[name]).max()) for name in one if name[:4].isdigit())


Ranks = list[dict[str, np.ndarray]]
DumpWeights = Callable[[WorkerPool, list[Job]], list[Ranks]]
Train = Callable[[int, tuple[str, ...]], dict[str, Ranks]]


@pytest.fixture(scope="module")
def jobs(small_dataset: PreparedDataset, one_to_validate: PreparedDataset) -> dict[str, Job]:
    """All jobs by name, each with the dataset that it trains on."""
    found = {name: {**job, "dataset": str(small_dataset.folder)} for name, job in {**JOBS, **OTHERS}.items()}
    return found | {"one slice to validate": {**found["small"], "dataset": str(one_to_validate.folder)}}


@pytest.fixture(scope="module")
def train(jobs: dict[str, Job], pool_of: Callable[[int], WorkerPool], dump_weights: DumpWeights) -> Train:
    """Train jobs by name and give what each rank ended with; those that tests share are trained once."""

    @cache
    def by_name(workers: int, names: tuple[str, ...]) -> dict[str, Ranks]:
        return dict(zip(names, dump_weights(pool_of(workers), [jobs[name] for name in names]), strict=True))

    return by_name


@pytest.fixture(scope="module")
def alone(train: Train) -> dict[str, dict[str, np.ndarray]]:
    """What one worker ends with, by job."""
    return {name: ranks[0] for name, ranks in train(1, ALONE).items()}


@pytest.mark.parametrize(
    ("workers", "names"),
    [
        *(pytest.param(2, LAUNCHES[2], id="2"), pytest.param(3, LAUNCHES[3], id="3")),
        pytest.param(4, LAUNCHES[4], id="4", marks=pytest.mark.long),
        *(pytest.param(n, ON_WORKERS, id=f"{n}, every job", marks=pytest.mark.long) for n in LAUNCHES),
    ],
)
def test_the_number_of_workers_changes_nothing(
    workers: int, names: tuple[str, ...], alone: dict[str, dict[str, np.ndarray]], train: Train
) -> None:
    spread = train(workers, names)
    for name in filter(JOBS.__contains__, names):
        ranks = spread[name]
        assert_equal_ranks(ranks)
        assert largest_difference(alone[name], ranks[0]) < 1e-9, name
        np.testing.assert_allclose(alone[name]["losses"], ranks[0]["losses"], rtol=0, atol=1e-9, err_msg=name)
        np.testing.assert_array_equal(alone[name]["scores"], ranks[0]["scores"], err_msg=name)
        np.testing.assert_array_equal(alone[name]["samples"], ranks[0]["samples"], err_msg=name)
        assert len(ranks[0]["losses"]) == (2 * 6 if name != "volumes" else 2 * 3)


def test_every_job_runs_on_several_workers() -> None:
    assert {name for names in LAUNCHES.values() for name in names} >= set(ON_WORKERS)


def test_accumulation_instead_of_workers_changes_nothing(alone: dict[str, dict[str, np.ndarray]]) -> None:
    """A share of 4 in parts of 2, 1 and 1."""
    for name in IN_PARTS:
        assert largest_difference(alone[name], alone[f"{name}, in parts"]) < 1e-9, name


def test_a_run_goes_on_with_another_number_of_workers(
    jobs: dict[str, Job],
    alone: dict[str, dict[str, np.ndarray]],
    pool_of: Callable[[int], WorkerPool],
    dump_weights: DumpWeights,
    tmp_path: Path,
) -> None:
    """Two workers take the first step, one takes the rest."""
    job = {**jobs["unet, adam"], "run": str(tmp_path / "run")}
    (begun,) = dump_weights(pool_of(2), [with_settings(job, max_minutes=1e-6)])
    ((ended,),) = dump_weights(pool_of(1), [job])
    assert (len(begun[0]["losses"]), len(ended["losses"])) == (1, 2 * 6 - 1)
    assert largest_difference(alone["unet, adam"], ended) < 1e-9
    np.testing.assert_array_equal(alone["unet, adam"]["samples"], ended["samples"])


def test_training_changes_the_weights(alone: dict[str, dict[str, np.ndarray]]) -> None:
    """Guards the tests above: equality of weights that never moved, or were drawn alike, would prove nothing."""
    for name, ended in alone.items():
        weights = (value for key, value in ended.items() if key[:4].isdigit())
        starts = (value for key, value in ended.items() if key.startswith("start"))
        assert max(np.abs(end - start).max() for end, start in zip(weights, starts, strict=True)) > 1e-3, name
    assert any(np.unique(ended["samples"]).size == 3 for ended in alone.values())
    assert largest_difference(alone["small"], alone["augmented on the host"]) > 1e-3
    np.testing.assert_allclose(
        alone["augmented on the host"]["losses"], alone["augmented on the device"]["losses"], rtol=1e-3
    )


def test_in_single_precision_sgd_agrees_to_1e_5_and_compression_stays_near(
    alone: dict[str, dict[str, np.ndarray]], train: Train
) -> None:
    """Half precision has 11 bits: what it rounds away from gradients moves the weights by a share of their way."""
    one, on_two = alone["single precision"], train(2, LAUNCHES[2])
    two, compressed = on_two["single precision"], on_two["compressed"]
    assert_equal_ranks(two)
    assert_equal_ranks(compressed)
    weights = [name for name in one if name[:4].isdigit()]
    assert max(np.abs(one[name] - two[0][name]).max() for name in weights) < 1e-5
    away = max(np.abs(one[name] - compressed[0][name]).max() for name in weights)
    assert 0 < away < 1e-2


def test_the_fiftieth_job_of_a_pool_is_that_of_fresh_processes_bit_for_bit(
    jobs: dict[str, Job], pool_of: Callable[[int], WorkerPool], dump_weights: DumpWeights, tmp_path: Path
) -> None:
    """Nothing is left of the jobs before; and the order of additions is fixed, whatever the timing: in single precision
    any other order would show."""
    pool, job = pool_of(3), [jobs["bit for bit"]]
    while pool.jobs < 49:
        pool.run("tests.distributed.small_job", pool.jobs)
    (used,) = dump_weights(pool, job)
    with contextlib.closing(WorkerPool(3, tmp_path)) as fresh:
        (new,) = dump_weights(fresh, job)
    assert used[0].keys() == new[0].keys()
    assert_equal_ranks([*new, *used])


@pytest.mark.long
def test_four_workers_on_seven_slices_neither_hang_nor_skip(
    seven_slices: PreparedDataset, pool_of: Callable[[int], WorkerPool], dump_weights: DumpWeights
) -> None:
    """Batches of 4 x 1: four slices, then three with one empty share; every slice counts once."""
    job = {**JOBS["unet, adam"], "dataset": str(seven_slices.folder)}
    ((one,),), (four,) = (dump_weights(pool_of(workers), [job]) for workers in (1, 4))
    assert_equal_ranks(four)
    assert len(four[0]["losses"]) == 2 * 2
    assert largest_difference(one, four[0]) < 1e-9


def test_fewer_validation_slices_than_workers_are_no_fault(
    alone: dict[str, dict[str, np.ndarray]], train: Train
) -> None:
    """One validation slice on two workers: one predicts nothing, and the score is that of one worker."""
    one, two = alone["one slice to validate"], train(2, LAUNCHES[2])["one slice to validate"]
    assert_equal_ranks(two)
    np.testing.assert_array_equal(one["scores"], two[0]["scores"])
    assert np.isfinite(two[0]["scores"]).all()
