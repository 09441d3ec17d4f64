import time

import pytest

from dist_training.record.work_times import WORKS, WorkTimes


def test_every_moment_belongs_to_something_once() -> None:
    times = WorkTimes()
    begin = times.so_far.until
    for work in WORKS:
        time.sleep(0.01)
        times.lap(work)
    found = times.so_far
    assert sum(found.seconds) == pytest.approx(found.until - begin)
    assert min(found.seconds) >= 0.01


def test_exchange_is_taken_out_of_what_it_was_part_of() -> None:
    times = WorkTimes()
    begin = times.so_far.until
    time.sleep(0.05)
    times.lap("compute", exchanged_s=0.02, images=3, step=7)
    spent = dict(zip(WORKS, times.so_far.seconds, strict=True))
    assert spent["exchange"] == pytest.approx(0.02)
    assert spent["compute"] == pytest.approx(times.so_far.until - begin - 0.02)
    times.lap("compute", exchanged_s=100.0, images=3)  # a clock that ran on: never more than there was
    assert sum(times.so_far.seconds) == pytest.approx(times.so_far.until - begin)
    assert (times.so_far.images, times.so_far.step) == (6, 7)
