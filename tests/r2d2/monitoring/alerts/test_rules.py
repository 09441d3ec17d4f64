"""Each kind of alert, caused; and none where nothing is wrong, or is not yet."""

import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from dist_training.record.run_folder import RunEnd, RunFolder
from r2d2.monitoring.alerts.alert import KINDS
from r2d2.monitoring.alerts.current import current_findings
from r2d2.monitoring.alerts.rules import RULES
from r2d2.monitoring.gpu import GpuReader
from tests.r2d2.monitoring.alerts.runs import add_epochs, add_host, add_rank, write_run
from tests.r2d2.monitoring.test_gpu import FakeNvml

SLOW = {"compute": 0.9, "exchange": 0.0}
QUICK = {"compute": 0.45, "exchange": 0.45}


def found(folder: RunFolder) -> list[tuple[str, str]]:
    return [(one.kind, one.subject) for one in current_findings(folder.path)]


def test_a_run_in_good_order_raises_nothing(tmp_path: Path) -> None:
    folder = write_run(tmp_path, [2.0 / step for step in range(1, 60)])
    add_host(folder, 400, {"gpu.0.load_percent": 80.0, "worker.0.memory_bytes": 2**30})
    for rank in range(2):
        add_rank(folder, rank, 400)
    add_epochs(folder, [0.01 * epoch for epoch in range(50)])
    assert found(folder) == []


@pytest.mark.parametrize(
    ("losses", "is_found"),
    [
        ([2.0, float("nan")], True),
        ([*(2.0 / step for step in range(1, 40)), *(float(step) for step in range(40))], True),
        ([2.0] * 40, False),
    ],
)
def test_divergence(tmp_path: Path, losses: list[float], is_found: bool) -> None:
    assert found(write_run(tmp_path, losses)) == [("divergence", "")] * is_found


def test_a_run_that_ended_as_its_loss_exploded_says_so_though_its_last_step_is_in_no_record(tmp_path: Path) -> None:
    folder = write_run(tmp_path)
    folder.write_exit(RunEnd(state="failed", reason="no such file", exit_code=1))
    assert found(folder) == []
    folder.write_exit(RunEnd(state="failed", reason="the loss became nan", exit_code=1, diverged=True))
    assert found(folder) == [("divergence", "")]


@pytest.mark.parametrize(("seconds", "is_found"), [(59, False), (62, True)])
def test_a_rank_is_silent_where_its_records_end_and_those_of_others_do_not(
    tmp_path: Path, seconds: int, is_found: bool
) -> None:
    folder = write_run(tmp_path)
    add_rank(folder, 0, 10 + seconds)
    add_rank(folder, 1, 10)
    assert found(folder) == [("silent", "rank 1")] * is_found


def test_a_lone_worker_is_silent_where_the_sampler_of_its_host_goes_on(tmp_path: Path) -> None:
    folder = write_run(tmp_path, alert_silent_s=20)
    add_rank(folder, 0, 10)
    add_host(folder, 40, {})
    assert found(folder) == [("silent", "rank 0")]


def test_what_was_recorded_before_training_last_began_does_not_count(tmp_path: Path) -> None:
    folder = write_run(tmp_path)
    add_rank(folder, 0, 70)
    add_rank(folder, 1, 10, first=-500)
    assert found(folder) == []


def test_a_rank_lags_where_the_others_wait_for_it_all_the_time(tmp_path: Path) -> None:
    folder = write_run(tmp_path)
    for rank in range(3):
        add_rank(folder, rank, 100, shares=lambda _, rank=rank: SLOW if rank == 1 else QUICK)
    assert found(folder) == [("lagging", "rank 1")]


@pytest.mark.parametrize(
    "shares",
    [
        lambda rank, at: SLOW if rank == 1 and at > 80 else QUICK,  # for 20 seconds only
        lambda rank, at: {"compute": 0.6} if rank == 1 else QUICK,  # a third slower
        lambda rank, at: {"input": 0.0, "compute": 0.09 if rank == 1 else 0.01, "validation": 0.9},  # hardly matters
    ],
)
def test_a_rank_that_is_slow_for_a_moment_or_a_little_does_not_lag(
    tmp_path: Path, shares: Callable[[int, int], dict[str, float]]
) -> None:
    folder = write_run(tmp_path)
    for rank in range(2):
        add_rank(folder, rank, 100, shares=lambda at, rank=rank: shares(rank, at))
    assert found(folder) == []


