"""Which network a run is planned with: that of the card to start from, and files that are found from anywhere."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from dist_training.architectures import (
    CustomSettings,
    FCNSettings,
    NetworkSettings,
    ResNetUNetSettings,
    UNetSettings,
)
from imgmed import PreparationSettings, PreparedDataset, prepare_dataset, write_phantom_study
from r2d2.config import configure, read_layer
from r2d2.launching.plan import plan_run, remarks
from r2d2_base.errors import ConfigurationError


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
    monkeypatch.setattr("r2d2.launching.plan.read_start_card", lambda start: card)
    words = [f"dataset={dataset.folder}", f"run_dir={tmp_path / 'run'}", f"transfer.start_from={tmp_path}"]
    asked = configure({}, assignments=words)
    plan = plan_run(asked, world_size=1, is_resumed=False)
    assert plan.configuration.network == theirs.model_copy(update={"encoder_weights": None})
    assert plan.configuration.network.normalisation == "batch"
    assert remarks(asked, plan) == [f"network settings are those of {tmp_path}: architecture unet_resnet, not unet"]


def test_settings_that_the_network_to_start_from_overrides_are_named(
    dataset: PreparedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = SimpleNamespace(network=UNetSettings(depth=2), scan_preparation=dataset.scan_preparation)
    monkeypatch.setattr("r2d2.launching.plan.read_start_card", lambda start: card)
    monkeypatch.chdir(tmp_path)
    words = [f"dataset={dataset.folder}", "run_dir=run", "transfer.start_from=source", "network.depth=2"]
    for more, said in (([], ""), (["network.depth=3", "network.dropout=0.5"], "depth 2, not 3; dropout 0.0, not 0.5")):
        asked = configure({}, assignments=[*words, *more])
        plan = plan_run(asked, world_size=1, is_resumed=False)
        assert remarks(asked, plan) == (
            [f"network settings are those of {tmp_path / 'source'}: {said}"] if said else []
        )


def test_a_network_of_slices_with_neighbours_says_how_to_prepare_for_it(
    dataset: PreparedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = dataset.scan_preparation.model_copy(update={"neighbours": 2})
    card = SimpleNamespace(network=UNetSettings(), scan_preparation=theirs)
    monkeypatch.setattr("r2d2.launching.plan.read_start_card", lambda start: card)
    words = [f"dataset={dataset.folder}", f"run_dir={tmp_path / 'run'}", f"transfer.start_from={tmp_path}"]
    asked = configure({}, assignments=words)
    said = r"takes 5 input channels, .* has 1; prepare with preparation\.neighbours=2, or start from scratch"
    with pytest.raises(ConfigurationError, match=said):
        plan_run(asked, world_size=1, is_resumed=False)
    card.scan_preparation = theirs.model_copy(update={"channels": ("a", "b"), "neighbours": 0})
    with pytest.raises(ConfigurationError, match=r"takes 2 input channels, .* has 1; start from one of as many, or"):
        plan_run(asked, world_size=1, is_resumed=False)


def test_a_network_of_volumes_starts_from_one_of_slices_with_a_third_axis(
    dataset: PreparedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = SimpleNamespace(network=UNetSettings(depth=1, dropout=0.1), scan_preparation=dataset.scan_preparation)
    monkeypatch.setattr("r2d2.launching.plan.read_start_card", lambda start: card)
    words = [f"dataset={dataset.folder}", f"run_dir={tmp_path / 'run'}", f"transfer.start_from={tmp_path}"]

    def planned(*more: str) -> tuple[NetworkSettings, tuple[int, ...] | None]:
        asked = configure({}, assignments=[*words, *more])
        configuration = plan_run(asked, world_size=1, is_resumed=False).configuration
        return configuration.network, configuration.training.patch_size

    flat = card.network.model_copy(update={"dimensions": 3, "doubling": "late"})
    assert planned() == (card.network, None)
    assert planned("network.dimensions=3", "training.patch_size=[4,16,16]") == (flat, (4, 16, 16))
    strides = ["network.depth=1", "network.strides=[[1,2,2]]"]
    assert planned("network.dimensions=3", *strides)[0] == flat.model_copy(update={"strides": ((1, 2, 2),)})
    with pytest.raises(
        ConfigurationError, match=r"network\.strides must be those of .* \[\[2, 2\]\]; received \[\[2, 4"
    ):
        planned("network.dimensions=3", "network.depth=1", "network.strides=[[2,4,4]]")
    card.scan_preparation = dataset.scan_preparation.model_copy(update={"neighbours": 1})
    assert planned("network.dimensions=3")[0] == flat
    card.scan_preparation = dataset.scan_preparation.model_copy(update={"neighbours": 2})
    with pytest.raises(
        ConfigurationError, match=r"2 neighbours .* along 3 slices; begin network\.kernels with 5 along"
    ):
        planned("network.dimensions=3")
    card.scan_preparation = dataset.scan_preparation.model_copy(update={"channels": ("a", "b")})
    with pytest.raises(ConfigurationError, match=r"takes 2 input channels, .* has 1; start from one of as many"):
        planned("network.dimensions=3")
    card.network, card.scan_preparation = FCNSettings(), dataset.scan_preparation
    with pytest.raises(ConfigurationError, match=r"architecture fcn, .* start from a unet or a residual_unet"):
        planned("network.dimensions=3")


def test_code_of_a_card_runs_only_where_the_settings_name_it_too(
    dataset: PreparedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = CustomSettings(build="tests.small_network:build", options={"filters": 2})
    card = SimpleNamespace(network=theirs, scan_preparation=dataset.scan_preparation)
    monkeypatch.setattr("r2d2.launching.plan.read_start_card", lambda start: card)
    words = [f"dataset={dataset.folder}", f"run_dir={tmp_path / 'run'}", f"transfer.start_from={tmp_path}"]
    with pytest.raises(ConfigurationError, match=r"code that would run, tests\.small_network:build; if you trust"):
        plan_run(configure({}, assignments=words), world_size=1, is_resumed=False)
    trusted = configure({}, assignments=[*words, "network.architecture=tests.small_network:build"])
    assert plan_run(trusted, world_size=1, is_resumed=False).configuration.network == theirs


def test_adamw_without_decay_is_said_to_be_adam(dataset: PreparedDataset, tmp_path: Path) -> None:
    words = [f"dataset={dataset.folder}", f"run_dir={tmp_path / 'run'}", "training.optimizer=adamw"]
    asked = configure({}, assignments=words)
    (line,) = remarks(asked, plan_run(asked, world_size=1, is_resumed=False))
    assert line == "training.optimizer=adamw without weight decay is adam; try training.weight_decay=0.01"
    asked = configure({}, assignments=[*words, "training.weight_decay=0.1"])
    assert remarks(asked, plan_run(asked, world_size=1, is_resumed=False)) == []


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
    monkeypatch.setattr("dist_training.record.run_folder.RunFolder.check_resumable", lambda folder: None)
    assert plan_run(configure({}, assignments=words), world_size=1, is_resumed=True).is_resumed
