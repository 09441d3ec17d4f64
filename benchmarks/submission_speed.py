"""How long a training takes from "submit" to its first step in an engine that runs, against the bare `r2d2 train`.

    .venv/bin/python -m benchmarks.submission_speed

Rounds alternate and change who begins. See benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.starting_speed import SETTINGS, seconds_to_first_step, write_dataset
from benchmarks.tiny_jobs import awaited, wait_for_all
from r2d2.engine import EngineClient, Submission

HERE = Path(__file__).resolve().parent.parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()
    rounds: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        dataset = write_dataset(folder)
        command = [sys.executable, "-m", "r2d2", "engine", "run", "--work-root", f"{name}/work"]
        engine = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(HERE)}, stderr=subprocess.DEVNULL)
        client = awaited(folder / "work")
        for number in range(options.rounds):
            rounds.append({})
            for way in sorted(("bare", "submitted"), reverse=bool(number % 2)):
                if way == "bare":
                    seconds = seconds_to_first_step(HERE, dataset, folder / f"run-{number}", options.workers)
                else:
                    seconds = submitted(client, dataset, options.workers)
                rounds[-1][way] = round(seconds, 2)
            print(json.dumps(rounds[-1]))
        engine.terminate()
        engine.wait()
    more = [one["submitted"] - one["bare"] for one in rounds]
    medians = {way: statistics.median(one[way] for one in rounds) for way in ("bare", "submitted")}
    print(json.dumps({"medians": medians, "more_s": round(statistics.median(more), 2), "load": os.getloadavg()}))


def submitted(client: EngineClient, dataset: Path, workers: int) -> float:
    """Give the seconds from the submission to the first step that the run records."""
    settings = {"dataset": str(dataset), "workers": workers, "threads": 1, "settings": list(SETTINGS)}
    begin = time.time()
    job = client.submit(Submission(task="train", settings=settings, max_retries=0))
    wait_for_all(client)
    events = map(json.loads, (Path(str(job.output)) / "events.jsonl").read_text().splitlines())
    return float(next(event["time"] for event in events if event["event"] == "step")) - begin


if __name__ == "__main__":
    main()
