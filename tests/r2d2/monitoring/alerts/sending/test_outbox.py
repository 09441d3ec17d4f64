"""Messages on their way: none lost, none twice, nobody waits, and what comes to nothing is counted."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from r2d2.monitoring.alerts.sending import outbox as module
from r2d2.monitoring.alerts.sending.message import Message, NotTakenError
from r2d2.monitoring.alerts.sending.outbox import Outbox, deliveries, senders_of
from r2d2.monitoring.alerts.sending.settings import SendingSettings
from tests.influx_servers import OK, hang, misbehaving, status
from tests.r2d2.monitoring.alerts.sending.messages import message

PATIENCE_S = 60.0  # only ends what hangs


def until(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.01)


def settings_of(*urls: str) -> SendingSettings:
    return SendingSettings.model_validate({"webhooks": [{"url": url} for url in urls], "private": True})


def test_a_server_that_fails_is_asked_again_and_holds_no_other_up(tmp_path: Path) -> None:
    path = tmp_path / "alerts.json"
    with misbehaving(status(503), status(500), OK) as flaky, misbehaving(hang) as deaf, misbehaving(OK) as good:
        outbox = Outbox(path, senders_of(settings_of(flaky.url, deaf.url, good.url)), first_pause_s=0.01)
        with outbox.sending():
            begun = time.monotonic()
            for number in (1, 2):
                outbox.add(message(number=number))
                outbox.add(message(number=number))
            assert time.monotonic() - begun < 5
            until(lambda: len(good.asked) == 2 and len(flaky.asked) == 4)
            until(lambda: deliveries(path)["webhook 1 (127.0.0.1)"].sent == 2)
    found = deliveries(path)
    assert [(one.sent, one.lost, len(one.waiting)) for one in found.values()] == [(2, 0, 0), (0, 0, 2), (2, 0, 0)]
    assert found["webhook 1 (127.0.0.1)"].fault is None


def test_what_waits_is_sent_by_the_next_engine_and_what_was_sent_is_not(tmp_path: Path) -> None:
    path, got = tmp_path / "alerts.json", list[str]()

    def take(one: Message) -> None:
        got.append(one.id)

    def refuse(one: Message) -> None:
        raise NotTakenError("down")

    first = Outbox(path, {"a": take, "b": refuse}, first_pause_s=30)
    with first.sending():
        first.add(message())
        until(lambda: deliveries(path)["b"].fault == "down" and bool(got))
        until(lambda: deliveries(path)["a"].sent == 1)
    second = Outbox(path, {"a": take, "b": take})
    second.add(message())  # found anew, as its job's folder could not be written
    with second.sending():
        until(lambda: deliveries(path)["b"].sent == 1)
    assert got == ["7/silent-rank-1-1"] * 2  # one for each server


def test_what_is_refused_or_given_up_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "alerts.json"

    def refuse(one: Message) -> None:
        raise NotTakenError("it answers 404", is_final=True)

    def fail(one: Message) -> None:
        raise RuntimeError("a fault of ours")

    outbox = Outbox(path, {"refuses": refuse, "fails": fail}, first_pause_s=0.01, give_up_s=0.1)
    with outbox.sending():
        outbox.add(message())
        until(lambda: all(one.lost == 1 for one in deliveries(path).values()))
    assert {name: one.fault for name, one in deliveries(path).items()} == {
        "refuses": "it answers 404",
        "fails": "RuntimeError",
    }


def test_there_is_room_for_so_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_WAITING", 3)
    outbox = Outbox(tmp_path / "alerts.json", {"a": lambda one: None})
    for number in range(5):
        outbox.add(message(number=number))
    (found,) = deliveries(tmp_path / "alerts.json").values()
    assert (len(found.waiting), found.lost) == (3, 2)


def test_an_engine_ends_at_once_though_a_server_is_asked_again(tmp_path: Path) -> None:
    def refuse(one: Message) -> None:
        raise NotTakenError("down")

    outbox = Outbox(tmp_path / "alerts.json", {"a": refuse}, first_pause_s=600)
    with outbox.sending():
        outbox.add(message())
        until(lambda: (deliveries(tmp_path / "alerts.json")["a"].fault or "") == "down")
        begun = time.monotonic()
    assert time.monotonic() - begun < 5
    until(lambda: not any("r2d2-alerts" in thread.name for thread in threading.enumerate()))