def test_memory_of_a_host_that_is_nearly_full(tmp_path: Path) -> None:
    folder = write_run(tmp_path)
    add_host(folder, 20, {})
    add_host(folder, 20, {"memory_used_bytes": 15 * 2**30}, first=20)
    assert found(folder) == []  # not for long enough
    add_host(folder, 20, {"memory_used_bytes": 15 * 2**30}, first=40)
    assert found(folder) == [("memory", "host node1")]


def test_memory_that_a_container_grants_is_what_its_workers_may_take(tmp_path: Path) -> None:
    folder = write_run(tmp_path, alert_memory_percent=80)
    granted = {
        "memory_limit_bytes": 5 * 2**30,
        "worker.0.memory_bytes": 2 * 2**30,
        "worker.1.memory_bytes": 2.5 * 2**30,
    }
    add_host(folder, 40, granted)
    assert found(folder) == [("memory", "host node1")]


def test_a_disk_that_is_nearly_full_and_free_again(tmp_path: Path) -> None:
    folder = write_run(tmp_path)
    add_host(folder, 5, {"disk_free_bytes": 2**30})
    assert found(folder) == [("disk", "")]
    add_host(folder, 5, {}, first=5)
    assert found(folder) == []


def test_a_gpu_by_answers_of_nvml_is_idle_where_its_host_has_a_worker_for_it(tmp_path: Path) -> None:
    folder = write_run(tmp_path)
    nvml = FakeNvml()
    nvml.nvmlDeviceGetUtilizationRates = lambda device: SimpleNamespace(gpu=2 if device else 90)  # type: ignore[method-assign]
    read = GpuReader(nvml, {0: 100}).read()
    add_host(folder, 301, {**read, "worker.0.memory_bytes": 2**30})
    assert found(folder) == []  # one worker, on the busy one
    add_host(folder, 301, {**read, "worker.1.memory_bytes": 2**30, "worker.0.memory_bytes": 2**30}, first=301)
    assert found(folder) == [("gpu_idle", "GPU 1 of host node1")]


def test_a_gpu_that_is_idle_for_a_minute_is_no_matter(tmp_path: Path) -> None:
    folder = write_run(tmp_path)
    add_host(folder, 60, {"gpu.0.load_percent": 0.0, "worker.0.memory_bytes": 2**30})
    assert found(folder) == []


@pytest.mark.parametrize(
    ("dice", "is_found"),
    [
        ([0.5, 0.8, *[0.7] * 20], True),
        ([0.5, 0.8, *[0.7] * 19], False),
        ([0.5, 0.8, *[0.7] * 19, 0.802], False),
        ([0.5, 0.8, *[0.7] * 19, 0.8004], True),
        ([0.5, None, 0.8, *[0.7] * 20], True),
        ([], False),
    ],
)
def test_plateau(tmp_path: Path, dice: list[float | None], is_found: bool) -> None:
    folder = write_run(tmp_path)
    add_epochs(folder, dice)
    assert found(folder) == [("plateau", "")] * is_found


def test_every_kind_has_a_rule_but_the_end_of_a_job() -> None:
    assert {rule.kind for rule in RULES} == set(KINDS) - {"ended"} and len(RULES) == len(KINDS) - 1


def test_the_page_says_each_rule_as_it_is() -> None:
    page = (Path(__file__).parents[4] / "docs" / "monitoring.md").read_text(encoding="utf-8")
    for rule in RULES:
        assert f"| `{rule.kind}` | {rule.severity} | {rule.limit} | {rule.reason} |\n" in page
    assert set(re.findall(r"^\| `(\w+)` \| (?:info|warning|critical)", page, re.MULTILINE)) == set(KINDS)


def test_no_names_of_folders_are_in_what_is_found(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "patient_Mustermann", [2.0, float("nan")])
    add_rank(folder, 0, 100)
    add_rank(folder, 1, 10)
    add_host(folder, 100, {"memory_used_bytes": 16 * 2**30, "disk_free_bytes": 0})
    add_epochs(folder, [0.5] * 30)
    told = current_findings(folder.path)
    assert [one.kind for one in told] == ["divergence", "silent", "memory", "disk", "plateau"]
    assert not any("Mustermann" in str(one) for one in told)
