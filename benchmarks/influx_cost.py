"""What sending a run to InfluxDB costs: processor time and memory of the sender, beside a training of several workers.

python benchmarks/influx_cost.py --minutes 2 --workers 2
python benchmarks/influx_cost.py --rounds 3 --workers 2
"""

import argparse
import json
import os
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil

SENDER = "r2d2.monitoring.influx.sender"


class Sink(BaseHTTPRequestHandler):
    """Takes everything, as a server does that is not the bottleneck."""

    protocol_version = "HTTP/1.1"
    requests, size = 0, 0

    def do_POST(self) -> None:
        size = int(self.headers["Content-Length"])
        self.rfile.read(size)
        Sink.requests, Sink.size = Sink.requests + 1, Sink.size + size
        self.send_response(204)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def find_sender(job: int) -> psutil.Process:
    end = time.monotonic() + 600
    while time.monotonic() < end:
        for process in psutil.Process(job).children(recursive=True):
            if SENDER in process.cmdline():
                return process
        time.sleep(0.2)
    raise SystemExit("the training has no sender")


def used_s(process: psutil.Process) -> float:
    return sum(process.cpu_times()[:2])


def train(folder: str, run: str, workers: int, *words: str) -> list[str]:
    command = [sys.executable, "-m", "r2d2", "train", "--run-dir", str(Path(folder) / run), "--workers", str(workers)]
    return [*command, "--threads", "1", "network.base_filters=4", *words]


def compare(rounds: int, workers: int) -> None:
    """Train in turn without a server, with one that takes connections and never answers, and with one that is down."""
    with (
        socket.create_server(("127.0.0.1", 0)) as hanging,
        socket.socket() as down,
        tempfile.TemporaryDirectory() as at,
    ):
        down.bind(("127.0.0.1", 0))
        servers = [("none", None), ("hangs", hanging), ("down", down)]
        subprocess.run(train(at, "first", workers, "training.epochs=1"), cwd=at, check=True, capture_output=True)
        for number in range(rounds):
            for name, server in servers[number % 3 :] + servers[: number % 3]:
                url = [] if server is None else [f"monitoring.influx_url=http://127.0.0.1:{server.getsockname()[1]}"]
                run = f"{name}-{number}"
                begin, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
                command = train(at, run, workers, "training.epochs=15", *url)
                subprocess.run(command, cwd=at, check=True, capture_output=True)
                wall, after = time.monotonic() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
                used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
                events = map(json.loads, (Path(at) / run / "events.jsonl").read_text().splitlines())
                steps = [event["seconds"] for event in events if event["event"] == "step"][10:]
                median = 1000 * statistics.median(steps)
                times = f"{median:.1f} ms a step (median), {wall:.1f} s in all, {used:.1f} s of processor time"
                print(f"{name}: {times}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=0, help="trainings of each kind whose times are compared instead")
    asked = parser.parse_args()
    if asked.rounds:
        compare(asked.rounds, asked.workers)
        return
    with ThreadingHTTPServer(("127.0.0.1", 0), Sink) as server, tempfile.TemporaryDirectory() as folder:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"monitoring.influx_url=http://127.0.0.1:{server.server_port}"
        limit = ["--max-minutes", str(asked.minutes + 1), "training.epochs=100000"]
        command = train(folder, "run", asked.workers, *limit, url)
        job = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL)
        try:
            sender = find_sender(job.pid)
            while not Sink.requests:
                time.sleep(0.1)
            start_s, begin, requests, size = used_s(sender), time.monotonic(), Sink.requests, Sink.size
            time.sleep(60 * asked.minutes)
            used, passed = used_s(sender) - start_s, time.monotonic() - begin
            requests, size = Sink.requests - requests, Sink.size - size
            memory = sender.memory_full_info().uss
            steps = (Path(folder) / "run" / "events.jsonl").read_text().count('"step", "time"')
        finally:
            job.terminate()
            job.wait()
        server.shutdown()
    print(
        f"{asked.workers} workers, {passed:.0f} s, {os.cpu_count()} cores, {steps} steps in all: "
        f"{100 * used / passed:.2f} % of one core, {start_s:.2f} s to start, {memory / 2**20:.0f} MiB, "
        f"{requests / passed:.2f} requests and {size / passed:.0f} bytes a second"
    )


if __name__ == "__main__":
    main()
