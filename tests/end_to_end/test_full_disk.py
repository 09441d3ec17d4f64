"""No room left on the disk: a real small disk, one clear line, exit code 2, nothing half-written."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from imgmed import PreparationSettings, prepare_dataset, write_phantom_study

pytestmark = pytest.mark.end_to_end

R2D2 = str(Path(sys.executable).with_name("r2d2"))
MOUNT = ["unshare", "--mount", *(["--user", "--map-root-user"] if os.geteuid() != 0 else [])]


@pytest.fixture(scope="module", autouse=True)
def _small_disks_can_be_mounted() -> None:
    command = [*MOUNT, "mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", "/mnt"]
    if shutil.which("unshare") is None or subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("this system lets nobody mount a small disk (unshare --mount, mount -t tmpfs)")


def run_on_small_disk(kilobytes: int, disk: Path, *arguments: object) -> tuple[int, str, list[str]]:
    """Run r2d2 where ``disk`` is that small; give its exit code, what it said, and the files left on the disk."""
    mount = 'disk=$1; size=$2; shift 2; mount -t tmpfs -o size=$size tmpfs "$disk"'
    script = f'{mount}; "$@"; code=$?; find "$disk" -type f; exit $code'
    command = [*MOUNT, "sh", "-c", script, "sh", str(disk), f"{kilobytes}k", R2D2, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    return done.returncode, done.stderr, done.stdout.split()


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    (tmp_path / "disk").mkdir()
    return tmp_path / "disk"


def test_prepare(tmp_path: Path, disk: Path) -> None:
    write_phantom_study(tmp_path / "study", cases=4, shape=(32, 32, 8))
    code, said, left = run_on_small_disk(64, disk, "prepare", tmp_path / "study", "--out", disk / "dataset")
    assert code == 2
    assert "make room or choose a folder on another disk" in said
    assert "Traceback" not in said
    assert left == []


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.long)])
def test_train(tmp_path: Path, disk: Path, workers: int) -> None:
    """Room for the configuration and a few events, none for a network."""
    write_phantom_study(tmp_path / "study", cases=4, shape=(32, 32, 8))
    prepare_dataset(tmp_path / "study", tmp_path / "dataset", PreparationSettings())
    network = ("network.base_filters=16", "network.depth=3", "training.epochs=1", "training.warmup_epochs=0")
    run = ("--run-dir", disk / "run", "--workers", workers)
    code, said, left = run_on_small_disk(256, disk, "train", "--dataset", tmp_path / "dataset", *run, *network)
    assert code == 2, said
    assert "no room left on the disk" in said
    assert "--resume" in said
    assert "Traceback" not in said
    networks = [name for name in left if name.endswith((".npz", ".keras")) and "/samples/" not in name]
    assert networks == [] and not any("partial" in name for name in left)
