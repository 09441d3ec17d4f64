"""Steps that are traced: what the trace holds, and that training neither changes nor fails for it."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.tsl.profiler.protobuf.xplane_pb2 import XSpace

from dist_training.checkpoints import read_latest_checkpoint
from dist_training.record.events import Event, RequestServed, StepsProfiled, StepTaken, read_events
from dist_training.record.run_folder import RunFolder
from dist_training.record.step_profile import StepProfile
from dist_training.stopping.control import request_profile

Train = Callable[..., RunFolder]


def asking(folder: RunFolder, step: int, steps: int) -> Callable[[Event], None]:
    """A listener that asks for a trace once a step is done."""

    def ask(event: Event) -> None:
        if isinstance(event, StepTaken) and event.step == step:
            request_profile(folder.control, steps, "test")

    return ask


def traces(folder: RunFolder) -> list[Path]:
    return sorted(folder.tensorboard.glob("plugins/profile/*/*.xplane.pb"))


def steps_in(trace: Path) -> set[int]:
    """Numbers of the steps that a trace names."""
    found = set()
    for plane in XSpace.FromString(trace.read_bytes()).planes:
        names = {key for key, kind in plane.event_metadata.items() if kind.name == "train"}
        number = {key for key, kind in plane.stat_metadata.items() if kind.name == "step_num"}
        found |= {
            stat.int64_value
            for line in plane.lines
            for event in line.events
            if event.metadata_id in names
            for stat in event.stats
            if stat.metadata_id in number
        }
    return found


def profiled(folder: RunFolder) -> list[tuple[int, int]]:
    return [(event.step, event.steps) for event in read_events(folder.events) if isinstance(event, StepsProfiled)]


def test_steps_are_traced_and_learn_the_same_bit_for_bit(run: Train, tmp_path: Path, compiled: None) -> None:
    folder = RunFolder(tmp_path / "traced")
    traced = run("traced", listeners=[asking(folder, 4, 2)], epochs=2)
    (served,) = (event for event in read_events(traced.events) if isinstance(event, RequestServed))
    assert (served.request, served.step, served.steps) == ("profile", 5, 2)
    assert profiled(traced) == [(6, 2)]
    (trace,) = traces(traced)
    assert steps_in(trace) == {6, 7}
    kernels = {
        kind.name for plane in XSpace.FromString(trace.read_bytes()).planes for kind in plane.event_metadata.values()
    }
    assert any("Conv2D" in name for name in kernels), sorted(kernels)[:50]
    first, second = (read_latest_checkpoint(one.checkpoints) for one in (traced, run("plain", epochs=2)))
    for ours, theirs in zip([*first.model, *first.optimizer], [*second.model, *second.optimizer], strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_trace_ends_with_its_epoch_and_one_asked_for_at_its_end_begins_with_the_next(
    run: Train, tmp_path: Path
) -> None:
    folder = RunFolder(tmp_path / "run")
    run("run", listeners=[asking(folder, 2, 50), asking(folder, 7, 3)])  # four steps an epoch; served a step later
    assert profiled(folder) == [(4, 1), (9, 3)]
    assert len(traces(folder)) == 2


def test_a_trace_that_cannot_be_made_costs_only_itself(
    run: Train, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = RunFolder(tmp_path / "run")
    tf.profiler.experimental.start(str(tmp_path / "another"))  # there is one for a process
    try:
        run("run", listeners=[asking(folder, 1, 2)])
    finally:
        tf.profiler.experimental.stop(save=False)
    assert folder.read_exit().state == "completed" and profiled(folder) == []  # type: ignore[union-attr]
    assert "no trace of these steps" in caplog.text


def test_no_trace_goes_on_behind_a_run_that_failed(tmp_path: Path) -> None:
    recorded: list[Event] = []
    with pytest.raises(ZeroDivisionError), StepProfile(tmp_path, recorded.append) as profile:
        profile.ask(3)
        with profile.of_step(1):
            os.cpu_count()
        with profile.of_step(2):
            1 / 0  # noqa: B018
    assert recorded == [] and not any(tmp_path.rglob("*.pb"))
    tf.profiler.experimental.start(str(tmp_path))  # raises where one goes on
    tf.profiler.experimental.stop(save=False)
