"""A run in one process: how it goes on, ends by itself and obeys."""

import math
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from dist_training.architectures import (
    CustomSettings,
    ResidualUNetSettings,
    UNetSettings,
    build_network,
    read_network,
)
from dist_training.architectures.precision import dtype_policy
from dist_training.checkpoints import Checkpoint, TrainingProgress, read_checkpoint, read_latest_checkpoint
from dist_training.errors import CheckpointError, DivergenceError
from dist_training.inference.model_card import read_model_card
from dist_training.learning.transfer import TransferSettings
from dist_training.learning.validation import ValidationScore
from dist_training.record.events import (
    CheckpointWritten,
    EpochEnded,
    Event,
    EventLog,
    RequestMissed,
    RequestServed,
    Running,
    StepTaken,
    read_events,
)
from dist_training.record.run_folder import RunFolder
from dist_training.run.plan import check_checkpoint, run_facts
from dist_training.run.run_checkpoints import RunCheckpoints
from dist_training.settings import TrainingSettings
from dist_training.stopping.control import request_checkpoint, request_learning_rate, request_stop
from dist_training.stopping.time_budget import TimeBudget
from imgmed import AugmentationSettings, PreparedDataset
from r2d2_base.errors import ConfigurationError
from r2d2_base.progress import StopRequest
from tests.dist_training.run.conftest import UNET

Train = Callable[..., RunFolder]
Listener = Callable[[Event], None]


def at_step(step: int, do: Callable[[], None]) -> Listener:
    """Do something once, when so many steps are done."""

    def listener(event: Event) -> None:
        if isinstance(event, StepTaken) and event.step == step:
            do()

    return listener


def steps(folder: RunFolder, name: str) -> list[float]:
    """A figure of each step, the last one recorded where a step was taken again."""
    found = {event.step: getattr(event, name) for event in read_events(folder.events) if isinstance(event, StepTaken)}
    return [found[step] for step in sorted(found)]


def state(folder: RunFolder) -> list[np.ndarray]:
    checkpoint = read_latest_checkpoint(folder.checkpoints)
    assert checkpoint is not None
    return [*checkpoint.model, *checkpoint.optimizer]


def assert_same(one: list[np.ndarray], other: list[np.ndarray]) -> None:
    for mine, theirs in zip(one, other, strict=True):
        np.testing.assert_array_equal(mine, theirs)


ALL_ON = {
    "optimizer": "sgd",
    "ema_momentum": 0.9,
    "clip_norm": 0.5,
    "weight_decay": 0.01,
    "early_stopping_patience": 50,
    "dtype": "float32",
    "accumulation_steps": 2,
}


@pytest.mark.usefixtures("compiled")
def test_a_run_stopped_in_the_middle_of_an_epoch_goes_on_bit_for_bit(run: Train) -> None:
    """Weights, velocities, averages, schedule, place in the epoch, counters, losses."""
    whole = run("whole", **ALL_ON)
    folder = RunFolder(whole.path.with_name("stopped"))
    run("stopped", listeners=[at_step(5, lambda: request_stop(folder.control, "test"))], **ALL_ON)
    assert folder.read_exit().state == "stopped_early"
    stopped_at = read_latest_checkpoint(folder.checkpoints).progress
    assert stopped_at.step_in_epoch > 0
    folder.control.unlink()
    run("stopped", is_resumed=True, **ALL_ON)
    assert folder.read_exit().state == "completed"
    assert_same(state(whole), state(folder))
    assert steps(whole, "loss") == steps(folder, "loss")
    assert steps(whole, "learning_rate") == steps(folder, "learning_rate")
    one, other = (read_latest_checkpoint(each.checkpoints).progress for each in (whole, folder))
    assert one.early_stopping == other.early_stopping
    assert one.loss_watch == other.loss_watch


VOLUMES = UNetSettings(dimensions=3, depth=1, base_filters=2, dropout=0.2)


