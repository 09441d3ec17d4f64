"""events.jsonl survives a crash; control.json and signals become one request."""

import errno
import fcntl
import json
import os
import signal
from pathlib import Path

import pytest

from dist_training.record.events import EventLog, follow_events, read_events
from dist_training.stopping.control import Control, agreed, request_stop


def test_events_reach_the_file_and_the_listeners_in_order(tmp_path: Path) -> None:
    heard: list[dict] = []
    log = EventLog(tmp_path / "events.jsonl", (heard.append,))
    log.record("state", state="running")
    log.record("step", step=1, loss=0.5)
    log.close()
    assert read_events(tmp_path / "events.jsonl") == heard
    assert [event["event"] for event in heard] == ["state", "step"]
    assert all(event["time"] > 1e9 for event in heard)


def test_a_torn_line_is_left_out_and_the_next_event_stands_alone(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text('{"event": "step", "step": 1}\n{"event": "st')
    assert [event["step"] for event in read_events(path)] == [1]
    log = EventLog(path)
    log.record("step", step=2)
    log.close()
    assert [event["step"] for event in read_events(path)] == [1, 2]


def test_a_file_system_without_locks_has_a_record_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As Lustre is where it is mounted without them."""

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", refuse)
    log = EventLog(tmp_path / "events.jsonl")
    log.record("step", step=1)
    log.close()
    assert [event["step"] for event in read_events(tmp_path / "events.jsonl")] == [1]


def test_following_goes_on_where_it_was(tmp_path: Path) -> None:
    path, offset = tmp_path / "events.jsonl", [0]
    assert list(follow_events(path, offset)) == []
    path.write_text('{"n": 1}\n{"n": 2')
    assert [event["n"] for event in follow_events(path, offset)] == [1]
    with path.open("a") as file:
        file.write('2}\n{"n": 3}\n')
    assert [event["n"] for event in follow_events(path, offset)] == [22, 3]


def test_a_request_in_the_control_file_is_seen_once_it_is_there(tmp_path: Path) -> None:
    control = Control(tmp_path / "control.json")
    assert not agreed(control.votes()).is_stop
    (tmp_path / "control.json").write_text("{half")
    assert not agreed(control.votes()).is_stop
    request_stop(tmp_path / "control.json", "enough")
    assert agreed(control.votes()).is_stop
    assert control.reason == "enough"
    assert json.loads((tmp_path / "control.json").read_text())["request"] == "stop_early"


def test_signals_are_requests_until_the_handlers_are_restored() -> None:
    control = Control(None)
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)}
    with control.signals():
        assert not agreed(control.votes()).is_stop
        os.kill(os.getpid(), signal.SIGUSR1)
        assert agreed(control.votes()).is_stop
        assert control.reason == "signal SIGUSR1"
    assert {number: signal.getsignal(number) for number in before} == before


def test_a_second_ctrl_c_interrupts_at_once() -> None:
    control = Control(None)
    with control.signals(), pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
        assert control.reason == "signal SIGINT"
        os.kill(os.getpid(), signal.SIGINT)
