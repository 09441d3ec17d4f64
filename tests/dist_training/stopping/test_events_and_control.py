"""events.jsonl survives a crash; control.json and signals become one request."""

import errno
import fcntl
import json
import os
import signal
from pathlib import Path

import pytest

from dist_training.errors import WorkerLostError
from dist_training.record.events import (
    CheckpointWritten,
    Ended,
    EpochEnded,
    Event,
    EventLog,
    EventTail,
    RequestMissed,
    RequestServed,
    Restarted,
    Running,
    Starting,
    StepsProfiled,
    StepTaken,
    Stopping,
    WeightsTaken,
    read_events,
)
from dist_training.record.states import Stop
from dist_training.stopping.control import Control, agreed, request_stop

STEP = {"epoch": 1, "loss": 0.5, "learning_rate": 0.1, "seconds": 0.25, "images_per_second": 32.0}
LINE = json.dumps({"event": "step", "time": 1.8e9, "step": 1, **STEP})


def steps(path: Path) -> list[int]:
    return [event.step for event in read_events(path) if isinstance(event, StepTaken)]


def test_events_reach_the_file_and_the_listeners_in_order(tmp_path: Path) -> None:
    heard: list[Event] = []
    path = tmp_path / "events.jsonl"
    log = EventLog(path, (heard.append,))
    begun = Running(
        epochs=3, steps_per_epoch=2, training_slices=8, validation_slices=4, global_batch_size=4, parameters=99
    )
    written = [
        Starting(world_size=2),
        begun,
        WeightsTaken(source="run", copied=2, fresh=("head/kernel",), trained_on=None),
        StepTaken(step=1, **STEP),
        EpochEnded(epoch=1, step=2, loss=0.4, validation_dice=0.5, validation_dice_per_label={"a": 0.5, "b": None}),
        CheckpointWritten(step=2, file="step-000000002.npz"),
        RequestServed(request="set_learning_rate", step=2, reason="plateau", id="x", learning_rate=0.01),
        RequestServed(request="profile", step=2, reason="slow", id="z", steps=5),
        StepsProfiled(step=3, steps=2),
        Restarted(number=1, of=2, reason="rank 1 was ended by SIGKILL"),
        RequestMissed(request="checkpoint", reason="late", id="y"),
        Stopping(reason="signal SIGINT", stopped_by="signal"),
        Ended(state="stopped_early", reason="signal SIGINT", stopped_by="signal"),
    ]
    for event in written:
        log.record(event)
    log.close()
    assert read_events(path) == heard == written
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    kinds = [line["event"] for line in lines]
    assert kinds == [
        "state",
        "state",
        "transfer",
        "step",
        "epoch",
        "checkpoint",
        "control",
        "control",
        "profile",
        "restart",
        "missed",
        "state",
        "state",
    ]
    assert all(line["time"] > 1e9 for line in lines)
    assert lines[3] == {"event": "step", "time": lines[3]["time"], "step": 1, **STEP}


def test_what_version_0_1_wrote_is_read(tmp_path: Path) -> None:
    """Lines of a run of that version, in which nobody had yet written who stopped it."""
    path = tmp_path / "events.jsonl"
    path.write_text(
        '{"event": "state", "time": 1796061600.0, "state": "starting", "world_size": 2}\n'
        '{"event": "control", "time": 1796061601.0, "request": "stop_early", "step": 4, "reason": "it", "id": "7"}\n'
        '{"event": "state", "time": 1796061602.0, "state": "stopping", "reason": "enough"}\n'
        '{"event": "state", "time": 1796061603.0, "state": "stopped_early", "reason": "enough"}\n'
    )
    starting, served, stopping, ended = read_events(path)
    assert (starting.world_size, served.id, stopping.reason, ended.state) == (2, "7", "enough", "stopped_early")


def test_a_torn_line_is_left_out_and_the_next_event_stands_alone(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text(LINE + '\n{"event": "st')
    assert steps(path) == [1]
    log = EventLog(path)
    log.record(StepTaken(step=2, **STEP))
    log.close()
    assert steps(path) == [1, 2]


@pytest.mark.parametrize("line", ['{"event": "of tomorrow"}', "[1]", "7", '{"event": "step", "step": "many"}', "\xff"])
def test_lines_that_are_no_event_of_ours_are_left_out(tmp_path: Path, line: str) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(f"{LINE}\n{line}\n{LINE}\n".encode("latin-1"))
    assert steps(path) == [1, 1]


def test_a_file_system_without_locks_has_a_record_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As Lustre is where it is mounted without them."""

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", refuse)
    log = EventLog(tmp_path / "events.jsonl")
    log.record(StepTaken(step=1, **STEP))
    log.close()
    assert steps(tmp_path / "events.jsonl") == [1]


def test_a_tail_goes_on_where_it_was(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    tail = EventTail(path)
    assert list(tail.new()) == []
    path.write_text(LINE + "\n" + LINE[:20])
    assert [event.step for event in tail.new()] == [1]
    with path.open("a") as file:
        file.write(LINE[20:].replace('"step": 1', '"step": 22') + "\n" + LINE.replace('"step": 1', '"step": 3') + "\n")
    later = EventTail(path, from_end=True)
    assert [event.step for event in tail.new()] == [22, 3]
    assert list(tail.new()) == list(later.new()) == []


def test_a_request_in_the_control_file_is_seen_once_it_is_there(tmp_path: Path) -> None:
    control = Control(tmp_path / "control.json")
    assert not agreed(control.votes()).is_stop
    (tmp_path / "control.json").write_text("{half")
    assert not agreed(control.votes()).is_stop
    request_stop(tmp_path / "control.json", "enough")
    assert agreed(control.votes()).is_stop
    assert control.stop == Stop("request", "enough")
    assert json.loads((tmp_path / "control.json").read_text())["request"] == "stop_early"


def test_signals_are_requests_until_the_handlers_are_restored() -> None:
    control = Control(None)
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)}
    with control.signals():
        assert not agreed(control.votes()).is_stop
        os.kill(os.getpid(), signal.SIGUSR1)
        assert agreed(control.votes()).is_stop
        assert control.stop == Stop("signal", "signal SIGUSR1")
    assert {number: signal.getsignal(number) for number in before} == before


def test_a_rank_that_lost_another_is_not_ended_before_it_says_so() -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)}
    try:
        with pytest.raises(WorkerLostError), Control(None).signals():
            raise WorkerLostError("another worker died")
        os.kill(os.getpid(), signal.SIGTERM)
        assert signal.getsignal(signal.SIGTERM) != before[signal.SIGTERM]
        assert all(signal.getsignal(number) == before[number] for number in (signal.SIGINT, signal.SIGUSR1))
    finally:
        signal.signal(signal.SIGTERM, before[signal.SIGTERM])


def test_a_second_ctrl_c_interrupts_at_once() -> None:
    control = Control(None)
    with control.signals(), pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
        assert control.stop == Stop("signal", "signal SIGINT")
        os.kill(os.getpid(), signal.SIGINT)
