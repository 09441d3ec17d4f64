"""How fast scans become normalised slices, and in how much memory: ImgMed against TorchIO and MONAI.

    make peers
    .venv/bin/python benchmarks/preparing_speed.py --out benchmarks/results/preparing_speed.json

The same files go through the same operations: NIfTI -> canonical orientation -> resampled (in the plane, or to an
isotropic spacing) -> slices of a fixed size -> z-score of the volume, float32, one after the other in memory. Each
toolkit works in a process of its own with one thread, ImgMed under the Python that starts this, the peers under
.venv-peers; their rounds alternate. The files are in the system's cache. What was measured: benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import IO, Any

import numpy as np

TOOLKITS = {
    "imgmed": ("numpy", "scipy", "nibabel"),
    "torchio": ("torchio", "simpleitk", "torch", "numpy"),
    "monai": ("monai", "torch", "nibabel", "numpy", "scipy"),
}
THREAD_LIMITS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS")
Stages = dict[str, Callable[[Any], Any]]


@dataclass(frozen=True)
class Work:
    """Files, and what is done with each.

    `spacing_mm` is wanted along right, anterior and superior (None: as it is); the sizes it gives are whole for these
    files, so that all toolkits lay the same grid. `size` is (right, anterior) of the slices after that, None: as they
    are. `channel` of a 4D file is used, all are read. Where voxels become fewer the toolkits differ on purpose: ImgMed
    averages, the others take samples.
    """

    name: str
    pattern: str
    spacing_mm: tuple[float, float, float | None]
    size: tuple[int, int] | None = None
    channel: int | None = None


HIPPOCAMPUS, HEART, BRAIN = (
    f"{name}/imagesTr/*.nii.gz" for name in ("hippocampus_msd", "heart_la_msd", "brain_brats2013_2ch")
)
WORKS = (
    Work("hippocampus, 0.5 mm, 128×128", HIPPOCAMPUS, (0.5, 0.5, None), (128, 128)),
    Work("left atrium, 1 mm, 352×352", HEART, (1.0, 1.0, None), (352, 352)),
    Work("brain tumour, 4D, 256×256", BRAIN, (1.0, 1.0, None), (256, 256), channel=0),
    Work("hippocampus, isotropic 0.5 mm", HIPPOCAMPUS, (0.5, 0.5, 0.5)),
    Work("brain tumour, 4D, isotropic 0.83 mm", BRAIN, (5 / 6, 5 / 6, 5 / 6), channel=0),
    Work("brain tumour, 4D, isotropic 2.5 mm", BRAIN, (2.5, 2.5, 2.5), channel=0),
)
CUBIC_FILES = 20
"""So many files of each kind at most are prepared by cubic interpolation: the peers' splines are slow."""
STUDIES = ("hippocampus_msd", "heart_la_msd")
"""Prepared as a whole by ImgMed, for its memory; the peers have no such command."""


# ---- the toolkits, each as named stages -----------------------------------------------------------------


def imgmed_stages(work: Work, order: str) -> Stages:
    """ImgMed, as datasets and predictions are prepared; "cubic" is its default (cubic convolution)."""
    from imgmed import Normalisation, ScanPreparation, Volume, read_volume
    from imgmed.operations import Resample, Resize, select_channels
    from imgmed.scan import prepare_scan

    number = {"linear": 1, "cubic": 3}[order]
    operations = [Resample(spacing_mm=work.spacing_mm, order=number)]
    if work.size is not None:
        operations.append(Resize(size=(*work.size, None), order=number))
    preparation = ScanPreparation(
        channels=("image",), operations=tuple(operations), slice_axis=2, slice_size=work.size or (1, 1)
    )
    zscore = Normalisation(kind="zscore_case")

    def read(path: str) -> Volume:
        volume = read_volume(path)
        return volume if work.channel is None else select_channels(volume, [work.channel])

    return {
        "read": read,
        "prepare": lambda volume: prepare_scan(volume, preparation).image,
        "normalise": lambda image: zscore.apply(image, *zscore.statistics(image))[..., 0],
    }


