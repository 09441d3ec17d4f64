"""Patches of a training that is about to start: refused where memory does not hold them, and small volumes counted."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from dist_training.architectures import UNetSettings
from dist_training.settings import TrainingSettings
from imgmed import PreparationSettings, PreparedDataset, prepare_dataset, write_phantom_study
from r2d2.config import configure
from r2d2.launching.patches import check_patch_memory, thin_volumes
from r2d2.launching.plan import plan_run, remarks
from r2d2.training_memory import FRAMEWORK_BYTES, training_bytes
from r2d2_base.errors import ConfigurationError

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> PreparedDataset:
    folder = tmp_path_factory.mktemp("patches")
    write_phantom_study(folder / "study", cases=4, shape=(32, 32, 8))
    return prepare_dataset(folder / "study", folder / "dataset", PreparationSettings(kind="volumes"))


def test_patches_that_do_not_fit_are_refused_with_what_would(dataset: PreparedDataset) -> None:
    network = UNetSettings(dimensions=3)
    settings = TrainingSettings(patch_size=(64, 64, 64), batch_size_per_worker=4)

    def needed(size: tuple[int, int, int], patches: int) -> int:
        return training_bytes(network, size, 1, len(dataset.class_values), patches)

    check_patch_memory(dataset, network, settings, needed((64, 64, 64), 4))
    check_patch_memory(dataset, network, settings, None)
    with pytest.raises(ConfigurationError, match=r"4 patches of 64 x 64 x 64 .*accumulation_steps=2 "):
        check_patch_memory(dataset, network, settings, needed((64, 64, 64), 2))
    with pytest.raises(ConfigurationError, match=r"patch_size=\[48, 48, 64\] with .*accumulation_steps=4 fits"):
        check_patch_memory(dataset, network, settings, needed((48, 48, 64), 1))
    with pytest.raises(ConfigurationError, match="no size of patches fits: use a smaller network"):
        check_patch_memory(dataset, network, settings, FRAMEWORK_BYTES)


def test_volumes_thinner_than_a_patch_are_counted(dataset: PreparedDataset) -> None:
    shapes = [dataset.grid(case_id).stack_shape for case_id in dataset.splits.train]
    assert sorted(shapes) == [(7, 27, 27), (8, 30, 29)]
    assert thin_volumes(dataset, (7, 27, 27)) is None
    assert thin_volumes(dataset, (8, 16, 16)) == (
        "1 of 2 training volumes are smaller than a patch of 8 x 16 x 16 voxels (one has 7 x 27 x 27): what lies beyond"
        " them is filled with 0 and counts nowhere"
    )


def test_a_run_says_it_once_at_its_start(dataset: PreparedDataset, tmp_path: Path) -> None:
    words = [f"dataset={dataset.folder}", f"run_dir={tmp_path / 'run'}", "network.dimensions=3", "network.depth=1"]
    for size, lines in (([4, 16, 16], 0), ([16, 16, 16], 1)):
        asked = configure({}, assignments=[*words, f"training.patch_size={size}", "training.batch_size_per_worker=2"])
        said = remarks(asked, plan_run(asked, world_size=1, is_resumed=False))
        assert len(said) == lines and all("2 of 2 training volumes are smaller" in line for line in said)


def test_a_network_of_volumes_is_no_start_for_one_of_slices(
    dataset: PreparedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = SimpleNamespace(network=UNetSettings(dimensions=3), scan_preparation=dataset.scan_preparation)
    monkeypatch.setattr("r2d2.launching.plan.read_start_card", lambda start: card)
    words = [f"dataset={dataset.folder}", f"run_dir={tmp_path / 'run'}", f"transfer.start_from={tmp_path}"]
    with pytest.raises(ConfigurationError, match=r"takes volumes, .* asked for slices: use network\.dimensions=3, or"):
        plan_run(configure({}, assignments=words), world_size=1, is_resumed=False)
