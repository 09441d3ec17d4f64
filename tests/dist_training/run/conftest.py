"""A small study, and runs on it in this process."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from dist_training.architectures import CustomSettings, NetworkSettings, UNetSettings
from dist_training.learning.transfer import TransferSettings
from dist_training.ranks.communicator import SoloCommunicator
from dist_training.record.events import Event
from dist_training.record.run_folder import RunFolder
from dist_training.run.train import train
from dist_training.settings import TrainingSettings
from imgmed import AugmentationSettings, PreparationSettings, PreparedDataset, prepare_dataset, write_phantom_study
from imgmed.splits import Splits
from r2d2_base.progress import StopRequest
from tests.small_network import SMALL

NETWORK = CustomSettings(build=SMALL["build"])
UNET = UNetSettings(depth=1, base_filters=2)
BATCH = 4
DEFAULTS = {"epochs": 3, "global_batch_size": BATCH, "dtype": "float64", "checkpoints_kept": 50, "optimizer": "sgd"}
Train = Callable[..., RunFolder]
Listener = Callable[[Event], None]


@pytest.fixture
def compiled() -> None:
    """Asked for by a test whose steps are to be compiled, as those of a user's run are."""


@pytest.fixture(autouse=True)
def eager(request: pytest.FixtureRequest) -> Iterator[None]:
    """The course of a run is the same in TensorFlow without graphs, and begins sooner by seconds."""
    is_eager = "compiled" not in request.fixturenames
    tf.config.run_functions_eagerly(is_eager)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> PreparedDataset:
    folder = tmp_path_factory.mktemp("run")
    write_phantom_study(folder / "study", seed=0, cases=4, shape=(32, 32, 8))
    dataset = prepare_dataset(folder / "study", folder / "dataset", PreparationSettings())
    assert sum(dataset.image(case).shape[0] for case in dataset.splits.train) > 3 * BATCH  # four steps an epoch
    return dataset


@pytest.fixture(scope="module")
def run_in(dataset: PreparedDataset) -> Callable[[Path], Train]:
    """What makes runs in a folder."""

    def make(parent: Path) -> Train:
        def run_here(
            name: str,
            *,
            listeners: Sequence[Listener] = (),
            is_resumed: bool = False,
            transfer: TransferSettings | None = None,
            network: NetworkSettings = NETWORK,
            splits: Splits | None = None,
            stop: StopRequest | None = None,
            augmentation: AugmentationSettings | None = None,
            **training: Any,
        ) -> RunFolder:
            folder = RunFolder(parent / name)
            folder.create(is_resumed=is_resumed)
            settings = {**DEFAULTS, **training}
            train(
                dataset if splits is None else replace(dataset, splits=splits),
                network,
                TrainingSettings(**settings),
                folder,
                SoloCommunicator(),
                listeners=listeners,
                is_resumed=is_resumed,
                transfer=transfer,
                stop=stop,
                augmentation=augmentation or AugmentationSettings(),
            )
            return folder

        return run_here

    return make


@pytest.fixture
def run(run_in: Callable[[Path], Train], tmp_path: Path) -> Train:
    """Runs in the test's folder."""
    return run_in(tmp_path)
