"""An engine in a process of its own with a task that waits, for benchmarks of the engine; and what a process uses."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import BaseModel

from r2d2.engine import EngineClient, EngineSettings, JobQuery, StopRequest, Submission, open_engine
from r2d2.engine.errors import NotRunningError
from r2d2.engine.server import serving
from r2d2.tasks.registry import Listener, Task, TaskEnd

HERE = Path(__file__).resolve().parent.parent
NAME = "benchmarks.tiny_jobs:TINY"
ACTIVE = ("queued", "starting", "running", "stopping")
TICKS = os.sysconf("SC_CLK_TCK")


class TinySettings(BaseModel):
    out: Path
    seconds: float = 0.0


def run(settings: TinySettings, listener: Listener) -> TaskEnd:
    """Wait, saying so ten times a second; adds a line to a file, so that jobs done twice are seen."""
    settings.out.mkdir(exist_ok=True)
    with (settings.out / "done").open("a") as stream:
        stream.write("done\n")
    steps = round(10 * settings.seconds)
    for step in range(steps):
        listener.progress("waiting", step, steps)
        time.sleep(0.1)
    return TaskEnd()


TINY = Task("tiny", TinySettings, run, output="out")


@contextmanager
def outside_engine(folder: Path, max_jobs: int) -> Iterator[tuple[EngineClient, int]]:
    """Start an engine; gives who asks it, and its process."""
    command = [sys.executable, "-m", "benchmarks.tiny_jobs", str(folder), str(max_jobs)]
    process = subprocess.Popen(command, cwd=HERE, env={**os.environ, "PYTHONPATH": str(HERE)})
    try:
        yield awaited(folder), process.pid
    finally:
        process.terminate()
        process.wait()


def awaited(work_root: Path) -> EngineClient:
    """Wait until the engine of a folder answers."""
    client = EngineClient(work_root)
    while True:
        try:
            client.list(JobQuery(limit=1))
        except NotRunningError:
            time.sleep(0.05)
        else:
            return client


def submit(client: EngineClient, seconds: float = 0.0) -> int:
    return client.submit(Submission(task=NAME, settings={"seconds": seconds})).id


def wait_for_all(client: EngineClient) -> None:
    while client.list(JobQuery(states=ACTIVE, limit=1)).total:
        time.sleep(0.2)


def cpu_s(pid: int) -> float:
    """Processor seconds of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def used(pid: int) -> dict[str, float]:
    """What a process holds: memory, files, threads, children."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    tasks = list(Path(f"/proc/{pid}/task").iterdir())
    return {
        "memory_mib": round(int(status["VmRSS"].split()[0]) / 1024, 1),
        "files": len(list(Path(f"/proc/{pid}/fd").iterdir())),
        "threads": len(tasks),
        "children": sum(len((task / "children").read_text().split()) for task in tasks),
    }


def main() -> None:
    """Be the engine."""
    settings = EngineSettings(work_root=sys.argv[1], task_modules=("benchmarks.tiny_jobs",), max_jobs=int(sys.argv[2]))
    with open_engine(settings) as engine, serving(engine):
        engine.work(StopRequest())


if __name__ == "__main__":
    main()