def torchio_stages(work: Work, order: str) -> Stages:
    """TorchIO, without the copy that each transform makes for its caller's sake; cubic is its B-spline."""
    import torch
    import torchio

    torch.set_num_threads(1)
    options = {"copy": False}
    interpolation = {"linear": "linear", "cubic": "bspline"}[order]
    orient, zscore = torchio.ToCanonical(**options), torchio.ZNormalization(**options)

    def read(path: str) -> Any:
        image = torchio.ScalarImage(path)
        data = image.data if work.channel is None else image.data[work.channel : work.channel + 1]
        return torchio.ScalarImage(tensor=data.float(), affine=image.affine)  # Resample would round integers

    def prepare(image: Any) -> Any:
        image = orient(image)
        spacing = tuple(new or old for new, old in zip(work.spacing_mm, image.spacing, strict=True))
        image = torchio.Resample(spacing, image_interpolation=interpolation, **options)(image)
        if work.size is None:
            return image
        shape = (*work.size, image.spatial_shape[2])
        return torchio.Resize(shape, image_interpolation=interpolation, **options)(image)

    return {"read": read, "prepare": prepare, "normalise": lambda image: in_order(zscore(image).numpy()[0])}


def monai_stages(work: Work, order: str) -> Stages:
    """MONAI, in float32 (its default is float64) and on ImgMed's grid; cubic: SciPy's spline, then torch's bicubic."""
    import torch
    from monai.transforms import LoadImage, NormalizeIntensity, Orientation, Resize, Spacing

    torch.set_num_threads(1)
    load = LoadImage(image_only=True, ensure_channel_first=True, dtype=np.float32)
    orient = Orientation(axcodes="RAS", labels=(("L", "R"), ("P", "A"), ("I", "S")))
    spacing = Spacing(
        pixdim=tuple(new or -1.0 for new in work.spacing_mm),
        mode={"linear": "bilinear", "cubic": 3}[order],
        padding_mode={"linear": "border", "cubic": "nearest"}[order],
        scale_extent=True,
        align_corners=True,
        dtype=np.float32,
    )
    # Slices as channels: a two-dimensional resize, as the third axis stays.
    resize = work.size and Resize(spatial_size=work.size, mode={"linear": "bilinear", "cubic": "bicubic"}[order])
    zscore = NormalizeIntensity()

    def read(path: str) -> Any:
        image = load(path)
        return image if work.channel is None else image[work.channel : work.channel + 1]

    def prepare(image: Any) -> Any:
        slices = spacing(orient(image))[0].permute(2, 0, 1)
        return resize(slices) if resize else slices

    return {"read": read, "prepare": prepare, "normalise": lambda image: np.ascontiguousarray(zscore(image).numpy())}


BUILDERS = {"imgmed": imgmed_stages, "torchio": torchio_stages, "monai": monai_stages}


def in_order(volume: np.ndarray) -> np.ndarray:
    """Lay (height, width, slices) out as slices."""
    return np.ascontiguousarray(np.moveaxis(volume, 2, 0))


# ---- in a worker: one toolkit, one thread ----------------------------------------------------------------


