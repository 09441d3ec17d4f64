"""Figures along the steps of a run, from files as a run leaves them."""

from pathlib import Path

import numpy as np
import pytest

from dist_training.record.events import EventLog, Running
from r2d2.monitoring.figures import energy_sentence, machine_curves, summary
from r2d2.monitoring.gpu import GpuReader
from r2d2.monitoring.series import SeriesFile
from r2d2.reports.machines import draw_machines
from tests.r2d2.monitoring.test_gpu import FakeNvml

SHARES = {"work.compute": 0.5, "work.exchange": 0.25, "work.validation": 0.05, "work.checkpoint": 0.0}


def write_times(run: Path, rank: int, steps: list[int], shares: float, begin: float = 100.0) -> None:
    (run / "monitoring").mkdir(parents=True, exist_ok=True)
    series = SeriesFile(run / "monitoring" / f"rank-{rank}.jsonl")
    for at, step in enumerate(steps):
        record = {"time": begin + at, "seconds": 1.0, "work.input": shares, **SHARES, "work.step": step}
        series.append(record | {"work.images_per_second": 8.0})


def write_host(run: Path, times: list[float]) -> None:
    series = SeriesFile(run / "monitoring" / "host-node.jsonl")
    for at, time in enumerate(times):
        series.append({"time": time, "seconds": 1.0, "host.cpu_percent": float(at), "worker.0.memory_bytes": 2**30})


def test_times_become_steps(tmp_path: Path) -> None:
    write_times(tmp_path, 0, [10, 20, 30], 0.3)
    write_host(tmp_path, [100.5, 101.5])
    (cpu,) = (one for one in machine_curves(tmp_path) if one.field == "cpu_percent")
    assert cpu.steps.tolist() == [15, 25] and cpu.mean.tolist() == [0, 1]
    assert cpu.source == "host node"


def test_steps_that_were_lost_and_done_again_count_once(tmp_path: Path) -> None:
    write_times(tmp_path, 0, [10, 20, 30], 0.3)
    write_times(tmp_path, 0, [15, 25, 35], 0.3, begin=1000.0)
    write_host(tmp_path, [100.5, 102.0, 1000.5])
    (cpu,) = (one for one in machine_curves(tmp_path) if one.field == "cpu_percent")
    assert cpu.mean.tolist() == [0, 2]
    assert cpu.steps[-1] == pytest.approx(20)


def test_a_long_run_is_told_in_as_many_points_as_are_wanted(tmp_path: Path) -> None:
    write_times(tmp_path, 0, list(range(1000)), 0.3)
    write_host(tmp_path, [100.0 + at for at in range(1000)])
    (cpu,) = (one for one in machine_curves(tmp_path, most=10) if one.field == "cpu_percent")
    assert len(cpu.steps) == 10 and cpu.largest[-1] == 999
    assert cpu.mean.mean() == pytest.approx(np.arange(1000).mean())


@pytest.mark.parametrize(
    ("waited", "advice"), [(0.3, "the feed is slower than the network"), (0.01, "sums of gradients")]
)
def test_the_sentence_says_what_time_went_into_and_what_to_do(tmp_path: Path, waited: float, advice: str) -> None:
    for rank in range(2):
        write_times(tmp_path, rank, [1, 2, 3], waited)
    told = summary(tmp_path)
    assert told is not None and told.startswith(f"The 2 workers spent {100 * waited:.0f} % of the time waiting for in")
    assert "50 % computing" in told and advice in told


def test_nothing_recorded_is_nothing_told(tmp_path: Path) -> None:
    assert summary(tmp_path) is None and machine_curves(tmp_path) == [] and draw_machines(tmp_path) == ()


def test_pictures_say_in_words_what_they_show(tmp_path: Path) -> None:
    write_times(tmp_path, 0, [10, 20, 30], 0.3)
    write_host(tmp_path, [100.5, 101.5])
    log = EventLog(tmp_path / "events.jsonl")
    log.record(
        Running(
            epochs=3, steps_per_epoch=10, training_slices=80, validation_slices=8, global_batch_size=8, parameters=1
        )
    )
    log.close()
    pictures = {picture.alt.partition(" over")[0]: picture.caption for picture in draw_machines(tmp_path)}
    assert pictures["Processors of the host (%)"] == "host node: mean 0.5, at most 1"
    assert pictures["Memory of each worker (GiB)"] == "node, worker 0: mean 1, at most 1"
    assert pictures["Part of the time waiting for input"] == "worker 0: mean 0.3, at most 0.3"


def test_what_another_version_records_and_what_is_no_number_is_passed_over(tmp_path: Path) -> None:
    write_times(tmp_path, 0, [1, 2], 0.0, begin=1.0)
    folder = tmp_path / "monitoring"
    line = '{"time":2.0,"seconds":1.0,"host.cpu_percent":50.0,"host.name":"x","later.0.x":1.0,"y":2.0,"host.z":[1]}'
    (folder / "host-a.jsonl").write_text(f'{line}\n{{"time":"3","seconds":1.0}}\n[]\n')
    (folder / "host-link.jsonl").symlink_to(folder / "host-a.jsonl")
    curves = [one for one in machine_curves(tmp_path) if one.measurement != "work"]
    assert [(one.measurement, one.field, one.source, one.mean.tolist()) for one in curves] == [
        ("host", "cpu_percent", "host a", [50.0])
    ]


def test_energy_is_said_of_all_gpus_that_tell(tmp_path: Path) -> None:
    assert energy_sentence(tmp_path) is None
    (tmp_path / "monitoring").mkdir()
    nvml = FakeNvml()
    reader = GpuReader(nvml, {})
    series = SeriesFile(tmp_path / "monitoring" / "host-one.jsonl")
    for second in range(5):
        series.append({"time": 100.0 + second, "seconds": 1.0, **reader.read()})
        nvml.millijoules += 9_000_000
    assert energy_sentence(tmp_path) == "The 2 GPUs used 10 Wh in this run, as 1 of them tells."
    other = SeriesFile(tmp_path / "monitoring" / "host-two.jsonl")
    other.append({"time": 100.0, "seconds": 9.0, "gpu.0.energy_wh": [1.0, 2.0, 3.5]})
    assert energy_sentence(tmp_path) == "The 3 GPUs used 13.5 Wh in this run, as 2 of them tell."
