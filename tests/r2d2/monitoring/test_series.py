import json
import random
from pathlib import Path

import pytest

from r2d2.monitoring.series import SeriesFile, read_series, thinned


def record(time: float, value: float, seconds: float = 1.0) -> dict[str, float]:
    return {"time": time, "seconds": seconds, "host.cpu_percent": value}


def least(value: object) -> float:
    return value[0] if isinstance(value, list) else value  # type: ignore[return-value]


def mean(value: object) -> float:
    return value[1] if isinstance(value, list) else value  # type: ignore[return-value]


def largest(value: object) -> float:
    return value[2] if isinstance(value, list) else value  # type: ignore[return-value]


def test_a_record_is_there_as_soon_as_it_is_written(tmp_path: Path) -> None:
    series = SeriesFile(tmp_path / "host-a.jsonl")
    series.append(record(1.0, 3.25))
    assert read_series(tmp_path / "host-a.jsonl") == [record(1.0, 3.25)]


@pytest.mark.parametrize("cut", range(2, 40, 6))
def test_a_last_line_that_was_cut_short_is_read_over_and_gone_on_from(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "host-a.jsonl"
    series = SeriesFile(path)
    for at in range(3):
        series.append(record(at, at))
    path.write_bytes(path.read_bytes()[:-cut])
    assert [one["time"] for one in read_series(path)] == [0, 1]
    SeriesFile(path).append(record(3, 3))
    assert [one["time"] for one in read_series(path)] == [0, 1, 3]


def test_a_record_cut_short_within_the_process_spoils_no_other(tmp_path: Path) -> None:
    """As where the disk is full in the middle of a line: the same writer goes on behind it."""
    path = tmp_path / "host-a.jsonl"
    series = SeriesFile(path)
    series.append(record(0, 0))
    with path.open("ab") as file:
        file.write(b'{"time": 1, "sec')
    series._is_torn = True
    series.append(record(2, 2))
    assert [one["time"] for one in read_series(path)] == [0, 2]


def test_a_long_run_stays_bounded_and_keeps_least_largest_and_mean(tmp_path: Path) -> None:
    path, most, count = tmp_path / "host-a.jsonl", 64, 3000
    draw = random.Random(0)
    values = [draw.uniform(0, 100) for _ in range(count)]
    series = SeriesFile(path, most)
    for at, value in enumerate(values):
        series.append(record(1000 + at, value))
        assert series._count is not None and series._count <= most
    found = read_series(path)
    assert len(found) <= most
    assert [one["time"] for one in found] == sorted(one["time"] for one in found)
    assert sum(one["seconds"] for one in found) == pytest.approx(count)
    assert min(least(one["host.cpu_percent"]) for one in found) == pytest.approx(min(values), rel=1e-4)
    assert max(largest(one["host.cpu_percent"]) for one in found) == pytest.approx(max(values), rel=1e-4)
    total = sum(one["seconds"] * mean(one["host.cpu_percent"]) for one in found)
    assert total / count == pytest.approx(sum(values) / count, rel=1e-4)
    newest = [one["host.cpu_percent"] for one in found[-most // 4 :]]
    assert newest == pytest.approx(values[-most // 4 :], rel=1e-4)


def test_what_only_some_records_have_is_united_over_those(tmp_path: Path) -> None:
    records = [record(at, at) | ({"gpu.0.load_percent": 10.0 * at} if at % 5 == 0 else {}) for at in range(32)]
    first = thinned(records, 16)[0]
    assert first["host.cpu_percent"] == [0, pytest.approx((first["seconds"] - 1) / 2), first["seconds"] - 1]
    assert first["gpu.0.load_percent"][0] == 0


def test_an_older_part_of_a_run_stays_apart_after_a_gap(tmp_path: Path) -> None:
    """The time between two parts of a run belongs to none of them: it is not counted."""
    records = [record(at, 1.0) for at in range(40)] + [record(5000 + at, 2.0) for at in range(40)]
    found = thinned(records, 40)
    assert sum(one["seconds"] for one in found) == pytest.approx(80)
    assert {mean(one["host.cpu_percent"]) for one in found} == {1.0, 2.0}


def test_lines_of_something_else_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "host-a.jsonl"
    path.write_text('[1]\n{"time": "x", "seconds": 1}\n{"a": 1}\n\n' + json.dumps(record(1, 1)) + "\n")
    assert read_series(path) == [record(1, 1)]