@pytest.mark.usefixtures("compiled")
def test_a_run_on_volumes_goes_on_bit_for_bit(run: Train) -> None:
    given = {**ALL_ON, "network": VOLUMES, "patch_size": (4, 16, 16), "global_batch_size": 4}
    given["augmentation"] = AugmentationSettings(rotation_degrees=20, tilt_degrees=20, noise_std=0.1)
    given["autoencoder"] = True
    whole = run("whole", **given)
    folder = RunFolder(whole.path.with_name("stopped"))
    run("stopped", listeners=[at_step(4, lambda: request_stop(folder.control, "test"))], **given)
    assert read_latest_checkpoint(folder.checkpoints).progress.step_in_epoch > 0
    folder.control.unlink()
    run("stopped", is_resumed=True, **given)
    assert_same(state(whole), state(folder))
    assert steps(whole, "loss") == steps(folder, "loss")
    ended = [event for event in read_events(folder.events) if isinstance(event, EpochEnded)]
    assert [event.epoch for event in ended] == [1, 2, 3]
    assert all(event.validation_dice is not None and event.validation_dice > 0 for event in ended)
    assert not any(layer.name.startswith("autoencoder") for layer in read_network(folder.model).layers)
    assert len(read_latest_checkpoint(folder.checkpoints).model) > len(read_network(folder.model).variables)
    with pytest.raises(CheckpointError, match=r"patch_size was \[4, 16, 16\], now \[4, 16, 32\]"):
        run("stopped", is_resumed=True, **{**given, "patch_size": (4, 16, 32)})


def test_patches_are_proposed_by_the_size_of_the_volumes(run: Train) -> None:
    folder = run("run", network=VOLUMES, epochs=1)
    card = read_model_card(folder.path)[1]
    assert card.patch_size is not None and card.patch_size[0] == 8
    assert all(size % 2 == 0 and size <= 32 for size in card.patch_size)


OWN_NETWORK = """
import keras
from keras import layers

def with_dropout(input_channels, num_outputs):
    images = keras.Input((None, None, input_channels))
    dropped = layers.Dropout(0.5)(layers.Conv2D(4, 3, padding="same", name="encoder")(images))
    return keras.Model(images, layers.Conv2D(num_outputs, 1, name="head")(dropped))

def of_volumes(input_channels, num_outputs):
    images = keras.Input((None, None, None, input_channels))
    maps = layers.Conv3D(4, 3, padding="same", activation="relu", name="encoder")(images)
    return keras.Model(images, layers.Conv3D(num_outputs, 1, name="head")(maps))

def with_a_layer_at_rest(input_channels, num_outputs):
    model = with_dropout(input_channels, num_outputs)
    model.get_layer("encoder").trainable = False
    maps = layers.Conv2D(num_outputs, 1, name="decoder")(model.output)
    return keras.Model(model.input, maps)
"""


@pytest.fixture
def own_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "networks_at_rest.py").write_text(OWN_NETWORK)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    sys.modules.pop("networks_at_rest", None)


def test_keras_own_dropout_goes_on_with_its_random_state(run: Train, own_network: None) -> None:
    network = CustomSettings(build="networks_at_rest:with_dropout")
    whole = run("whole", network=network)
    folder = RunFolder(whole.path.with_name("stopped"))
    run("stopped", network=network, listeners=[at_step(5, lambda: request_stop(folder.control, "test"))])
    folder.control.unlink()
    run("stopped", network=network, is_resumed=True)
    assert_same(state(whole), state(folder))


def test_a_network_of_volumes_of_the_users_own_is_trained_beside_an_autoencoder(run: Train, own_network: None) -> None:
    network = CustomSettings(build="networks_at_rest:of_volumes", dimensions=3)
    folder = run("run", network=network, patch_size=(3, 16, 20), epochs=1, autoencoder=True)
    trained = read_latest_checkpoint(folder.checkpoints).model
    assert [layer.name for layer in read_network(folder.model, network).layers[1:]] == ["encoder", "head"]
    assert len(trained) > len(read_network(folder.model, network).weights) == 4
    (card_size, losses) = read_model_card(folder.path)[1].patch_size, steps(folder, "loss")
    assert card_size == (3, 16, 20) and np.isfinite(losses).all()


