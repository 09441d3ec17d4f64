"""What a real server has of a run, read back from it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from dist_training.record.events import EpochEnded, StepTaken, read_events
from dist_training.record.run_folder import RunFolder
from r2d2.monitoring.influx.ledger import read_ledger
from r2d2.monitoring.influx.replay import ReplayError, replay
from r2d2.monitoring.schema import MEASUREMENTS, split_key
from r2d2.monitoring.series import read_series
from tests.influx_servers import Labels, Series, Victoria, misbehaving, needs_victoria, status, victoria
from tests.r2d2.monitoring.influx.run_folders import add_records, add_steps, write_run

pytestmark = needs_victoria


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Victoria]:
    with victoria(tmp_path_factory.mktemp("victoria")) as started:
        yield started


def labels(run: str, **others: str) -> Labels:
    return frozenset({"run": run, **others}.items())


def expected(folder: RunFolder, run: str) -> Series:
    """What the server is to have, by the files alone."""
    found: Series = {}

    def add(name: str, whose: Labels, time: float, value: float | None) -> None:
        if value is not None:
            found.setdefault((name, whose), {})[int(time * 1e6) // 1000] = value

    for event in read_events(folder.events):
        if isinstance(event, StepTaken | EpochEnded):
            for field in MEASUREMENTS[event.event].fields:
                add(f"{event.event}_{field.name}", labels(run), event.time, getattr(event, field.name))
        if isinstance(event, EpochEnded):
            for label, dice in event.validation_dice_per_label.items():
                add("label_validation_dice", labels(run, label=label), event.time, dice)
    for path in folder.monitoring.glob("*.jsonl"):
        kind, _, name = path.stem.partition("-")
        for record in read_series(path):
            for key, value in record.items():
                measurement, own, field = split_key(key)
                tag = {"worker": "rank", "gpu": "device"}.get(measurement)
                whose = {kind: name} | ({} if tag is None or own is None else {tag: own})
                if measurement:
                    mean = value[1] if isinstance(value, list) else value
                    add(f"{measurement}_{field}", labels(run, **whose), record["time"], mean)
    return found


def check_equal(found: Series, wanted: Series) -> None:
    assert found.keys() == wanted.keys()
    for key, values in wanted.items():
        assert found[key].keys() == values.keys(), key
        assert found[key] == pytest.approx(values, rel=1e-13), key


def run_of(folder: RunFolder) -> str:
    ledger = read_ledger(folder)
    assert ledger is not None
    return ledger.run


def test_values_and_times_are_read_back_as_they_were_recorded(server: Victoria, tmp_path: Path) -> None:
    folder = write_run(tmp_path / "a b,c=d", steps=300, influx_url=server.url)
    ledger = replay(folder.path)
    assert ledger.run.startswith("a b,c=d-20261130T") and ledger.fault is None and not ledger.refused
    check_equal(server.series("a b,c=d-.*"), expected(folder, ledger.run))


def test_only_what_was_missed_is_sent_and_everything_anew_changes_nothing(server: Victoria, tmp_path: Path) -> None:
    folder = write_run(tmp_path / "missed", steps=30, influx_url=server.url)
    told: list[int] = []
    replay(folder.path, progress=told.append)
    first = told[-1]
    assert replay(folder.path, progress=told.append).sent == first and len(told) == 1
    add_steps(folder, 30, 10)
    assert replay(folder.path).sent == first + 10 * 7 + 3
    before = server.series("missed-.*")
    check_equal(before, expected(folder, run_of(folder)))
    assert replay(folder.path, is_all=True).sent == first + 10 * 7 + 3
    assert server.series("missed-.*") == before


def test_a_run_that_was_thinned_is_sent_twice_and_is_there_once(server: Victoria, tmp_path: Path) -> None:
    folder = write_run(tmp_path / "thinned", steps=1, influx_url=server.url)
    add_records(folder, 1, 200, most=40)
    ledger = replay(folder.path)
    assert ledger.united > 10
    before = server.series("thinned-.*")
    check_equal(before, expected(folder, ledger.run))
    (folder.monitoring / "influx.json").unlink()
    replay(folder.path)
    replay(folder.path, is_all=True)
    assert server.series("thinned-.*") == before


def test_where_and_what_is_replayed_may_be_said(server: Victoria, tmp_path: Path) -> None:
    folder = write_run(tmp_path / "elsewhere", steps=3)
    replay(folder.path, [f"monitoring.influx_url={server.url}"])
    check_equal(server.series("elsewhere-.*"), expected(folder, run_of(folder)))
    refusing = misbehaving(status(401, '{"message": "unauthorized"}'))
    with refusing as other, pytest.raises(ReplayError, match=r"401 \(unauthorized\); 14 records wait"):
        replay(folder.path, [f"monitoring.influx_url={other.url}"], patience_s=1)
