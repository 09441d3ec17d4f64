"""Small studies to train on, workers that do one job after the other, and jobs that begin and end as a user's do."""

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from dist_training.record.run_folder import RunFolder
from imgmed import PreparationSettings, PreparedDataset, prepare_dataset
from tests.distributed.jobs import ON_TWO, end, run, start, train
from tests.distributed.pool import WorkerPool


def write_study(folder: Path, cases: int, shape: tuple[int, int, int], labels: int = 2) -> Path:
    """Write a pairs study of bright boxes in noise, one box a label."""
    generator = np.random.default_rng(0)
    for part in ("images", "labels"):
        (folder / part).mkdir(parents=True)
    for case in range(cases):
        label_map = np.zeros(shape, np.uint8)
        for value in range(1, labels + 1):
            top, left = generator.integers(0, shape[0] // 2), generator.integers(0, shape[1] // 2)
            label_map[top : top + shape[0] // 3, left : left + shape[1] // 3] = value
        image = (100 * label_map + generator.normal(0, 20, shape)).astype(np.float32)
        nib.save(nib.Nifti1Image(image, np.eye(4)), folder / "images" / f"case{case}.nii.gz")
        nib.save(nib.Nifti1Image(label_map, np.eye(4)), folder / "labels" / f"case{case}.nii.gz")
    return folder


def prepare_study(
    folder: Path, cases: int, shape: tuple[int, int, int], labels: int = 2, **settings: Any
) -> PreparedDataset:
    write_study(folder / "study", cases, shape, labels)
    return prepare_dataset(folder / "study", folder / "dataset", PreparationSettings(slice_axis=2, **settings))


@pytest.fixture(scope="session")
def small_dataset(tmp_path_factory: pytest.TempPathFactory) -> PreparedDataset:
    """Five patients, of whom the training ones have 21 slices of 16 x 20 pixels: odd, so that shares differ."""
    regions = {"either": (1, 2), "second": (2,)}
    dataset = prepare_study(tmp_path_factory.mktemp("small"), 5, (16, 20, 7), regions=regions)
    assert sum(dataset.image(case).shape[0] for case in dataset.splits.train) == 21
    return dataset


@pytest.fixture(scope="session")
def one_to_validate(tmp_path_factory: pytest.TempPathFactory) -> PreparedDataset:
    """Five patients with one slice each, of whom one validates."""
    dataset = prepare_study(tmp_path_factory.mktemp("one"), 5, (16, 16, 1))
    assert sum(dataset.image(case).shape[0] for case in dataset.splits.validation) == 1
    return dataset


@pytest.fixture(scope="session")
def seven_slices(tmp_path_factory: pytest.TempPathFactory) -> PreparedDataset:
    """Three patients with seven slices each: one of them trains."""
    dataset = prepare_study(tmp_path_factory.mktemp("seven"), 3, (16, 16, 7), labels=1)
    assert sum(dataset.image(case).shape[0] for case in dataset.splits.train) == 7
    return dataset


@pytest.fixture(scope="package")
def pool_of(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[int], WorkerPool]]:
    """The pool of so many workers, the same one each time; none outlives this folder, as even idle ones take time."""
    pools: dict[int, WorkerPool] = {}

    def give(workers: int) -> WorkerPool:
        if workers not in pools:
            pools[workers] = WorkerPool(workers, tmp_path_factory.mktemp("pool"))
        return pools[workers]

    yield give
    for pool in pools.values():
        pool.close()


Weights = dict[str, np.ndarray]


@pytest.fixture(scope="session")
def dump_weights(tmp_path_factory: pytest.TempPathFactory) -> Callable[[WorkerPool, list[Any]], list[list[Weights]]]:
    """Train several jobs and give, for each job, what each rank ended with."""

    def train_all(pool: WorkerPool, jobs: list[dict[str, Any]]) -> list[list[Weights]]:
        out = tmp_path_factory.mktemp(f"workers-{pool.workers}-")
        (out / "jobs.json").write_text(json.dumps(jobs))
        pool.run("tests.distributed.dump_weights", str(out))
        return [
            [dict(np.load(out / f"job-{job}-rank-{rank}.npz")) for rank in range(pool.workers)]
            for job in range(len(jobs))
        ]

    return train_all


@pytest.fixture(scope="session")
def left_alone(
    small_dataset: PreparedDataset, tmp_path_factory: pytest.TempPathFactory
) -> tuple[RunFolder, subprocess.CompletedProcess[str]]:
    """A run of two workers that nothing disturbs, as those that are stopped, killed and resumed should end."""
    folder = RunFolder(tmp_path_factory.mktemp("alone") / "run")
    return folder, run(train(small_dataset, folder.path, *ON_TWO), folder.path.parent)


@pytest.fixture
def start_job(tmp_path: Path) -> Iterator[Callable[[list[str]], subprocess.Popen[str]]]:
    """Start jobs in the test's folder; none outlives the test, passed or failed."""
    jobs: list[subprocess.Popen[str]] = []

    def start_one(command: list[str]) -> subprocess.Popen[str]:
        jobs.append(start(command, tmp_path))
        return jobs[-1]

    yield start_one
    for job in jobs:
        end(job, [])
