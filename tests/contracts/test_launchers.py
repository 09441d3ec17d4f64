"""What holds for everything that starts workers; these are shell scripts, which load nothing."""

import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from r2d2.launching import launcher as interface
from r2d2.launching.horovodrun import HorovodrunLauncher
from r2d2.launching.launcher import Launcher, end_workers
from r2d2.launching.local import LocalLauncher
from r2d2.launching.worker_end import WorkerEnd

WORKERS = 3
PATIENCE_S = 120
LAUNCHERS: dict[str, Callable[[], Launcher]] = {
    "local": LocalLauncher,
    "horovodrun": lambda: HorovodrunLauncher(f"localhost:{WORKERS}"),
}
WAITS = "touch ready-$HOROVOD_RANK; while [ ! -e go ]; do sleep 0.1; done"


@pytest.fixture(params=LAUNCHERS)
def launcher(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Launcher]:
    """One of them, in the test's folder, which it leaves without a process."""
    monkeypatch.chdir(tmp_path)
    one = LAUNCHERS[request.param]()
    yield one
    end_workers(one)


def start(launcher: Launcher, script: str) -> None:
    launcher.start(["sh", "-c", script], WORKERS, Path())


def wait_for(condition: Callable[[], Any]) -> None:
    give_up = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.02)


def all_are(name: str) -> bool:
    return all(Path(f"{name}-{rank}").exists() for rank in range(WORKERS))


def is_gone(pid: int) -> bool:
    """Ended; in a container nobody may take note of the end of a process that lost its parent."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_every_worker_has_a_place_of_its_own_and_all_end_well(launcher: Launcher) -> None:
    start(
        launcher,
        'echo "of $HOROVOD_SIZE, $HOROVOD_LOCAL_RANK of $HOROVOD_LOCAL_SIZE here, host $HOROVOD_CROSS_RANK of '
        '$HOROVOD_CROSS_SIZE, $HOROVOD_CONTROLLER at $HOROVOD_GLOO_RENDEZVOUS_ADDR" > place-$HOROVOD_RANK',
    )
    assert launcher.wait(PATIENCE_S) == WorkerEnd(0, 0)
    places = [Path(f"place-{rank}").read_text().strip() for rank in range(WORKERS)]
    assert places == [f"of 3, {rank} of 3 here, host 0 of 1, gloo at 127.0.0.1" for rank in range(WORKERS)]
    assert [worker.end for worker in launcher.describe()] == [WorkerEnd(rank, 0) for rank in range(WORKERS)]


@pytest.mark.parametrize(
    ("last", "end"),
    [("echo no such scan >&2; exit 3", WorkerEnd(1, 3)), ("kill -9 $$", WorkerEnd(1, None, signal.SIGKILL))],
)
def test_the_first_that_does_not_end_well_ends_the_job_and_is_known(
    launcher: Launcher, last: str, end: WorkerEnd
) -> None:
    """The others would wait for it for a quarter of an hour."""
    start(launcher, f"echo $$ > pid-$HOROVOD_RANK; [ $HOROVOD_RANK = 1 ] || exec sleep 900; {last}")
    assert launcher.wait(PATIENCE_S) == end
    zero, one, two = (worker.end for worker in launcher.describe())
    assert one == end
    assert zero in (None, WorkerEnd(0, None, signal.SIGTERM)), "horovodrun may end one before it has begun"
    assert two in (None, WorkerEnd(2, None, signal.SIGTERM))
    assert all(is_gone(int(path.read_text())) for path in Path().glob("pid-*"))


def test_a_signal_reaches_whom_it_is_meant_for(launcher: Launcher) -> None:
    start(launcher, f"trap 'touch told-$HOROVOD_RANK' USR2; {WAITS}")
    wait_for(lambda: all_are("ready"))
    launcher.signal(signal.SIGUSR2, rank=1)
    wait_for(Path("told-1").exists)
    assert {path.name for path in Path().glob("told-*")} == {"told-1"}
    launcher.signal(signal.SIGUSR2)
    wait_for(lambda: all_are("told"))
    Path("go").touch()
    assert launcher.wait(PATIENCE_S) == WorkerEnd(0, 0)


def test_workers_do_not_end_by_what_a_batch_system_sends_to_all(launcher: Launcher) -> None:
    start(launcher, WAITS)
    wait_for(lambda: all_are("ready"))
    for number in (signal.SIGHUP, signal.SIGUSR1):
        launcher.signal(number)
    assert launcher.wait(0.5) is None
    Path("go").touch()
    assert launcher.wait(PATIENCE_S) == WorkerEnd(0, 0)


def test_workers_are_described_while_they_work(launcher: Launcher) -> None:
    start(launcher, f"echo $$ > pid-$HOROVOD_RANK; echo begun; {WAITS}")
    wait_for(lambda: all_are("ready"))
    workers = launcher.describe()
    assert [(worker.rank, worker.pid, worker.end) for worker in workers] == [
        (rank, int(Path(f"pid-{rank}").read_text()), None) for rank in range(WORKERS)
    ]
    assert all("begun" in worker.last_words for worker in workers)


def test_no_process_stays_behind_whatever_it_ignores(launcher: Launcher, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interface, "KILL_AFTER_SECONDS", 0.5)
    start(launcher, f"trap '' TERM; sleep 900 & echo $! $$ > pids-$HOROVOD_RANK; {WAITS}")
    wait_for(lambda: all_are("ready"))
    pids = [int(pid) for path in Path().glob("pids-*") for pid in path.read_text().split()]
    assert len(pids) == 2 * WORKERS
    assert end_workers(launcher).signal is not None
    assert all(is_gone(pid) for pid in pids)