def run_worker(options: argparse.Namespace) -> None:
    """Answer each line of standard input with a line of JSON: `round`, `peak`, or `save FOLDER`."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print goes with the errors
    work = Work(**json.loads(options.work))
    files = json.loads(options.files)
    stages = BUILDERS[options.worker](work, options.order)
    before = peak_bytes(start_anew=True)
    send(answers, {"versions": {name: metadata.version(name) for name in TOOLKITS[options.worker]}})
    for line in sys.stdin:
        command, _, argument = line.strip().partition(" ")
        if command == "round":
            send(answers, time_round(stages, files))
        elif command == "peak":
            send(answers, {"peak_bytes": peak_bytes() - before})
        elif command == "save":
            for number, path in enumerate(files):
                np.save(Path(argument) / f"{number}.npy", run_stages(stages, path))
            send(answers, {})


def send(stream: IO[str], answer: dict[str, Any]) -> None:
    print(json.dumps(answer), file=stream, flush=True)


def run_stages(stages: Stages, path: str) -> np.ndarray:
    value: Any = path
    for stage in stages.values():
        value = stage(value)
    return value


def time_round(stages: Stages, files: list[str]) -> dict[str, Any]:
    """Prepare every file once; give the seconds by the clock and of the processor, and those of each stage."""
    spent = dict.fromkeys(stages, 0.0)
    begin, begin_cpu = time.perf_counter(), time.process_time()
    for path in files:
        value: Any = path
        for name, stage in stages.items():
            start = time.process_time()
            value = stage(value)
            spent[name] += time.process_time() - start
        del value
    return {"wall": time.perf_counter() - begin, "cpu": time.process_time() - begin_cpu, "stages": spent}


def peak_bytes(start_anew: bool = False, process: str = "self") -> int:
    """Give the largest memory that a process has held so far, from now on counted anew if asked.

    Linux keeps it as VmHWM. `ru_maxrss` is the same number, but begins with that of the process that started this one.
    """
    if start_anew:
        Path("/proc/self/clear_refs").write_text("5")
    status = Path(f"/proc/{process}/status").read_text()
    return 1024 * int(status.split("VmHWM:")[1].split()[0])


def run_study(options: argparse.Namespace) -> None:
    """Prepare a study as `r2d2 prepare` does: read twice, checked, labels, checksums; by the processes asked for."""
    from imgmed import prepare_dataset
    from r2d2_base import processes

    with tempfile.TemporaryDirectory() as folder:
        # Workers note what they hold before their first task, and count their peak anew from there.
        processes.START = processes.START.replace("serve(int", f"{STARTED.format(folder=folder)}; serve(int")
        watch = WorkerWatch(Path(folder))
        before, begin = peak_bytes(start_anew=True), cpu_seconds()
        dataset = prepare_dataset(options.study, Path(folder) / "dataset", workers=options.workers)
        cpu, peak = cpu_seconds() - begin, peak_bytes() - before
        held, peaks = watch.stop()
        largest = max(dataset.image(case_id).nbytes for case_id in dataset.cases)
    largest = max(largest, largest_source([str(path) for path in options.study.glob("imagesTr/*.nii.gz")]))
    answer = {"cases": len(dataset.cases), "workers": options.workers, "cpu": cpu, "largest_volume_bytes": largest}
    own = {"peak_bytes": peak, "libraries_bytes": before}
    of_workers = {"worker_peak_bytes": max(peaks, default=0), "worker_libraries_bytes": max(held, default=0)}
    print(json.dumps({**answer, **own, **of_workers}))


STARTED = (
    "import imgmed, os, re; imgmed.prepare_dataset; s = open('/proc/self/status').read();"
    " open(f'{folder}/{{os.getpid()}}.held', 'w').write(re.search(r'VmRSS:\\s*(\\d+)', s)[1]);"
    " open('/proc/self/clear_refs', 'w').write('5')"
)


class WorkerWatch:
    """Follows the memory of the processes that this one starts, while it works."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._ends = folder, threading.Event()
        self._peaks: dict[str, int] = {}
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def stop(self) -> tuple[list[int], list[int]]:
        """Give the bytes that each worker held before its work, and the most it held besides."""
        self._ends.set()
        self._thread.join()
        held = {path.stem: 1024 * int(path.read_text()) for path in self._folder.glob("*.held")}
        return list(held.values()), [self._peaks.get(worker, 0) - before for worker, before in held.items()]

    def _follow(self) -> None:
        while not self._ends.wait(0.01):
            for note in self._folder.glob("*.held"):
                with suppress(OSError, IndexError):  # the worker has ended
                    self._peaks[note.stem] = peak_bytes(process=note.stem)


def cpu_seconds() -> float:
    """Give the processor time of this process and of those that it has started and that have ended."""
    return sum(os.times()[:4])


# ---- in the process that a person starts -----------------------------------------------------------------


