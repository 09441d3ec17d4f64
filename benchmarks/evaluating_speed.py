"""How fast label maps are scored, and in how much memory: SegEval against MONAI, MedPy, nnU-Net and others.

    make peers
    .venv/bin/python benchmarks/evaluating_speed.py --out benchmarks/results/evaluating_speed.json

Every toolkit works in a process of its own with one thread on the same arrays in memory, SegEval under the Python that
starts this, the peers under .venv-peers; their rounds alternate, and what counts is the processor's time. What they
give is compared, each peer under its own convention. Peaks of memory are of fresh processes. The label maps are
described in evaluating_inputs.py, the calls in evaluating_toolkits.py, what was measured in benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

THREAD_LIMITS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS")
os.environ |= dict.fromkeys(THREAD_LIMITS, "1")  # before NumPy is loaded

import evaluating_toolkits as toolkits  # noqa: E402
import numpy as np  # noqa: E402
from evaluating_inputs import INPUTS, Pair, predict, read_pairs, write_pairs  # noqa: E402

OURS = "segeval"
ROUND_SECONDS = 0.2
"""Small inputs are scored again until a round takes this long."""
LARGE_VOXELS = 20_000_000
"""From here on a peer that goes label by label may be timed on some of them only, see `--limit`."""
BY_LABEL = ("monai", "medpy", "nnunet", "deepmind")
QUICK = ("nuclei, 2D", "hippocampus", "spleen", "abdomen, 3 mm", "left atrium, far")
WEIGHED = ("left atrium", "brain tumour", "abdomen, 512×512×20", "20 organs, 512×512×300")
"""Inputs whose memory is measured; in smaller ones the libraries' own few megabytes would be all there is to see."""


# ---- in a worker: one toolkit, one thread ----------------------------------------------------------------


