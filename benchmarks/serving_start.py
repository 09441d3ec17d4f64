"""How long `r2d2 serve` takes until it answers, against `import flask` in the same rounds.

    .venv/bin/python benchmarks/serving_start.py

Wall clock counts whatever else runs; so processor time stands beside it: that of the server up to its first answer,
with the process that serves, and that of its engine, which starts meanwhile. Medians over rounds, each time the first
start of a folder, with its databases and its password.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import requests

TICKS = os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    rows = [{**flask_import(), **serving()} for _ in range(options.rounds)]
    print(json.dumps({key: round(statistics.median(row[key] for row in rows), 2) for key in rows[0]}, indent=1))


def flask_import() -> dict[str, float]:
    """Seconds of a Python that imports Flask and ends."""
    before, begun = children_cpu_s(), time.monotonic()
    subprocess.run([sys.executable, "-c", "import flask"], check=True)
    return {"flask_s": time.monotonic() - begun, "flask_cpu_s": children_cpu_s() - before}


def children_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def serving() -> dict[str, float]:
    """Seconds until the first answer."""
    with tempfile.TemporaryDirectory() as folder:
        said = Path(folder) / "said"
        begun = time.monotonic()
        with said.open("wb") as stream:
            command = [sys.executable, "-m", "r2d2", "serve", "--work-root", f"{folder}/work", "--port", "0"]
            server = subprocess.Popen(command, stdout=stream, stderr=stream)
        while (found := re.search(rb"answers at (\S+);", said.read_bytes())) is None:
            time.sleep(0.01)
        requests.get(f"{found[1].decode()}/health", timeout=600).raise_for_status()
        wall = time.monotonic() - begun
        engine = sum(cpu_s(pid) for pid in children(server.pid) if "engine_process" in command_line(pid))
        worker = sum(cpu_s(pid) for pid in children(server.pid) if "engine_process" not in command_line(pid))
        made = {"serve_s": wall, "serve_cpu_s": cpu_s(server.pid) + worker, "engine_cpu_s": engine}
        server.send_signal(signal.SIGTERM)
        server.wait()
        return made


def children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [int(child) for task in tasks for child in (task / "children").read_text().split()]


def command_line(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text()


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


if __name__ == "__main__":
    main()