class Worker:
    """A process that prepares files with one toolkit on request."""

    def __init__(self, toolkit: str, python: Path, work: Work, order: str, files: list[str]) -> None:
        command = [str(python), __file__, "--worker", toolkit, "--order", order]
        command += ["--work", json.dumps(asdict(work)), "--files", json.dumps(files)]
        environment = {**os.environ, **dict.fromkeys(THREAD_LIMITS, "1")}
        environment["PYTHONPATH"] = str(Path(__file__).resolve().parent.parent) if toolkit == "imgmed" else ""
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self.versions = self._answer()["versions"]

    def ask(self, request: str) -> dict[str, Any]:
        self.process.stdin.write(request + "\n")
        self.process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"a worker ended: {' '.join(self.process.args[:4])}")
        return json.loads(line)

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def compare(work: Work, order: str, options: argparse.Namespace) -> dict[str, Any]:
    """Let the toolkits prepare the same files round about; give medians, ratios, memory and how far they agree."""
    data = Path(options.data)
    at_most = CUBIC_FILES if order == "cubic" else None
    files = [str(path) for path in sorted(data.glob(work.pattern))][: options.files_at_most or at_most]
    if not files:
        raise SystemExit(f"no files {data / work.pattern}; name their folder with --data or R2D2_REAL_DATA")
    pythons = {name: options.peers if name != "imgmed" else Path(sys.executable) for name in TOOLKITS}
    workers = {name: Worker(name, pythons[name], work, order, files) for name in TOOLKITS}
    try:
        with tempfile.TemporaryDirectory() as folder:  # this also brings files into the cache, code into memory
            agreement, largest = compare_outputs(workers, Path(folder), len(files))
        rounds = [{name: worker.ask("round") for name, worker in workers.items()} for _ in range(options.rounds)]
        peaks = {name: worker.ask("peak")["peak_bytes"] for name, worker in workers.items()}
    finally:
        for worker in workers.values():
            worker.close()
    largest = max(largest, largest_source(files))
    return {
        "work": asdict(work),
        "order": order,
        "files": len(files),
        "largest_volume_bytes": largest,
        "toolkits": {name: figures(name, rounds, len(files), peaks[name], largest) for name in workers},
        "agreement": agreement,
        "versions": {name: worker.versions for name, worker in workers.items()},
    }


def figures(name: str, rounds: list[dict[str, Any]], files: int, peak: int, largest: int) -> dict[str, Any]:
    mine = [one[name] for one in rounds]
    ratios = sorted(one[name]["cpu"] / one["imgmed"]["cpu"] for one in rounds)
    return {
        "volumes_per_cpu_second": files / statistics.median(one["cpu"] for one in mine),
        "volumes_per_second": files / statistics.median(one["wall"] for one in mine),
        "imgmed_is_faster_by": statistics.median(ratios),
        "imgmed_is_faster_by_in_rounds": ratios,
        "peak_bytes": peak,
        "peak_in_largest_volumes": peak / largest,
        "milliseconds_per_volume": {
            stage: 1000 * statistics.median(one["stages"][stage] for one in mine) / files for stage in mine[0]["stages"]
        },
    }


def compare_outputs(workers: dict[str, Worker], folder: Path, files: int) -> tuple[dict[str, Any], int]:
    """Compare the slices of each peer with ours, in standard deviations; give also the bytes of the largest output."""
    for name, worker in workers.items():
        (folder / name).mkdir()
        worker.ask(f"save {folder / name}")
    agreement, largest = {}, 0
    for name in [name for name in workers if name != "imgmed"]:
        rows = []
        for number in range(files):
            ours, theirs = (np.load(folder / one / f"{number}.npy") for one in ("imgmed", name))
            if ours.shape != theirs.shape or ours.dtype != theirs.dtype or not theirs.flags.c_contiguous:
                raise SystemExit(f"{name} made {theirs.dtype} {theirs.shape}, imgmed {ours.dtype} {ours.shape}")
            largest = max(largest, ours.nbytes)
            difference = np.abs(ours - theirs)
            rows.append((difference.max(), difference.mean(), np.corrcoef(ours.ravel(), theirs.ravel())[0, 1]))
        highest, means, correlations = (np.array(column, float) for column in zip(*rows, strict=True))
        agreement[name] = {
            "largest_difference": highest.max(),
            "mean_difference": means.mean(),
            "lowest_correlation": correlations.min(),
        }
    return agreement, largest


def largest_source(files: list[str]) -> int:
    """Give the bytes of the largest file's voxels as float32, all channels."""
    import nibabel

    return max(4 * int(np.prod(nibabel.load(path).shape)) for path in files)


def prepare_whole(study: Path, workers: int) -> dict[str, Any]:
    command = [sys.executable, __file__, "--study", str(study), "--workers", str(workers)]
    environment = {**os.environ, **dict.fromkeys(THREAD_LIMITS, "1")}
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    return {"study": study.name, **json.loads(done.stdout)}


