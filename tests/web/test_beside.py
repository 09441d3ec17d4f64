"""What is made beside the requests: once for all who ask, again after a while, waited for only where it is quick."""

import threading
import time

import pytest

from web import beside
from web.beside import Beside


def test_what_takes_long_is_not_made_for_each_who_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    begun, may_end = list[str](), threading.Event()

    def slowly(key: str) -> str:
        begun.append(key)
        may_end.wait(60)
        return key.upper()

    monkeypatch.setattr(beside, "PATIENCE_S", 0.05)
    asked = Beside(slowly, "nothing")
    assert asked.get("a") == ("nothing", True)
    assert asked.get("a") == ("nothing", True) and begun == ["a"]
    time.sleep(0.2)  # longer than what is called quick
    may_end.set()
    monkeypatch.setattr(beside, "PATIENCE_S", 60.0)
    assert asked.get("a") == ("A", False)
    assert asked.get("a") == ("A", False) and begun == ["a"]


def test_it_is_made_again_after_a_while_and_stays_where_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    there, clock = {"a": 1}, [0.0]
    monkeypatch.setattr(beside, "monotonic", lambda: clock[0])
    monkeypatch.setattr(beside, "QUICK_S", 60.0)
    asked = Beside(there.__getitem__, 0)
    assert asked.get("a") == (1, False)
    there["a"] = 2
    clock[0] = 0.5
    assert asked.get("a") == (1, False), "a second has not passed"
    clock[0] = 1.6
    assert asked.get("a") == (2, False)
    del there["a"]
    clock[0] = 3.0
    assert asked.get("a") == (2, False)


def test_only_so_many_are_kept() -> None:
    asked = Beside(lambda key: key, -1)
    for key in range(beside.KEPT + 9):
        assert asked.get(key) == (key, False)
    assert len(asked._made) == beside.KEPT
