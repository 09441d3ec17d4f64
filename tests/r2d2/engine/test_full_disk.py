"""A disk that is full while a job waits: the job fails and says why, the engine goes on."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

MOUNT = ["unshare", "--mount", *(["--user", "--map-root-user"] if os.geteuid() != 0 else [])]


@pytest.mark.parametrize("is_apart", [True, False], ids=["index elsewhere", "index on it"])
def test_the_engine_goes_on(tmp_path: Path, is_apart: bool) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    command = [*MOUNT, "mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(disk)]
    if shutil.which("unshare") is None or subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("this system lets nobody mount a small disk (unshare --mount, mount -t tmpfs)")
    database = f"sqlite:///{tmp_path}/index.sqlite" if is_apart else "none"
    script = 'mount -t tmpfs -o size=512k tmpfs "$1"; shift; exec "$@"'
    program = [sys.executable, "-m", "tests.r2d2.engine.full_disk", disk, database, tmp_path / "journal"]
    done = subprocess.run(
        [*MOUNT, "sh", "-c", script, "sh", str(disk), *map(str, program)], capture_output=True, text=True, timeout=500
    )
    assert done.returncode == 0, done.stderr
    said = dict(line.split(": ", 1) for line in done.stdout.splitlines() if ": " in line)
    assert "no room left on the disk" in said["refused"] or "is full" in said["refused"]
    if is_apart:
        assert said["while full"].startswith("failed the job could not be started: no room left on the disk")
    else:
        assert "full" in said["goes on"]  # nothing can be written down, and nothing is lost
    assert said["resumed"] == "completed"
    assert said["after"] == "completed 2"
    assert (tmp_path / "journal").read_text().count("begin") in (2, 3)
