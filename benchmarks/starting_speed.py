"""How long `r2d2 train --workers N` takes from its start to the first step: this code against another checkout's.

    git worktree add ../before COMMIT
    .venv/bin/python benchmarks/starting_speed.py --against ../before --out benchmarks/results/starting_speed.json

Both run in this Python, in rounds that alternate and change who begins. See benchmarks/README.md.
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
from typing import Any

HERE = Path(__file__).resolve().parent.parent
SETTINGS = ("training.epochs=1", "network.base_filters=4", "network.depth=2", "training.batch_size_per_worker=4")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--against", type=Path, required=True, help="another checkout of R2D2")
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    checkouts = {"this": HERE, "other": options.against.resolve()}
    rounds: list[dict[str, float]] = []
    load_before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        dataset = write_dataset(Path(folder))
        for number in range(options.rounds):
            order = sorted(checkouts, reverse=bool(number % 2))
            rounds.append({})
            for name in order:
                run_dir = Path(folder) / f"{name}-{number}"
                rounds[-1][name] = seconds_to_first_step(checkouts[name], dataset, run_dir, options.workers)
            print(json.dumps(rounds[-1]), file=sys.stderr)
    load = [load_before, os.getloadavg()[0]]
    report = {"workers": options.workers, "load": load, **figures(rounds), "rounds": rounds}
    print(json.dumps({name: value for name, value in report.items() if name != "rounds"}, indent=1))
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(report, indent=1) + "\n")


def write_dataset(folder: Path) -> Path:
    """Prepare the phantom study, small."""
    from imgmed import PreparationSettings, prepare_dataset, write_phantom_study

    study = write_phantom_study(folder / "study", cases=4, shape=(32, 32, 8))
    return prepare_dataset(study, folder / "dataset", PreparationSettings()).folder


def seconds_to_first_step(checkout: Path, dataset: Path, run_dir: Path, workers: int) -> float:
    """Train for an epoch, and give the seconds from the command's start until its first step was recorded."""
    command = [sys.executable, "-m", "r2d2", "train", "--dataset", str(dataset), "--run-dir", str(run_dir)]
    command += ["--workers", str(workers), "--threads", "1", *SETTINGS]
    begin = time.time()
    done = subprocess.run(
        command,
        cwd=run_dir.parent,
        env={**os.environ, "PYTHONPATH": str(checkout)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise SystemExit(f"{checkout}: {done.stderr[-2000:]}")
    events = map(json.loads, (run_dir / "events.jsonl").read_text().splitlines())
    return next(event["time"] for event in events if event["event"] == "step") - begin


def figures(rounds: list[dict[str, float]]) -> dict[str, Any]:
    ratios = sorted(one["this"] / one["other"] for one in rounds)
    return {
        "this_s": statistics.median(one["this"] for one in rounds),
        "other_s": statistics.median(one["other"] for one in rounds),
        "ratio": statistics.median(ratios),
        "ratios": ratios,
    }


if __name__ == "__main__":
    main()
