"""What counts for a training if nothing is said: the same as a training would take, with its reasons."""

from pathlib import Path

import pytest

from r2d2.config import configure
from r2d2.proposal import propose_here
from r2d2.setting_fields import flat
from r2d2.tasks.basis import Basis, basis_of, room_for
from r2d2.tasks.preparation import phantom_dataset
from r2d2.tasks.resolution import resolve
from r2d2_base.machine import whole_cores


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return phantom_dataset(tmp_path_factory.mktemp("basis") / "phantom").folder


@pytest.mark.slow
def test_it_is_what_a_training_would_take(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    basis = basis_of(dataset)
    taken = resolve(config=None, options={"dataset": str(dataset)}, assignments=()).configuration
    stated = flat(taken.model_dump(mode="json"))
    assert {key: value for key, value in basis.values.items() if key != "dataset"} == {
        key: value for key, value in stated.items() if key != "dataset"
    }
    assert "training slices" in basis.reasons["training.epochs"] and "training slices" in basis.facts
    assert basis.slices and basis.tests


@pytest.mark.slow
def test_a_reason_is_told_only_of_what_was_proposed(dataset: Path) -> None:
    from imgmed import PreparedDataset

    own = dataset / "r2d2.yaml"
    before = own.read_text() if own.exists() else None
    proposed = propose_here(PreparedDataset.read(dataset)).configuration.training.epochs
    try:
        own.write_text(f"training: {{epochs: {proposed + 1}}}\n")
        basis = basis_of(dataset)
        assert basis.values["training.epochs"] == proposed + 1
        assert "training.epochs" not in basis.reasons and basis.reasons
        assert "r2d2.yaml" in basis.origin
    finally:
        own.unlink() if before is None else own.write_text(before)
    assert basis_of(dataset).values["training.epochs"] == proposed, "what changes is read anew"


@pytest.mark.slow
def test_there_is_room_for_what_the_machine_bears(dataset: Path) -> None:
    basis = basis_of(dataset)
    small = room_for(configure({}, assignments=["network.depth=1", "network.base_filters=1"]), basis)
    large = room_for(configure({}, assignments=["network.base_filters=512", "training.global_batch_size=4"]), basis, 3)
    cores = whole_cores()
    assert small[0].startswith(f"This machine has {cores} core")
    assert "A worker of this training takes about 0.7 GiB" in small[-1]
    assert "All jobs together have at most 3 workers." in large
    assert "A step has 4 slices, which at most 4 workers share." in large
    assert float(large[-1].split("about ")[1].split()[0]) > 5
    assert len(room_for(configure({"network": {"architecture": "fcn"}}), basis)) == 1, "no estimate is no figure"


def test_a_dataset_that_is_still_to_come_has_no_values(tmp_path: Path) -> None:
    assert basis_of(None) == basis_of(tmp_path)
    assert not basis_of(None).is_known and basis_of(None).origin
    assert room_for(None, Basis())
