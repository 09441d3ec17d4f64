"""Which settings count: a named file, that of the working folder, that of the dataset, and what overrides them."""

import shutil
from pathlib import Path

import pytest

from dist_training.architectures import UNetSettings
from imgmed import PreparationSettings, PreparedDataset, prepare_dataset, write_phantom_study
from imgmed.errors import NotADatasetError
from r2d2.tasks.resolution import Resolved, resolve
from r2d2_base.errors import ConfigurationError

OWN = "dataset: .\nnetwork: {architecture: unet, depth: 2}\ntraining: {epochs: 2, seed: 2}\n"


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared dataset of 32 x 32 pixels, without an r2d2.yaml."""
    folder = tmp_path_factory.mktemp("resolve")
    write_phantom_study(folder / "study", cases=4, shape=(32, 32, 8))
    return prepare_dataset(folder / "study", folder / "dataset", PreparationSettings(seed=5)).folder


@pytest.fixture
def dataset(plain: Path, tmp_path: Path) -> Path:
    """The same with settings of its own."""
    shutil.copytree(plain, tmp_path / "dataset")
    (tmp_path / "dataset/r2d2.yaml").write_text(OWN)
    return tmp_path / "dataset"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


def network(resolved: Resolved) -> UNetSettings:
    assert isinstance(resolved.configuration.network, UNetSettings)
    return resolved.configuration.network


def test_without_another_file_that_of_the_dataset_counts(dataset: Path) -> None:
    resolved = resolve(config=None, options={"dataset": str(dataset)}, assignments=[])
    assert resolved.configuration.dataset == dataset
    assert resolved.configuration.training.epochs == 2
    assert network(resolved).depth == 2
    assert resolved.origin == str(dataset / "r2d2.yaml")
    assert not resolved.is_phantom


def test_the_file_of_the_working_folder_lies_over_that_of_the_dataset(dataset: Path, here: Path) -> None:
    (here / "r2d2.yaml").write_text("dataset: ../dataset\ntraining: {epochs: 3}\n")
    resolved = resolve(config=None, options={}, assignments=[])
    assert resolved.configuration.dataset is not None
    assert resolved.configuration.dataset.resolve() == dataset
    assert (resolved.configuration.training.epochs, resolved.configuration.training.seed) == (3, 2)
    assert network(resolved).depth == 2
    assert resolved.origin.startswith("r2d2.yaml (training.epochs), over ")


def test_a_named_file_lies_over_that_of_the_dataset_alone(dataset: Path, here: Path, tmp_path: Path) -> None:
    (here / "r2d2.yaml").write_text("training: {epochs: 3, seed: 3}\n")
    named = tmp_path / "named.yaml"
    named.write_text("training: {epochs: 4}\n")
    resolved = resolve(config=named, options={"dataset": dataset}, assignments=[])
    assert (resolved.configuration.training.epochs, resolved.configuration.training.seed) == (4, 2)
    assert resolved.origin.startswith(f"{named} (training.epochs), over {dataset}")


def test_options_override_the_file_and_assignments_both(dataset: Path) -> None:
    resolved = resolve(
        config=None,
        options={"dataset": dataset, "training.epochs": 5, "training.momentum": 0.5, "workers": None},
        assignments=["training.epochs=7", "network.base_filters=4"],
    )
    training = resolved.configuration.training
    assert (training.epochs, training.momentum, training.seed) == (7, 0.5, 2)
    assert (network(resolved).base_filters, network(resolved).depth) == (4, 2)
    assert resolved.configuration.workers == 1


def test_an_assigned_dataset_brings_its_own_settings(dataset: Path) -> None:
    resolved = resolve(config=None, options={}, assignments=[f"dataset={dataset}"])
    assert resolved.configuration.dataset == dataset
    assert resolved.configuration.training.epochs == 2


def test_a_dataset_without_a_file_gets_what_suits_it(plain: Path) -> None:
    """32 x 32 pixels leave room for three poolings, and for the largest batch."""
    resolved = resolve(config=None, options={"dataset": plain}, assignments=["training.seed=4"])
    training = resolved.configuration.training
    assert (network(resolved).depth, training.batch_size_per_worker, training.seed) == (3, 32, 4)


def test_the_preparation_is_that_of_the_dataset(dataset: Path, tmp_path: Path) -> None:
    named = tmp_path / "named.yaml"
    named.write_text("preparation: {seed: 9}\n")
    resolved = resolve(config=named, options={"dataset": dataset}, assignments=[])
    assert resolved.configuration.preparation == PreparationSettings(seed=5)
    with pytest.raises(ConfigurationError, match=r"preparation\.seed=9: the dataset is prepared already"):
        resolve(config=None, options={"dataset": dataset}, assignments=["preparation.seed=9"])


@pytest.mark.slow
def test_without_a_dataset_the_phantom_is_generated(here: Path) -> None:
    stages: list[str] = []
    resolved = resolve(
        config=None,
        options={"training.seed": 8},
        assignments=[],
        progress=lambda stage, done, total: stages.append(stage),
    )
    folder = resolved.configuration.dataset
    assert folder is not None
    assert folder.absolute() == here / "r2d2-phantom/dataset"
    assert resolved.is_phantom
    assert [path.name for path in here.iterdir()] == ["r2d2-phantom"]
    assert len(PreparedDataset.read(folder).cases) == 24
    assert (network(resolved).depth, resolved.configuration.training.seed) == (4, 8)
    assert list(dict.fromkeys(stages)) == ["phantom", "reading", "preparing"]
    # Once there, it is used again.
    stages.clear()
    again = resolve(config=None, options={}, assignments=[], progress=lambda *event: stages.append(event[0]))
    assert again.configuration.dataset == folder
    assert stages == []


def test_a_fault_is_found_before_the_phantom_is_generated(here: Path) -> None:
    with pytest.raises(ConfigurationError, match="did you mean epochs"):
        resolve(config=None, options={}, assignments=["training.epoch=5"])
    assert list(here.iterdir()) == []


def test_a_fault_names_its_file(dataset: Path, here: Path) -> None:
    (dataset / "r2d2.yaml").write_text("training: {epoch: 3}\n")
    with pytest.raises(ConfigurationError, match=r"dataset/r2d2\.yaml\): training\.epoch: unknown key"):
        resolve(config=None, options={"dataset": dataset}, assignments=[])
    (dataset / "r2d2.yaml").write_text("training: {epochs: 3}\n")
    (here / "r2d2.yaml").write_text("training: {epoch: 3}\n")
    with pytest.raises(ConfigurationError, match=r"\(r2d2\.yaml\): training\.epoch: unknown key"):
        resolve(config=None, options={"dataset": dataset}, assignments=[])


def test_a_folder_that_is_no_dataset(tmp_path: Path) -> None:
    (tmp_path / "bare").mkdir()
    with pytest.raises(NotADatasetError, match="bare is not a prepared dataset"):
        resolve(config=None, options={"dataset": tmp_path / "bare"}, assignments=[])


@pytest.mark.parametrize("word", ["network.width=0.5", "training.warmup_epochs=30"])
def test_what_overrides_is_judged_together_with_the_settings_of_the_dataset(dataset: Path, word: str) -> None:
    (dataset / "r2d2.yaml").write_text("network: {architecture: fcn}\ntraining: {epochs: 40}\n")
    assert resolve(config=None, options={"dataset": dataset}, assignments=[word]).configuration.training.epochs == 40


def test_what_a_file_leaves_out_is_as_proposed_and_what_it_changes_is_said(dataset: Path, here: Path) -> None:
    """A file of two lines once threw away everything that prepare had proposed: batch 2 became 16."""
    proposed = "training: {seed: 2, batch_size_per_worker: 2}\nnetwork: {depth: 2, base_filters: 4}\n"
    (dataset / "r2d2.yaml").write_text(proposed)
    (here / "r2d2.yaml").write_text("training: {epochs: 3}\nnetwork: {base_filters: 8}\n")
    resolved = resolve(config=None, options={"dataset": dataset}, assignments=["training.learning_rate=0.5"])
    training, network = resolved.configuration.training, resolved.configuration.network
    assert (training.epochs, training.seed, training.batch_size_per_worker, training.learning_rate) == (3, 2, 2, 0.5)
    assert (network.depth, network.base_filters) == (2, 8)
    own = f"{dataset / 'r2d2.yaml'}"
    assert resolved.origin == f"r2d2.yaml (network.base_filters, training.epochs), over {own}"


def test_a_file_with_another_architecture_has_none_of_the_proposed_networks_settings(dataset: Path, here: Path) -> None:
    (dataset / "r2d2.yaml").write_text("network: {depth: 2, base_filters: 4}\n")
    (here / "r2d2.yaml").write_text("network: {architecture: fcn, width: 0.5}\n")
    network = resolve(config=None, options={"dataset": dataset}, assignments=[]).configuration.network
    assert (network.architecture, network.width) == ("fcn", 0.5)
