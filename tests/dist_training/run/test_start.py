"""What a run starts from: another network's weights, what that one has seen, and stages that rest or learn slowly."""

import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from dist_training.architectures import read_network
from dist_training.checkpoints import read_latest_checkpoint
from dist_training.inference.model_card import read_model_card
from dist_training.learning.inflation import inflated_settings
from dist_training.learning.transfer import TransferSettings
from dist_training.record.events import Event, StepTaken, WeightsTaken, read_events
from dist_training.record.run_folder import RunFolder
from dist_training.stopping.control import request_stop
from imgmed import PreparedDataset
from imgmed.splits import Splits
from r2d2_base.errors import ConfigurationError
from tests.dist_training.run.conftest import UNET

Train = Callable[..., RunFolder]
STILL = {"epochs": 1, "learning_rate": 1e-300}
"""What was taken over is what ends."""


@pytest.fixture(scope="module")
def run_in(run_in: Callable[[Path], Train]) -> Callable[[Path], Train]:
    """Of a network that has stages."""
    return lambda parent: partial(run_in(parent), network=UNET)


@pytest.fixture(scope="module")
def source(run_in: Callable[[Path], Train], tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A network to start from, as it was drawn."""
    before = keras.config.dtype_policy()
    made = run_in(tmp_path_factory.mktemp("source"))("source", **STILL)
    keras.config.set_dtype_policy(before)
    return made


def test_a_run_starts_from_another_and_its_frozen_stages_rest(run: Train, source: RunFolder) -> None:
    transfer = TransferSettings(start_from=source.path, frozen_stages=("encoder",), unfreeze_after_epochs=1)
    averaging = {"ema_momentum": 0.5}  # of weights that rest, too
    rested = run("rested", epochs=1, transfer=transfer, **averaging)
    before, after = (read_network(folder.model) for folder in (source, rested))
    for old, new in zip(before.weights, after.weights, strict=True):
        has_moved = bool(np.abs(old.numpy() - new.numpy()).max() > 0)
        assert has_moved is not old.path.startswith(("down", "bottom")), old.path
    run("rested", epochs=2, transfer=transfer, is_resumed=True, **averaging)
    later = list(read_latest_checkpoint(rested.checkpoints).model)
    assert any(np.abs(one - other.numpy()).max() > 0 for one, other in zip(later, after.weights, strict=True))
    encoder = [place for place, weight in enumerate(after.weights) if weight.path.startswith("down")]
    assert all(np.abs(later[place] - after.weights[place].numpy()).max() > 0 for place in encoder)


def taken_over(folder: RunFolder) -> WeightsTaken:
    (event,) = (event for event in read_events(folder.events) if isinstance(event, WeightsTaken))
    return event


def test_other_labels_get_a_new_head_and_a_file_alone_is_enough(run: Train, source: RunFolder, tmp_path: Path) -> None:
    alone, relabelled = tmp_path / "alone.keras", tmp_path / "relabelled"
    shutil.copy(source.model, alone)
    shutil.copytree(source.path, relabelled)
    same = run("same", transfer=TransferSettings(start_from=alone), **STILL, seed=1)
    assert list(taken_over(same).fresh) == []
    card = json.loads(source.card.read_text())
    card["labels"] = {f"other {name}": value for name, value in card["labels"].items()}
    RunFolder(relabelled).card.write_text(json.dumps(card))
    other = run("other", transfer=TransferSettings(start_from=relabelled), **STILL, seed=1)
    assert list(taken_over(other).fresh) == ["logits/kernel", "logits/bias"]
    for old, one, new in zip(*(read_network(each.model).weights for each in (source, same, other)), strict=True):
        np.testing.assert_allclose(old.numpy(), one.numpy(), rtol=0, atol=1e-200, err_msg=old.path)
        assert np.allclose(old, new, rtol=0, atol=1e-200) is not (old.path == "logits/kernel"), old.path


def test_what_the_network_to_start_from_has_seen_is_kept_and_told(run: Train, dataset: PreparedDataset) -> None:
    """Also where it is gone when the run goes on; a third network that starts from the second knows of the first."""
    one, two, three, four = dataset.cases
    seen = {one: "train", two: "train", three: "validation"}

    def started(name: str, start: RunFolder | None, splits: list[tuple[str, ...]], **more: Any) -> RunFolder:
        train, validation, test = splits
        transfer = TransferSettings(start_from=None if start is None else start.path)
        parts = Splits(train=train, validation=validation, test=test, folds=())
        return run(name, transfer=transfer, splits=parts, **{"epochs": 1, **more})

    first = started("first", None, [(one, two), (three,), (four,)])
    second = started("second", first, [(three,), (one, two), (four,)])
    assert taken_over(second).trained_on == {"validation": 2, "test": 0}
    assert {case.case_id: case.split for case in read_model_card(second.path)[1].seen_before} == seen

    shutil.rmtree(first.path)
    second.model.unlink()
    second.card.unlink()

    def stop(event: Event) -> None:
        if isinstance(event, StepTaken):
            request_stop(second.control, "test")

    started("second", first, [(three,), (one, two), (four,)], epochs=3, is_resumed=True, listeners=[stop])
    assert {case.case_id: case.split for case in read_model_card(second.path)[1].seen_before} == seen

    third = started("third", second, [(four,), (three,), (one, two)])
    assert taken_over(third).trained_on == {"validation": 1, "test": 2}


def test_a_learning_rate_of_a_stages_own(run: Train, source: RunFolder) -> None:
    """One step of SGD without momentum: each weight moves by rate times gradient."""
    settings = {"epochs": 1, "optimizer": "sgd", "momentum": 0.0, "global_batch_size": 1000, "warmup_epochs": 0}
    plain, slow = (
        run(name, transfer=TransferSettings(start_from=source.path, learning_rate_factors=factors), **settings)
        for name, factors in (("plain", {}), ("slow", {"encoder": 0.25, "head": 2.0}))
    )
    for origin, one, other in zip(*(read_network(f.model).weights for f in (source, plain, slow)), strict=True):
        stage = {"d": 0.25, "b": 0.25, "u": 1.0, "l": 2.0}[origin.path[0]]
        moved, slowly = one.numpy() - origin.numpy(), other.numpy() - origin.numpy()
        np.testing.assert_allclose(slowly, stage * moved, rtol=1e-6, atol=1e-12, err_msg=origin.path)


def test_a_network_of_volumes_starts_from_one_of_slices_and_from_one_of_volumes(
    run_in: Callable[[Path], Train], source: RunFolder, tmp_path: Path
) -> None:
    network = inflated_settings(UNET, UNET.model_copy(update={"dimensions": 3}))

    def started(name: str, start: RunFolder) -> RunFolder:
        transfer = TransferSettings(start_from=start.path)
        return run_in(tmp_path)(name, network=network, patch_size=(4, 16, 16), transfer=transfer, **STILL, seed=1)

    volumes = started("volumes", source)
    taken = taken_over(volumes)
    model, slices = read_network(volumes.model), read_network(source.model)
    assert (taken.copied, list(taken.fresh)) == (len(model.weights), [])
    for ours, theirs in zip(model.weights, slices.weights, strict=True):
        given = theirs.numpy() if ours.shape == theirs.shape else ours.numpy()[ours.shape[0] // 2]
        np.testing.assert_allclose(given, theirs.numpy(), rtol=0, atol=1e-200, err_msg=ours.path)
    assert read_model_card(volumes.path)[1].network == network
    again = read_network(started("again", volumes).model)
    for ours, theirs in zip(again.weights, model.weights, strict=True):
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=0, atol=1e-200, err_msg=ours.path)


@pytest.mark.parametrize("names", [("enkoder",), ("encoder", "decoder", "head")])
def test_stages_that_are_none_or_leave_nothing_are_refused(run: Train, names: tuple[str, ...]) -> None:
    with pytest.raises(ConfigurationError, match=r"encoder, decoder, head|nothing to learn"):
        run("run", transfer=TransferSettings(frozen_stages=names))
