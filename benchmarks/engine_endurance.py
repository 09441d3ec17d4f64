"""Many tiny jobs queued, run and reaped in a row by one engine: is one lost or done twice, does the engine grow?

    .venv/bin/python -m benchmarks.engine_endurance

Jobs before the first figures warm it up. See benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import Counter
from pathlib import Path

from benchmarks.tiny_jobs import outside_engine, submit, used, wait_for_all
from r2d2.engine import JobQuery
from r2d2.engine.processes import processes_of

WARM_UP = 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--at-a-time", type=int, default=4)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, outside_engine(Path(folder), options.at_a_time) as (client, pid):
        figures = []
        for count in (WARM_UP, *(options.jobs // 4,) * 4):
            begun = time.monotonic()
            for _ in range(count):
                submit(client)
            queued_s = time.monotonic() - begun
            wait_for_all(client)
            ended_s = time.monotonic() - begun
            time.sleep(2.0)  # the last supervisors end after their jobs, and are reaped at the next look
            seconds = {"queued_s": round(queued_s, 2), "ended_s": round(ended_s, 2)}
            figures.append({"jobs": count, **seconds, **used(pid)})
            print(json.dumps(figures[-1]))
        page = client.list(JobQuery(limit=1000))
        done = Counter(len(path.read_text().splitlines()) for path in Path(folder).glob("jobs/*/output/done"))
        attempts = Path(folder).glob("jobs/*/attempts/*")
        print(
            json.dumps(
                {
                    "states": Counter(job.state for job in page.jobs),
                    "attempts": sum(job.attempt for job in page.jobs),
                    "done_once": done[1],
                    "done_more_often": sum(done.values()) - done[1],
                    "processes_left": sum(len(processes_of(attempt)) for attempt in attempts),
                }
            )
        )


if __name__ == "__main__":
    main()