def describe_machine() -> dict[str, Any]:
    model = next((line for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line), ":?")
    cores = len(os.sched_getaffinity(0))
    return {"processor": model.split(":")[1].strip(), "cores": cores, "python": platform.python_version()}


def table(rows: list[dict[str, Any]]) -> str:
    head = ("scans", "order", "toolkit", "volumes/s of a core", "ImgMed faster by", "range", "peak, largest volumes")
    head += ("largest, mean difference", "correlation")
    lines = ["| " + " | ".join(head) + " |", "|-" * len(head) + "|"]
    for row in rows:
        for name, one in row["toolkits"].items():
            ratios, agreement = one["imgmed_is_faster_by_in_rounds"], row["agreement"].get(name)
            cells = [row["work"]["name"], row["order"], name, f"{one['volumes_per_cpu_second']:.2f}"]
            cells += [f"{one['imgmed_is_faster_by']:.2f}", f"{ratios[0]:.2f} to {ratios[-1]:.2f}"]
            cells += [f"{one['peak_in_largest_volumes']:.2f}"]
            cells += (
                [
                    f"{agreement['largest_difference']:.2g}, {agreement['mean_difference']:.2g}",
                    f"{agreement['lowest_correlation']:.5f}",
                ]
                if agreement
                else ["", ""]
            )
            lines.append("| " + " | ".join(cells) + " |")
    lines += ["", "| scans | order | toolkit | read, ms | prepare, ms | normalise, ms |", "|-" * 6 + "|"]
    for row in rows:
        for name, one in row["toolkits"].items():
            cells = [row["work"]["name"], row["order"], name]
            cells += [f"{value:.1f}" for value in one["milliseconds_per_volume"].values()]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def study_table(studies: list[dict[str, Any]]) -> str:
    head = ("whole study", "cases", "processes", "cases/s of a core", "largest volume, MB", "peak of a process, MB")
    lines = ["", "| " + " | ".join((*head, "in largest volumes", "libraries besides, MB")) + " |", "|-" * 8 + "|"]
    for one in studies:
        of = "worker_" if one["workers"] > 1 else ""
        peak, libraries, largest = one[f"{of}peak_bytes"], one[f"{of}libraries_bytes"], one["largest_volume_bytes"]
        cells = [one["study"], str(one["cases"]), str(one["workers"]), f"{one['cases'] / one['cpu']:.2f}"]
        cells += [f"{largest / 1e6:.2f}", f"{peak / 1e6:.1f}", f"{peak / largest:.2f}", f"{libraries / 1e6:.0f}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    here = Path(__file__).resolve().parent.parent
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--data", default=os.environ.get("R2D2_REAL_DATA", here.parent / "shared" / "data"))
    parser.add_argument("--peers", type=Path, default=here / ".venv-peers/bin/python", help="the peers' Python")
    parser.add_argument("--files-at-most", type=int, help="of each kind, for a quick look")
    parser.add_argument("--orders", nargs="+", choices=("linear", "cubic"), default=["linear", "cubic"])
    parser.add_argument("--worker", choices=tuple(TOOLKITS), help=argparse.SUPPRESS)
    parser.add_argument("--only", default="", help="works whose name holds this, for a quick look")
    parser.add_argument("--study", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--workers", type=int, default=1, help=argparse.SUPPRESS)
    parser.add_argument("--order", help=argparse.SUPPRESS)
    parser.add_argument("--work", help=argparse.SUPPRESS)
    parser.add_argument("--files", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        return run_worker(options)
    if options.study:
        return run_study(options)
    rows, load_before = [], os.getloadavg()
    for work in [work for work in WORKS if options.only in work.name]:
        for order in options.orders:
            rows.append(compare(work, order, options))
            print(json.dumps(rows[-1]["toolkits"]), file=sys.stderr)
    studies = [prepare_whole(Path(options.data) / name, workers) for name in STUDIES for workers in (1, 2)]
    print(table(rows))
    print(study_table(studies))
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        load = {"before": load_before, "after": os.getloadavg()}
        report = {
            "machine": describe_machine(),
            "load": load,
            "rounds": options.rounds,
            "rows": rows,
            "studies": studies,
        }
        options.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
