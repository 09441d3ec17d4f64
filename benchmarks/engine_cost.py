"""Processor time of the engine and of each supervisor while jobs run that only wait, in per cent of a core.

    .venv/bin/python -m benchmarks.engine_cost

See benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

from benchmarks.tiny_jobs import cpu_s, outside_engine, submit
from r2d2.engine import EngineClient, JobQuery


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--jobs", type=int, nargs="+", default=[0, 1, 8], help="jobs that run at a time, in turn")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, outside_engine(Path(folder), max(options.jobs)) as (client, pid):
        running: list[int] = []
        for count in sorted(options.jobs):
            running += [submit(client, seconds=3600) for _ in range(count - len(running))]
            supervisors = [supervisor_of(client, job) for job in running]
            before = [cpu_s(one) for one in (pid, *supervisors)]
            time.sleep(options.seconds)
            shares = [
                100 * (cpu_s(one) - old) / options.seconds for one, old in zip((pid, *supervisors), before, strict=True)
            ]
            each = round(sum(shares[1:]) / count, 2) if count else None
            print(json.dumps({"jobs": count, "engine_percent": round(shares[0], 2), "supervisor_percent": each}))
        for job in running:
            client.cancel(job)
        while client.list(JobQuery(states=("running", "stopping"), limit=1)).total:
            time.sleep(0.2)


def supervisor_of(client: EngineClient, job: int) -> int:
    """Wait until a job is at work; gives its supervisor's process."""
    while (details := client.show(job)).job.progress is None:
        time.sleep(0.1)
    holder = details.attempts[-1].supervisor
    return int(holder["pid"]) if holder is not None else 0


if __name__ == "__main__":
    main()
