"""Which network a run is planned with: that of the card to start from, and files that are found from anywhere."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from dist_training.architectures import FCNSettings, ResNetUNetSettings
from imgmed import PreparationSettings, PreparedDataset, prepare_dataset, write_phantom_study
from r2d2.config import configure, read_layer
from r2d2.training import plan_run


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> PreparedDataset:
    folder = tmp_path_factory.mktemp("start")
    write_phantom_study(folder / "study", cases=4, shape=(32, 32, 8))
    return prepare_dataset(folder / "study", folder / "dataset", PreparationSettings())


def test_weights_that_the_other_network_once_started_from_are_not_needed(
    dataset: PreparedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = ResNetUNetSettings(encoder_weights="/elsewhere/resnet34.h5")
    card = SimpleNamespace(network=theirs, scan_preparation=dataset.scan_preparation)
    monkeypatch.setattr("r2d2.training.read_start_card", lambda start: card)
    words = [f"dataset={dataset.folder}", f"run_dir={tmp_path / 'run'}", f"transfer.start_from={tmp_path}"]
    plan = plan_run(configure({}, assignments=words), world_size=1, is_resumed=False)
    assert plan.configuration.network == theirs.model_copy(update={"encoder_weights": None})
    assert plan.configuration.network.normalisation == "batch"


def test_files_of_weights_are_found_from_any_working_folder(
    dataset: PreparedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = [f"dataset={dataset.folder}", "run_dir=run", "network.architecture=fcn", "network.width=1.0"]
    typed = configure({}, assignments=[*words, "network.pretrained_weights=vgg19.h5"])
    planned = plan_run(typed, world_size=1, is_resumed=False).configuration.network
    assert planned == FCNSettings(width=1.0, pretrained_weights=str(tmp_path / "vgg19.h5"))
    (tmp_path / "in").mkdir()
    for given, expected in (("w.h5", str(tmp_path / "in/w.h5")), ("imagenet", "imagenet")):
        (tmp_path / "in/r2d2.yaml").write_text(f"network: {{architecture: fcn, pretrained_weights: {given}}}\n")
        assert read_layer(tmp_path / "in/r2d2.yaml")["network"]["pretrained_weights"] == expected


def test_a_run_that_goes_on_does_not_need_the_network_it_started_from(
    dataset: PreparedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [f"dataset={dataset.folder}", f"run_dir={tmp_path / 'run'}", f"transfer.start_from={tmp_path / 'gone'}"]
    (tmp_path / "run").mkdir()
    (tmp_path / "run/config.yaml").touch()
    monkeypatch.setattr("dist_training.run_folder.RunFolder.check_resumable", lambda folder: None)
    assert plan_run(configure({}, assignments=words), world_size=1, is_resumed=True).is_resumed
