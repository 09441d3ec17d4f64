"""What the sampler of a host costs: its processor time in percent of one core, over minutes, by the kernel's count.

python benchmarks/monitoring_cost.py --minutes 3 --workers 8
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--workers", type=int, default=2, help="processes that it watches; they sleep")
    parser.add_argument("--interval-s", type=float, default=1.0)
    asked = parser.parse_args()
    sleepers = [subprocess.Popen(["sleep", "100000"]) for _ in range(asked.workers)]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "host-here.jsonl"
        told = {
            "file": str(file),
            "workers": {rank: one.pid for rank, one in enumerate(sleepers)},
            "host_interval_s": asked.interval_s,
            "gpu_interval_s": 5.0,
        }
        command = [sys.executable, "-P", "-m", "r2d2.monitoring.sampler", json.dumps(told)]
        sampler = subprocess.Popen(command, stdin=subprocess.PIPE)
        try:
            process = psutil.Process(sampler.pid)
            while not file.exists():
                time.sleep(0.05)
            start_s = sum(process.cpu_times()[:2])
            began = time.monotonic()
            time.sleep(60 * asked.minutes)
            used_s, passed_s = sum(process.cpu_times()[:2]) - start_s, time.monotonic() - began
            memory = process.memory_full_info().uss
        finally:
            if sampler.stdin is not None:
                sampler.stdin.close()
            sampler.wait()
            for one in sleepers:
                one.kill()
                one.wait()
        print(
            f"{asked.workers} workers, every {asked.interval_s:g} s, {passed_s:.0f} s, {os.cpu_count()} cores: "
            f"{100 * used_s / passed_s:.2f} % of one core, {start_s:.2f} s to start, {memory / 2**20:.0f} MiB, "
            f"{file.stat().st_size / passed_s:.0f} bytes a second"
        )


if __name__ == "__main__":
    main()