def run_worker(toolkit: str) -> None:
    """Answer each line of standard input, a command as JSON, with a line of JSON."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print goes with the errors
    tasks = toolkits.build_tasks(toolkit)
    send(answers, {"versions": toolkits.versions(toolkit)})
    pairs: list[Pair] = []
    for line in sys.stdin:
        request = json.loads(line)
        if request["do"] == "load":
            pairs = read_pairs(Path(request["folder"]))
            send(answers, {})
        elif request["do"] == "choose":
            send(answers, {"labels": choose_labels(toolkit, tasks[request["task"]], pairs, request["limit"])})
        elif request["do"] == "score":
            score = toolkits.segeval_in_their_conventions if request["task"] == "all" else tasks[request["task"]]
            send(answers, {"scores": [score(pair, labels) for pair, labels in with_labels(pairs, request["labels"])]})
        elif request["do"] == "round":
            send(answers, time_round(tasks[request["task"]], pairs, request["labels"]))
        elif request["do"] == "peak":
            send(answers, weigh(tasks[request["task"]], pairs[0], request["labels"]))


def send(stream: IO[str], answer: dict[str, Any]) -> None:
    print(json.dumps(answer), file=stream, flush=True)


def with_labels(pairs: list[Pair], labels: list[int] | None) -> Iterable[tuple[Pair, list[int]]]:
    return ((pair, labels or list(range(1, pair.labels + 1))) for pair in pairs)


def choose_labels(toolkit: str, task: toolkits.Task, pairs: list[Pair], limit: float) -> list[int] | None:
    """Give as many labels as are scored within a limit in seconds, from small to large; None: all."""
    if toolkit not in BY_LABEL or pairs[0].reference.size < LARGE_VOXELS:
        return None
    pair, wanted = pairs[0], pairs[0].labels
    by_size = (1 + np.argsort(np.bincount(pair.reference.ravel(), minlength=wanted + 1)[1:])).tolist()
    begin = time.process_time()
    task(pair, [by_size[wanted // 2]])
    many = max(1, int(limit / (time.process_time() - begin)))
    return None if many >= wanted else [by_size[int((place + 0.5) * wanted / many)] for place in range(many)]


def time_round(task: toolkits.Task, pairs: list[Pair], labels: list[int] | None) -> dict[str, float]:
    """Score every pair, again until the round is long enough; give the seconds of a pass over all labels."""
    work, passes = list(with_labels(pairs, labels)), 0
    scale = pairs[0].labels / len(labels) if labels else 1.0
    begin, begin_cpu = time.perf_counter(), time.process_time()
    while not passes or time.process_time() - begin_cpu < ROUND_SECONDS:
        for pair, wanted in work:
            task(pair, wanted)
        passes += 1
    cpu, wall = time.process_time() - begin_cpu, time.perf_counter() - begin
    return {"cpu": scale * cpu / passes, "wall": scale * wall / passes}


def weigh(task: toolkits.Task, pair: Pair, labels: list[int] | None) -> dict[str, float]:
    """Give the largest memory held while one pair is scored, the two label maps included, in units of these."""
    reference = np.zeros((12, 12, 12), np.uint8)
    reference[3:8, 3:8, 3:8] = 1
    task(Pair("small", reference, predict(reference, 0), (1.0, 1.0, 1.0), 1), [1])  # loads what is loaded late
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # the peak, VmHWM, is counted anew
    before, maps = peak_bytes(), pair.reference.nbytes + pair.prediction.nbytes
    task(pair, labels or list(range(1, pair.labels + 1)))
    return {"peak_bytes": maps + peak_bytes() - before, "in_label_maps": 1 + (peak_bytes() - before) / maps}


def peak_bytes() -> int:
    return 1024 * int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])


# ---- in the process that a person starts -----------------------------------------------------------------


class Worker:
    """A process that scores pairs with one toolkit on request."""

    def __init__(self, toolkit: str, options: argparse.Namespace) -> None:
        python = sys.executable if toolkit == OURS else options.peers
        path = str(options.segeval) if toolkit == OURS else ""
        self.process = subprocess.Popen(
            [str(python), __file__, "--worker", toolkit],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": path},
        )
        self.introduction = self._answer()

    def ask(self, do: str, **request: Any) -> dict[str, Any]:
        self.process.stdin.write(json.dumps({"do": do, **request}) + "\n")
        self.process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"a worker ended: {' '.join(map(str, self.process.args))}")
        return json.loads(line)

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def measure(name: str, workers: dict[str, Worker], options: argparse.Namespace) -> dict[str, Any]:
    """Let the toolkits score one input round about; give times, ratios, agreement, and memory."""
    with tempfile.TemporaryDirectory() as folder:
        pairs = INPUTS[name](options.data)
        if not pairs:
            raise SystemExit(f"no label maps for {name} in {options.data}; name the folder: --data or R2D2_REAL_DATA")
        print(name, file=sys.stderr, flush=True)
        write_pairs(pairs, Path(folder))
        about = {
            "input": name,
            "pairs": len(pairs),
            "shape": pairs[0].reference.shape,
            "labels": max(pair.labels for pair in pairs),
            "foreground_share": float(np.mean([np.mean(pair.reference > 0) for pair in pairs])),
        }
        del pairs
        for worker in workers.values():
            worker.ask("load", folder=folder)
        everything = workers[OURS].ask("score", task="all", labels=None)["scores"]
        compared = {task: compare(task, workers, everything, options) for task in options.tasks}
        weighed = compared if name in WEIGHED and not options.no_memory else {}
        peaks = {task: peaks_of(task, one, folder, options) for task, one in weighed.items()}
    return {**about, "tasks": compared, "peaks": peaks}


def compare(
    task: str, workers: dict[str, Worker], everything: list[toolkits.Scores], options: argparse.Namespace
) -> dict[str, Any]:
    """Let all who do a task score the loaded pairs, in turns; give seconds, ratios to ours, and differences."""
    able = [name for name in toolkits.GIVES[task] if name in workers]
    labels = {name: workers[name].ask("choose", task=task, limit=options.limit)["labels"] for name in able}
    apart = {}
    for name in able:
        theirs = workers[name].ask("score", task=task, labels=labels[name])["scores"]
        apart[name] = differences(everything, theirs)
    rounds = []
    for number in range(options.rounds):
        order = able if number % 2 == 0 else able[::-1]
        rounds.append({name: workers[name].ask("round", task=task, labels=labels[name]) for name in order})
    seconds = {name: [round(one[name]["cpu"], 4) for one in rounds] for name in able}
    print(task, seconds, file=sys.stderr, flush=True)
    return {
        name: {
            "cpu_seconds": statistics.median(one[name]["cpu"] for one in rounds),
            "wall_seconds": statistics.median(one[name]["wall"] for one in rounds),
            "ours_is_faster_by": statistics.median(one[name]["cpu"] / one[OURS]["cpu"] for one in rounds),
            "ours_is_faster_by_in_rounds": sorted(one[name]["cpu"] / one[OURS]["cpu"] for one in rounds),
            "labels_timed": labels[name],
            **apart[name],
        }
        for name in able
    }


def differences(ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> dict[str, Any]:
    """Compare values that two give under one name; relative above 1, as distances in mm and counts are."""
    largest: dict[str, float] = {}
    values = one_undefined = 0
    for mine, other in zip(ours, theirs, strict=True):
        for label, metric in ((label, metric) for label, scores in other.items() for metric in scores):
            if metric not in mine.get(label, ()):
                continue
            a, b = mine[label][metric], other[label][metric]
            if math.isfinite(a) and math.isfinite(b):
                values += 1
                largest[metric] = max(largest.get(metric, 0.0), abs(a - b) / max(1.0, abs(a)))
            else:
                one_undefined += math.isfinite(a) != math.isfinite(b)
    return {"values_compared": values, "undefined_for_one": one_undefined, "largest_difference": largest}


def peaks_of(
    task: str, compared: dict[str, Any], folder: str, options: argparse.Namespace
) -> dict[str, dict[str, float]]:
    """Give each toolkit's largest memory on the first pair, in a fresh process."""
    peaks = {}
    for name, one in compared.items():
        worker = Worker(name, options)
        worker.ask("load", folder=folder)
        peaks[name] = worker.ask("peak", task=task, labels=one["labels_timed"])
        worker.close()
    return peaks


