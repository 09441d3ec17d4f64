"""What version 0.1 (commit f74575b) left on disk is read, and its runs go on.

``tests/fixtures/version_0_1.tar.xz`` was written by that commit: a prepared phantom, a run of four epochs, and the same
run stopped after its second step, in float64 on one thread.
"""

import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest

from dist_training.architectures import read_network
from dist_training.checkpoints import read_latest_checkpoint
from dist_training.inference.model_card import read_model_card
from dist_training.record.run_folder import RunFolder
from imgmed import PreparedDataset
from r2d2.tasks.training import TrainSettings, train
from r2d2_base.errors import ConfigurationError

pytestmark = pytest.mark.tensorflow

FIXTURE = Path(__file__).parent.parent / "fixtures" / "version_0_1.tar.xz"


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("old")
    with tarfile.open(FIXTURE) as archive:
        archive.extractall(folder, filter="data")
    for config in folder.glob("*/config.yaml"):
        config.write_text(config.read_text().replace("FOLDER", str(folder)))
    return folder


def test_a_run_of_version_0_1_goes_on_to_the_weights_that_it_would_have_had(old: Path) -> None:
    shutil.copytree(old / "stopped", old / "resumed")
    said: list[str] = []
    result = train(TrainSettings(run_dir=old / "resumed", resume=True), on_notice=said.append)
    assert (result.state, result.run.status().step) == ("completed", 16)
    whole, resumed = (read_latest_checkpoint(old / name / "checkpoints") for name in ("whole", "resumed"))
    assert whole is not None
    assert resumed is not None
    for expected, weights in zip([*whole.model, *whole.optimizer], [*resumed.model, *resumed.optimizer], strict=True):
        np.testing.assert_allclose(weights, expected, rtol=1e-9, atol=1e-12)
    again = train(TrainSettings(run_dir=old / "resumed", resume=True), on_notice=said.append)
    assert again.state == "completed"
    assert "is complete, with 4 epochs; training.epochs=8 goes on" in said[-1]


def test_what_version_0_1_says_of_its_runs_and_networks_is_read(old: Path) -> None:
    status = RunFolder(old / "stopped").status()
    assert (status.state, status.reason, status.stopped_by) == ("stopped_early", "signal lost", "request")
    assert (status.step, status.epochs, status.job, status.is_resumable) == (2, 4, None, True)
    path, card = read_model_card(old / "whole")
    network = read_network(path, card.network)
    dataset = PreparedDataset.read(old / "dataset")
    assert network.output_shape[-1] == card.num_outputs == len(dataset.class_values)
    assert np.isfinite(network.predict(np.zeros((1, 32, 32, 1)), verbose=0)).all()


def test_settings_with_which_a_run_would_stop_again_at_once_are_refused(old: Path) -> None:
    settings = TrainSettings(run_dir=old / "stopped", resume=True, max_minutes=1e-6)
    with pytest.raises(ConfigurationError, match=r"has trained .* minutes and training\.max_minutes is 1e-06"):
        train(settings)
