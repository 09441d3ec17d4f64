"""Searches of declared folders: one for all who ask, made again after a while, waited for only where it is quick."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from web import searches
from web.searches import DatasetSearches


def test_a_folder_with_thousands_of_others_is_not_searched_for_each_who_asks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, may_end = list[Path](), threading.Event()

    def slowly(folder: Path) -> Iterator[Path]:
        begun.append(folder)
        may_end.wait(60)
        yield folder / "prepared"

    monkeypatch.setattr(searches, "find_datasets", slowly)
    monkeypatch.setattr(searches, "PATIENCE_S", 0.05)
    asked = DatasetSearches()
    assert asked.below(tmp_path) == ((), True)
    assert asked.below(tmp_path) == ((), True) and begun == [tmp_path]
    time.sleep(0.2)  # longer than what is called quick
    may_end.set()
    monkeypatch.setattr(searches, "PATIENCE_S", 60.0)
    assert asked.below(tmp_path) == ((tmp_path / "prepared",), False)
    assert asked.below(tmp_path) == ((tmp_path / "prepared",), False) and begun == [tmp_path]


def test_what_was_added_is_found_a_moment_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there, clock = [tmp_path / "one"], [0.0]
    monkeypatch.setattr(searches, "find_datasets", lambda folder: iter(there))
    monkeypatch.setattr(searches, "monotonic", lambda: clock[0])
    asked = DatasetSearches()
    assert asked.below(tmp_path) == ((tmp_path / "one",), False)
    there.append(tmp_path / "two")
    clock[0] = 0.5
    assert len(asked.below(tmp_path)[0]) == 1, "a second has not passed"
    clock[0] = 1.5
    assert len(asked.below(tmp_path)[0]) == 2