def test_a_layer_that_rests_in_a_network_of_the_users_own_rests_on(run: Train, own_network: None) -> None:
    network = CustomSettings(build="networks_at_rest:with_a_layer_at_rest")
    transfer = TransferSettings(frozen_stages=("head",), unfreeze_after_epochs=1)
    folder = run("run", network=network, transfer=transfer, epochs=2)
    with dtype_policy("float64"):  # as the run: other numbers are drawn in another precision
        started = build_network(network, 1, read_network(folder.model).output_shape[-1])
    ended = read_latest_checkpoint(folder.checkpoints).model
    for old, new in zip(started.variables, ended, strict=True):
        has_moved = not np.array_equal(old.numpy(), new)
        assert has_moved is not old.path.startswith("encoder"), old.path


def test_keras_builds_in_its_own_precision_again_after_a_run(run: Train) -> None:
    """Whether the run ends well or not: the networks that a script builds next are in the precision of the script."""
    before = keras.config.dtype_policy()
    folder = run("run", dtype="mixed_bfloat16", epochs=1)
    trained = read_network(folder.model)
    assert "mixed_bfloat16" in {layer.dtype_policy.name for layer in trained.layers}
    with pytest.raises(ConfigurationError, match="use fewer"):
        run("failed", dtype="mixed_bfloat16", network=ResidualUNetSettings(blocks=(1,) * 7, base_filters=1))
    assert keras.config.dtype_policy().name == before.name == "float32"


def test_slices_that_would_be_padded_to_twice_their_size_have_no_deep_supervision(run: Train) -> None:
    """32 pixels, padded to 64: the output at half the size would have 32 and be taken for one of the image's size."""
    network = ResidualUNetSettings(blocks=(1,) * 7, base_filters=1)
    with pytest.raises(ConfigurationError, match=r"slices of more than 32 pixels, .*; received 32 x 32; use fewer"):
        run("run", network=network)


def test_a_rate_that_was_set_is_set_again_at_its_step_when_an_older_checkpoint_goes_on(run: Train) -> None:
    settings = {"checkpoint_every_steps": 2, "schedule": "cosine"}
    plain = steps(run("plain", **settings), "learning_rate")
    whole = RunFolder(run("whole", **settings).path.with_name("changed"))
    ask = at_step(5, lambda: request_learning_rate(whole.control, 0.01, "test"))
    run("changed", listeners=[ask], **settings)
    rates = steps(whole, "learning_rate")
    changed = next(place for place, (one, other) in enumerate(zip(rates, plain, strict=True)) if one != other)
    assert changed in (5, 6)  # the listener speaks after step 5: the vote is in that step's exchange, or the next
    assert rates[changed] == pytest.approx(0.01, rel=1e-6)
    factor = rates[changed] / plain[changed]
    np.testing.assert_allclose(rates[changed:], np.array(plain[changed:]) * factor, rtol=1e-12)
    final = state(whole)
    whole.control.unlink()
    for path in whole.checkpoints.iterdir():  # as if the run had been killed before they were written
        if int(path.stem.partition("-")[2]) > 4:
            path.unlink()
    run("changed", is_resumed=True, **settings)
    assert steps(whole, "learning_rate") == rates
    assert_same(final, state(whole))
    requests = [event for event in read_events(whole.events) if isinstance(event, RequestServed)]
    assert [event.request for event in requests] == ["set_learning_rate"]