# ---- what is shown -----------------------------------------------------------------------------------------


def fastest_peer(compared: dict[str, Any]) -> str | None:
    return min(
        (name for name in compared if name != OURS), key=lambda name: compared[name]["cpu_seconds"], default=None
    )


def table(rows: list[dict[str, Any]], task: str) -> str:
    """Lay out one task: ours in ms, each peer's time in units of ours, the fastest peer, how far values differ."""
    peers = [name for name in toolkits.GIVES[task] if name != OURS]
    head = [
        "label maps",
        "segeval, ms a pair",
        *peers,
        "least",
        "in rounds",
        "largest difference",
        "memory, label maps",
    ]
    lines = [f"**{task}**", "", "| " + " | ".join(head) + " |", "|-" * len(head) + "|"]
    for row in [row for row in rows if task in row["tasks"]]:
        compared, best = row["tasks"][task], fastest_peer(row["tasks"][task])
        cells = [describe(row), f"{1000 * compared[OURS]['cpu_seconds'] / row['pairs']:.3g}"]
        cells += [ratio(compared.get(name)) for name in peers]
        if best:
            rounds = compared[best]["ours_is_faster_by_in_rounds"]
            cells += [f"**{compared[best]['ours_is_faster_by']:.1f}**", f"{rounds[0]:.1f} to {rounds[-1]:.1f}"]
        else:
            cells += ["", ""]
        apart = [value for one in compared.values() for value in one["largest_difference"].values()]
        cells += [f"{max(apart, default=0):.0e}", memory(row["peaks"].get(task, {}))]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def describe(row: dict[str, Any]) -> str:
    labels = "label" if row["labels"] == 1 else "labels"
    return f"{row['input']} ({row['pairs']} × {'×'.join(map(str, row['shape']))}, {row['labels']} {labels})"


