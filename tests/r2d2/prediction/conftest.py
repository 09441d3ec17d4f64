"""A dataset and a network for it, made once for each set of label values."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from imgmed import PreparationSettings, PreparedDataset, prepare_dataset
from tests.r2d2.prediction.studies import THREE_CLASSES, save_network, write_study

Made = Callable[[tuple[int, ...]], tuple[PreparedDataset, Path]]


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    @cache
    def make(values: tuple[int, ...]) -> tuple[PreparedDataset, Path]:
        folder = tmp_path_factory.mktemp("predict")
        dataset = prepare_dataset(write_study(folder / "study", values), folder / "dataset", PreparationSettings())
        return dataset, save_network(dataset, folder / "run")

    return make


@pytest.fixture
def dataset(request: pytest.FixtureRequest, made: Made) -> PreparedDataset:
    return made(getattr(request, "param", THREE_CLASSES))[0]


@pytest.fixture
def model(dataset: PreparedDataset, made: Made) -> Path:
    return made(dataset.class_values)[1]