def test_a_checkpoint_is_written_when_asked_for_and_when_due(run: Train, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    ask = at_step(2, lambda: request_checkpoint(folder.control, "test"))
    run("run", listeners=[ask], checkpoint_every_steps=4, checkpoint_every_epochs=3)
    written = {int(path.stem.partition("-")[2]) for path in folder.checkpoints.glob("step-*")}
    total = len(steps(folder, "loss"))
    assert {4, 8, total} <= written
    assert written & {2, 3}
    recorded = [event.step for event in read_events(folder.events) if isinstance(event, CheckpointWritten)]
    assert recorded == sorted(written)


def test_a_checkpoint_that_is_asked_for_at_the_last_step_of_an_epoch_is_written(run: Train, tmp_path: Path) -> None:
    control = RunFolder(tmp_path / "run").control
    settings = {"epochs": 3, "checkpoint_every_epochs": 3, "learning_rate": 1e-300}  # so that epoch 2 is not better
    folder = run("run", **settings, listeners=[at_step(7, lambda: request_checkpoint(control, "before the break"))])
    (served,) = (event for event in read_events(folder.events) if isinstance(event, RequestServed))
    assert served.step == 8  # of four an epoch
    assert {path.name for path in folder.checkpoints.glob("step-*")} == {f"step-{n:09d}.npz" for n in (4, 8, 12)}


def test_the_rate_of_an_epoch_is_that_of_its_last_step(run: Train) -> None:
    """Not that of the step to come, which a polynomial schedule ends at a rate of 0 that no step ever has."""
    folder = run("run", schedule="polynomial", warmup_epochs=0, schedule_power=1.0)
    of_steps = steps(folder, "learning_rate")
    of_epochs = [event.learning_rate for event in read_events(folder.events) if isinstance(event, EpochEnded)]
    assert of_epochs == [of_steps[last] for last in (3, 7, 11)]  # four steps an epoch
    assert of_epochs[-1] > 0


def test_a_request_after_the_last_step_is_said_to_be_missed(run: Train, tmp_path: Path) -> None:
    control = RunFolder(tmp_path / "run").control

    def ask(event: Event) -> None:
        if isinstance(event, EpochEnded) and event.epoch == 3:
            request_checkpoint(control, "too late")

    folder = run("run", listeners=[ask])
    (missed,) = (event for event in read_events(folder.events) if isinstance(event, RequestMissed))
    assert (missed.request, missed.reason) == ("checkpoint", "too late")


def test_who_stopped_a_run_is_told_from_the_words_that_they_gave(run: Train, tmp_path: Path) -> None:
    control, stop = RunFolder(tmp_path / "asked").control, StopRequest()
    asked = run("asked", listeners=[at_step(2, lambda: request_stop(control, "signal lost"))])
    assert (asked.read_exit().stopped_by, asked.read_exit().reason) == ("request", "signal lost")
    assert asked.status().is_done and asked.status().is_resumable
    stopped = run("stopped", listeners=[at_step(2, lambda: stop.make("the console"))], stop=stop)
    assert (stopped.read_exit().stopped_by, stopped.read_exit().reason) == ("request", "the console")
    interrupted = run("interrupted", listeners=[at_step(2, lambda: os.kill(os.getpid(), signal.SIGTERM))])
    assert (interrupted.read_exit().stopped_by, interrupted.status().is_done) == ("signal", False)
    assert run("late", max_minutes=1e-6).read_exit().stopped_by == "time_budget"


def test_a_plateau_ends_a_run_and_keeps_it_ended_until_more_patience(run: Train) -> None:
    settings = {"learning_rate": 1e-12, "epochs": 9, "early_stopping_min_delta": 0.01}
    folder = run("run", early_stopping_patience=2, **settings)
    ended = folder.read_exit()
    assert ended.state == "stopped_early"
    assert ended.stopped_by == "early_stopping"
    assert "no better validation Dice in 2 epochs" in ended.reason
    done = len(steps(folder, "loss"))
    run("run", is_resumed=True, early_stopping_patience=2, **settings)
    assert len(steps(folder, "loss")) == done
    run("run", is_resumed=True, early_stopping_patience=4, **settings)
    assert len(steps(folder, "loss")) > done


def test_the_time_that_a_run_may_take_ends_it_with_a_checkpoint(run: Train) -> None:
    folder = run("run", max_minutes=1e-6)
    assert folder.read_exit().state == "stopped_early"
    assert "max_minutes" in folder.read_exit().reason
    assert len(steps(folder, "loss")) == 1
    assert read_latest_checkpoint(folder.checkpoints).progress.minutes > 0


def test_a_loss_that_explodes_ends_a_run_and_no_bad_weights_become_a_checkpoint(run: Train, tmp_path: Path) -> None:
    with pytest.raises(DivergenceError, match=r"training\.learning_rate="):
        run("run", optimizer="sgd", learning_rate=1e30, warmup_epochs=0, checkpoint_every_steps=1, dtype="float32")
    folder = RunFolder(tmp_path / "run")
    assert folder.read_exit().state == "failed"
    for path in folder.checkpoints.glob("*.npz"):
        assert all(np.isfinite(values).all() for values in np.load(path).values() if values.dtype.kind == "f")


def test_an_epoch_without_a_score_is_not_better_than_one_that_has(run: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the validation cases hold no structure, Dice is defined only in epochs that predict one."""
    scores = iter([math.nan, 0.5, math.nan, 0.6])

    def validated(*_: Any, **__: Any) -> ValidationScore:
        dice = next(scores)
        return ValidationScore(dice, np.array([1.0, dice]))

    monkeypatch.setattr("dist_training.run.training_run.validate", validated)
    folder = run("run", epochs=4)
    epochs = [event for event in read_events(folder.events) if isinstance(event, EpochEnded)]
    assert [event.is_best for event in epochs] == [True, True, False, True]
    checkpoint = read_latest_checkpoint(folder.checkpoints)
    assert checkpoint is not None
    assert (checkpoint.progress.best_score, checkpoint.progress.best_epoch) == (0.6, 4)


def test_weights_that_explode_in_the_last_step_of_an_epoch_become_no_model(run: Train, tmp_path: Path) -> None:
    """The loss of that step was that of the weights before it."""
    steep = {"loss": "cross_entropy", "class_weights": [1e6] * 3, "optimizer": "sgd", "learning_rate": 1e36}
    with pytest.raises(DivergenceError, match=r"weights became infinite or NaN in epoch 1, step 1 .* train again with"):
        run("run", **steep, warmup_epochs=0, global_batch_size=1000, learning_rate_scaling="none", dtype="float32")
    folder = RunFolder(tmp_path / "run")
    assert not folder.model.exists()
    assert not list(folder.checkpoints.glob("*.npz"))


def test_a_run_that_diverges_names_the_checkpoint_that_it_can_go_on_from(run: Train, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    explode = at_step(3, lambda: request_learning_rate(folder.control, 1e4, "a slip"))  # too late for this epoch's end
    with pytest.raises(DivergenceError, match=r"the last good checkpoint is step-000000004\.npz"):
        run("run", optimizer="sgd", schedule="constant", dtype="float32", listeners=[explode])


def test_while_the_loss_explodes_good_checkpoints_do_not_make_room_for_bad_ones(run: Train, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    settings = {"optimizer": "sgd", "loss": "cross_entropy", "schedule": "constant", "dtype": "float32"}
    settings |= {"checkpoint_every_steps": 1, "checkpoints_kept": 2, "divergence_factor": 1.5}
    explode = at_step(4, lambda: request_learning_rate(folder.control, 1e4, "a slip"))
    with pytest.raises(DivergenceError):
        run("run", **settings, listeners=[explode])
    kept = [read_checkpoint(path).progress for path in sorted(folder.checkpoints.glob("step-*"))]
    assert len(kept) == 2
    assert [progress.loss_watch.high_steps for progress in kept] == [0, 0]


def test_more_epochs_stretch_the_schedule(run: Train) -> None:
    folder = run("run", epochs=2)
    done = len(steps(folder, "loss"))
    run("run", epochs=4, is_resumed=True)
    *_, started = (e for e in read_events(folder.events) if isinstance(e, Running))
    assert started.extended_from_epochs == 2
    after = steps(folder, "learning_rate")[done:]
    expected = steps(run("long", epochs=4), "learning_rate")[done:]
    assert after == expected
    assert len(after) == done


def test_what_is_validated_and_kept_is_the_average_and_what_goes_on_are_the_weights(run: Train) -> None:
    folder = run("run", ema_momentum=0.9, epochs=1)
    checkpoint = read_latest_checkpoint(folder.checkpoints)
    kept = read_network(folder.model).get_weights()
    away = [np.abs(one - other).max() for one, other in zip(kept, checkpoint.model, strict=True)]
    assert max(away) > 1e-6
    averages = [array for array in checkpoint.optimizer if array.shape == kept[0].shape]
    assert any(np.allclose(kept[0], array, rtol=0, atol=1e-12) for array in averages)


def test_stopped_before_the_first_validation_it_keeps_the_average_too(run: Train, tmp_path: Path) -> None:
    control = RunFolder(tmp_path / "run").control
    ask = at_step(2, lambda: request_stop(control, "test"))
    folder = run("run", ema_momentum=0.9, learning_rate=0.1, warmup_epochs=0, listeners=[ask])
    kept = read_network(folder.model).get_weights()[0]
    slots = read_latest_checkpoint(folder.checkpoints).optimizer
    assert any(np.array_equal(kept, array) for array in slots if array.shape == kept.shape)


def test_early_stopping_needs_validation(run: Train, dataset: PreparedDataset) -> None:
    with pytest.raises(ConfigurationError, match="needs validation cases"):
        run("run", splits=dataset.splits.model_copy(update={"validation": ()}), early_stopping_patience=2)


def test_a_run_goes_on_with_its_own_loss_and_transfer(dataset: PreparedDataset) -> None:
    def facts(transfer: TransferSettings | None = None, **training: Any) -> dict[str, Any]:
        return run_facts(dataset, TrainingSettings(**training), AugmentationSettings(), transfer or TransferSettings())

    network, names = UNetSettings(), set(facts())
    checkpoint = Checkpoint(Path("step-1.npz"), TrainingProgress(), network.model_dump(mode="json"), facts(), [], [])
    check_checkpoint(checkpoint, network, facts(epochs=60, learning_rate=0.1))
    frozen = TransferSettings(frozen_stages=("encoder",))
    changed = {"focal_gamma was 2.0, now 1.0": facts(focal_gamma=1), "frozen_stages was []": facts(frozen)}
    for said, now in changed.items():
        with pytest.raises(CheckpointError, match=re.escape(said)):
            check_checkpoint(checkpoint, network, now)
    of_before = {name: facts()[name] for name in names if not name.startswith(("focal", "tversky", "transfer"))}
    for now in changed.values():  # begun when these were not recorded
        check_checkpoint(replace(checkpoint, facts=of_before), network, now)


def test_half_precision_learns_as_single_precision_does(run: Train) -> None:
    """11 and 8 bits of precision: the losses stay within a few per cent of each other while they fall."""
    dtypes = ("float32", "mixed_float16", "mixed_bfloat16")
    single, *half = (steps(run(name, dtype=name, learning_rate=0.01, warmup_epochs=0), "loss") for name in dtypes)
    for losses in half:
        assert np.isfinite(losses).all()
        np.testing.assert_allclose(losses, single, rtol=0.05)
        assert np.mean(losses[-4:]) < np.mean(losses[:4])


def test_small_gains_do_not_count_where_the_settings_say_so(run: Train) -> None:
    """A Dice cannot gain 1: the first epoch is the best one, two more are borne. Without the setting there are four."""
    settings = {
        "epochs": 4,
        "early_stopping_patience": 2,
        "learning_rate": 0.03,
        "dtype": "float32",
        "optimizer": "adam",
    }

    def scores(folder: RunFolder) -> list[float | None]:
        return [event.validation_dice for event in read_events(folder.events) if isinstance(event, EpochEnded)]

    patient = scores(run("patient", **settings))
    assert len(patient) == 4 and max(patient[1:3]) > patient[0]
    assert scores(run("strict", **settings, early_stopping_min_delta=1.0)) == patient[:3]


def test_how_high_a_loss_may_rise_is_a_setting(run: Train) -> None:
    """A rate far too high lifts the loss to four times its start in all steps that follow, which 100 times allows."""
    settings = {
        "network": UNET,
        "epochs": 1,
        "optimizer": "sgd",
        "loss": "cross_entropy",
        "learning_rate": 300.0,
        "warmup_epochs": 0,
    }
    losses = steps(run("borne", **settings, schedule="constant"), "loss")
    assert losses[0] > 1 and 2 * losses[0] < min(losses[1:4]) < max(losses) < 100 * losses[0]
    with pytest.raises(DivergenceError, match="step 4"):
        run("watched", **settings, schedule="constant", divergence_factor=2.0)


def test_a_checkpoint_is_due_after_so_many_minutes(tmp_path: Path) -> None:
    """On a clock of seconds that this test turns."""
    seconds = [0.0]
    folder = RunFolder(tmp_path / "run")
    folder.create(is_resumed=False)
    settings = TrainingSettings(checkpoint_every_epochs=100, checkpoint_every_minutes=2)
    with RunCheckpoints(folder, settings, EventLog(None), is_main=True) as checkpoints:
        checkpoints.begin(0, TimeBudget(None, clock=lambda: seconds[0]))
        due = []
        for seconds[0] in (60.0, 119.0, 120.0):
            due.append(checkpoints.is_due(step=7, epoch=1, is_epoch_end=False))
    assert due == [False, False, True]