def ratio(one: dict[str, Any] | None) -> str:
    return "" if one is None else f"{one['ours_is_faster_by']:.1f}" + ("*" if one["labels_timed"] else "")


def memory(peaks: dict[str, dict[str, float]]) -> str:
    if not peaks:
        return ""
    theirs = ", ".join(f"{name} {one['in_label_maps']:.1f}" for name, one in peaks.items() if name != OURS)
    return f"{peaks[OURS]['in_label_maps']:.2f}" + (f" ({theirs})" if theirs else "")


def whole_table(rows: list[dict[str, Any]]) -> str:
    """Lay out `evaluate`, which scores everything, against the fastest overlap and the fastest surface of peers."""
    head = ("label maps", "segeval.evaluate, ms a pair", "fastest peers, overlap + surface", "faster by", "memory")
    lines = ["**evaluate**", "", "| " + " | ".join(head) + " |", "|-" * len(head) + "|"]
    for row in rows:
        tasks = row["tasks"]
        if not {"overlap", "surface", "evaluate"} <= set(tasks):
            continue
        bests = {task: fastest_peer(tasks[task]) for task in ("overlap", "surface")}
        theirs = sum(tasks[task][best]["cpu_seconds"] for task, best in bests.items() if best)
        mine = tasks["evaluate"][OURS]["cpu_seconds"]
        cells = [describe(row), f"{1000 * mine / row['pairs']:.3g}", " + ".join(map(str, bests.values()))]
        cells += [f"**{theirs / mine:.1f}**", memory(row["peaks"].get("evaluate", {}))]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def describe_machine() -> dict[str, Any]:
    model = next((line for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line), ":?")
    cores = len(os.sched_getaffinity(0))
    return {"processor": model.split(":")[1].strip(), "cores": cores, "python": platform.python_version()}


def parse() -> argparse.Namespace:
    here = Path(__file__).resolve().parent.parent
    data = Path(os.environ.get("R2D2_REAL_DATA", here.parent / "shared" / "data"))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--data", type=Path, default=data)
    parser.add_argument("--peers", type=Path, default=here / ".venv-peers/bin/python", help="the peers' Python")
    parser.add_argument("--segeval", type=Path, default=here, help="the checkout whose segeval is measured")
    parser.add_argument("--quick", action="store_true", help="some small inputs, three rounds, no memory")
    parser.add_argument("--only", nargs="+", default=[], help="inputs whose names hold one of these words")
    parser.add_argument("--tasks", nargs="+", choices=tuple(toolkits.GIVES), default=list(toolkits.GIVES))
    parser.add_argument("--without", nargs="+", choices=tuple(toolkits.TOOLKITS), default=[], help="peers left out")
    parser.add_argument("--no-memory", action="store_true")
    parser.add_argument("--limit", type=float, default=60.0, help="seconds a round that one peer may take, about")
    parser.add_argument("--worker", choices=tuple(toolkits.TOOLKITS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.no_memory = min(options.rounds, 3), True
    return options


def main() -> None:
    from r2d2_base.files import write_bytes

    options = parse()
    if options.worker:
        return run_worker(options.worker)
    chosen = [name for name in INPUTS if any(word in name for word in options.only)]
    names, load_before = chosen or (QUICK if options.quick else tuple(INPUTS)), os.getloadavg()
    able = (name for task in options.tasks for name in toolkits.GIVES[task] if name not in options.without)
    needed = dict.fromkeys([OURS, *able])
    workers, rows = {name: Worker(name, options) for name in needed}, []
    try:
        for name in names:
            rows.append(measure(name, workers, options))
    finally:
        for worker in workers.values():
            worker.close()
    print("\n\n".join([*(table(rows, task) for task in options.tasks if task != "evaluate"), whole_table(rows)]))
    if options.out is not None:
        report = {
            "machine": describe_machine(),
            "load": {"before": load_before, "after": os.getloadavg()},
            "rounds": options.rounds,
            "versions": {name: worker.introduction["versions"] for name, worker in workers.items()},
            "rows": rows,
        }
        options.out.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(options.out, (json.dumps(report, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()
