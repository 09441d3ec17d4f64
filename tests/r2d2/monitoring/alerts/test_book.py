"""Alerts are raised once while they last, and anew only when they were over for a while."""

from pathlib import Path

from r2d2.monitoring.alerts.alert import Finding
from r2d2.monitoring.alerts.book import MOST_KEPT, SETTLED_S, AlertBook, read_alerts

DISK = Finding("disk", "critical", "It is nearly full.", "Free space.")
SLOW = Finding("lagging", "warning", "Rank 1 is slow.", "Look.", "rank 1")


def looked(book: AlertBook, now: float, *found: Finding) -> list[str]:
    raised = book.raised_by(found, now)
    book.note(found, raised, now)
    return [alert.id for alert in raised]


def test_once_while_it_lasts_and_for_each_thing(tmp_path: Path) -> None:
    book = AlertBook(tmp_path / "alerts.json", 0)
    assert looked(book, 0, DISK) == ["disk-1"]
    assert looked(book, 5, DISK, SLOW) == ["lagging-rank-1-1"]
    assert looked(book, 10, SLOW, DISK) == []
    assert [alert.since for alert in read_alerts(tmp_path / "alerts.json")] == [0, 5]


def test_what_comes_and_goes_is_one_and_what_was_over_is_raised_anew(tmp_path: Path) -> None:
    book = AlertBook(tmp_path / "alerts.json", 0)
    looked(book, 0, DISK)
    for now in range(5, int(SETTLED_S), 5):
        assert looked(book, now) == []
    assert looked(book, SETTLED_S - 1, DISK) == [] and book.alerts[0].is_open
    assert looked(book, 2 * SETTLED_S - 1) == [] and book.alerts[0].resolved_at == 2 * SETTLED_S - 1
    assert looked(book, 2 * SETTLED_S, DISK) == ["disk-2"]


def test_who_starts_anew_raises_none_twice(tmp_path: Path) -> None:
    path = tmp_path / "alerts.json"
    looked(AlertBook(path, 0), 0, DISK)
    again = AlertBook(path, 100)
    assert looked(again, 100, DISK) == []
    again = AlertBook(path, 200)
    assert looked(again, 201) == [] and again.alerts[0].is_open  # it was away, and knows nothing of that time
    again.close(300)
    assert [alert.resolved_at for alert in read_alerts(path)] == [300]


def test_a_damaged_file_is_none(tmp_path: Path) -> None:
    path = tmp_path / "alerts.json"
    path.write_text('{"alerts": [{"id"')
    assert read_alerts(path) == () and looked(AlertBook(path, 0), 0, DISK) == ["disk-1"]


def test_of_many_the_open_ones_and_the_newest_are_kept(tmp_path: Path) -> None:
    book = AlertBook(tmp_path / "alerts.json", 0)
    looked(book, 0, SLOW)
    for at in range(1, MOST_KEPT + 20):
        now = at * 1000.0
        looked(book, now, SLOW, DISK)
        looked(book, now + SETTLED_S, SLOW)
    assert len(book.alerts) == MOST_KEPT
    assert book.alerts[0].id == "lagging-rank-1-1" and book.alerts[-1].id == f"disk-{MOST_KEPT + 19}"
