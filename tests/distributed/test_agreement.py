"""Workers that differ do not train, and all that vote do the same at the same step: real horovodrun with 3 ranks."""

import platform
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import segeval
from dist_training.record.run_folder import RunFolder
from imgmed import PreparedDataset
from tests.distributed.jobs import BIN, horovodrun, run
from tests.distributed.pool import WorkerPool

pytestmark = pytest.mark.distributed

PACKAGES = Path(segeval.__file__).parent.parent
HOST = platform.node()


@pytest.fixture(scope="module")
def ranks(
    small_dataset: PreparedDataset, pool_of: Callable[[int], WorkerPool], tmp_path_factory: pytest.TempPathFactory
) -> list[dict[str, Any]]:
    """What each of three ranks was told."""
    out = tmp_path_factory.mktemp("agree")
    shutil.copytree(small_dataset.folder, out / "other")
    array = min((out / "other").rglob("*.npy"))
    array.write_bytes(array.read_bytes()[:-1])
    shutil.copytree(PACKAGES / "segeval", out / "code" / "segeval", ignore=shutil.ignore_patterns("__pycache__"))
    with (out / "code" / "segeval" / "overlap.py").open("a") as file:
        file.write("# another version\n")
    (out / "code" / "segeval" / "formulas.py").unlink()
    for name in ("own", "own-1"):
        (out / name).mkdir()
        (out / name / "our_network.py").write_text(f"# {name}\n")
    return pool_of(3).run("tests.distributed.agree", str(small_dataset.folder), str(out))


def test_all_ranks_are_told_the_same(ranks: list[dict[str, Any]]) -> None:
    assert ranks[0] == ranks[1] == ranks[2]


def test_equal_workers_agree(ranks: list[dict[str, Any]]) -> None:
    assert ranks[0]["handshakes"]["equal"] is None


def test_a_worker_that_lacks_the_dataset_is_named(ranks: list[dict[str, Any]]) -> None:
    said = ranks[0]["handshakes"]["dataset absent on 1"]
    assert said.startswith(f"1 of 3 workers cannot train: rank 1 on {HOST}: ")
    assert "not-there does not exist" in said


@pytest.mark.parametrize(
    ("case", "rank", "difference"),
    [
        ("seed on the last", 2, "configuration training.seed is 7 instead of 0;"),
        ("dataset differs on 1", 1, " bytes instead of "),
        ("own network on 1", 1, "code our_network.py differs;"),
        ("own network absent", 2, "code our_network.py is absent;"),
        ("keras on 1", 1, "code keras is 3.14.0 instead of "),
        ("code on the last", 2, "code segeval/formulas.py is absent, code segeval/overlap.py differs;"),
    ],
)
def test_what_differs_is_named_with_host_and_rank(
    ranks: list[dict[str, Any]], case: str, rank: int, difference: str
) -> None:
    said = ranks[0]["handshakes"][case]
    assert said.startswith(f"workers differ from rank 0 on {HOST}: ")
    assert f"rank {rank} on {HOST}: " in said
    assert difference in said
    named = said.count(f" on {HOST}: ")  # rank 0, and those that differ
    assert named == (3 if case in ("keras on 1", "own network absent") else 2)


def test_requests_and_signals_reach_all_ranks_at_the_same_step(ranks: list[dict[str, Any]]) -> None:
    """float32 of 1/3 is 11184811 / 2^25 (24 bits of significand)."""
    nothing = {"is_stop": False, "is_checkpoint": False, "learning_rate": None}
    assert ranks[0]["votes"] == [
        nothing,
        {**nothing, "is_checkpoint": True},
        {**nothing, "learning_rate": 11184811 / 2**25},
        nothing,
        {**nothing, "is_stop": True},
        {"reason": "signal SIGUSR1"},
    ]


def test_a_job_whose_workers_run_other_code_does_not_start(small_dataset: PreparedDataset, tmp_path: Path) -> None:
    """Rank 1 finds another copy of our packages first, as on a host with an older version."""
    for package in ("imgmed", "segeval", "dist_training", "r2d2"):
        shutil.copytree(PACKAGES / package, tmp_path / "old" / package, ignore=shutil.ignore_patterns("__pycache__"))
    with (tmp_path / "old" / "dist_training" / "schedules.py").open("a") as file:
        file.write("# an older version\n")
    folder = RunFolder(tmp_path / "run")
    script = tmp_path / "worker.sh"
    script.write_text(
        f'[ "$HOROVOD_RANK" = 1 ] && export PYTHONPATH={tmp_path / "old"}\n'
        f"exec {BIN / 'r2d2'} train --dataset {small_dataset.folder} --run-dir {folder.path}\n"
    )
    done = run(horovodrun(2, "sh", str(script)), tmp_path)
    assert done.returncode != 0
    said = done.stdout + done.stderr
    assert said.count("r2d2: workers differ from rank 0") == 1
    assert f"rank 1 on {HOST}: code dist_training/schedules.py differs; give every host the same version" in said
    outcome = folder.read_exit()
    assert outcome is not None
    assert (outcome.state, outcome.exit_code) == ("failed", 2)
