"""Progress and requests to stop."""

import pickle
import threading

import pytest

from r2d2_base.errors import CancelledError, R2D2Error
from r2d2_base.progress import UNWATCHED, StopRequest, Watcher


def test_a_watcher_hears_of_progress_until_the_work_is_to_end():
    heard, stop = [], StopRequest()
    watcher = Watcher(lambda *report: heard.append(report), stop)
    watcher.report("reading", 0, 2)
    watcher.check()
    stop.make("no time")
    for look in (watcher.check, lambda: watcher.report("reading", 1, 2)):
        with pytest.raises(CancelledError, match=r"^cancelled \(no time\)$"):
            look()
    assert heard == [("reading", 0, 2)]
    UNWATCHED.report("reading", 2, 2)


def test_the_first_reason_stays_whoever_asks_and_from_whatever_thread():
    stop = StopRequest()
    assert (stop.is_made, stop.reason) == (False, "")
    stop.check()
    thread = threading.Thread(target=stop.make, args=("first",))
    thread.start()
    thread.join()
    stop.make("second")
    assert (stop.is_made, stop.reason) == (True, "first")


def test_work_that_does_not_look_at_the_request_is_left_to_itself():
    stop, released, ended = StopRequest(), threading.Event(), threading.Event()

    def work():
        stop.make("no time")
        released.wait()
        ended.set()

    with pytest.raises(CancelledError, match="no time"):
        Watcher(stop=stop).call(work)
    assert not ended.is_set()
    released.set()
    assert ended.wait(60)


@pytest.mark.parametrize("stop", [None, StopRequest()])
def test_work_gives_its_result_or_its_error(stop):
    assert Watcher(stop=stop).call(lambda: "done") == "done"
    with pytest.raises(ZeroDivisionError):
        Watcher(stop=stop).call(lambda: 1 // 0)


def test_a_request_needs_no_reason():
    stop = StopRequest()
    stop.make()
    with pytest.raises(CancelledError, match=r"^cancelled$"):
        stop.check()


def test_cancelled_is_the_shells_130_and_comes_through_pickle():
    error = pickle.loads(pickle.dumps(CancelledError("why")))
    assert isinstance(error, R2D2Error)
    assert (str(error), error.reason, error.exit_code) == ("cancelled (why)", "why", 130)


def test_works_are_done_one_ahead_of_their_use() -> None:
    done: list[int] = []
    second = threading.Event()

    def work(number: int) -> int:
        done.append(number)
        if number == 1:
            second.set()
        if number == 2:
            raise KeyError(number)
        return number

    results = UNWATCHED.ahead([lambda n=n: work(n) for n in range(4)])
    first = next(results)
    assert second.wait(60) and done == [0, 1] and first() == 0
    assert next(results)() == 1
    with pytest.raises(KeyError):
        next(results)()
    assert next(results)() == 3 and next(results, None) is None and done == [0, 1, 2, 3]


def test_works_ahead_end_where_a_stop_is_asked_for() -> None:
    stop, go = StopRequest(), threading.Event()
    results = Watcher(stop=stop).ahead([lambda: 1, lambda: go.wait(60)])
    assert next(results)() == 1
    stop.make("enough")
    with pytest.raises(CancelledError, match="enough"):
        next(results)
    go.set()
