"""`r2d2 prepare` killed at random moments, many times: nothing half-written, and the end is as if nothing had been."""

import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from imgmed import PreparedDataset, write_phantom_study

pytestmark = pytest.mark.end_to_end

R2D2 = str(Path(sys.executable).with_name("r2d2"))
KILLS = 3


def contents(folder: Path) -> dict[str, bytes]:
    """{file: bytes}; the report without the minute in which it was written."""
    found = {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    report, count = re.subn(rb"written \d{4}-\d\d-\d\d \d\d:\d\d UTC", b"", found["dataset.html"])
    assert count
    return found | {"dataset.html": report}


def start(study: Path, out: Path, said: Path) -> subprocess.Popen:
    command = [R2D2, "prepare", str(study), "--out", str(out), "--workers", "2"]
    with said.open("wb") as stream:
        return subprocess.Popen(command, stderr=stream, start_new_session=True)


def count_files(folder: Path) -> int:
    return sum(len(names) for _, _, names in os.walk(folder))


def wait_for_files(folder: Path, number: int, process: subprocess.Popen) -> None:
    """Wait until there are so many files, or a process ends: a moment in its work, however fast that goes."""
    while count_files(folder) < number and process.poll() is None:
        time.sleep(0.001)


def test_kills_at_random_moments(tmp_path: Path) -> None:
    study = tmp_path / "study"
    write_phantom_study(study, cases=6, shape=(32, 32, 8))
    said = tmp_path / "said"
    assert start(study, tmp_path / "a" / "out", said).wait(300) == 0, said.read_text()
    out = tmp_path / "b" / "out"
    out.parent.mkdir()
    moments = sorted(random.Random(0).sample(range(count_files(tmp_path / "a" / "out")), KILLS))
    killed = 0
    for number, moment in enumerate(moments):
        process = start(study, out, said)
        wait_for_files(out.with_name(".out.unfinished"), moment, process)
        os.killpg(process.pid, signal.SIGKILL if number % 3 else signal.SIGTERM)
        killed += process.wait(60) != 0
        if out.exists():
            PreparedDataset.read(out)  # complete, or it would not be there
    assert killed, "every run was over before it was killed"
    assert start(study, out, said).wait(300) == 0, said.read_text()
    assert sorted(path.name for path in out.parent.iterdir()) == ["out"]
    expected, found = contents(tmp_path / "a" / "out"), contents(out)
    assert sorted(found) == sorted(expected)
    assert [name for name in expected if found[name] != expected[name]] == []


def test_ctrl_c_says_how_to_go_on(tmp_path: Path) -> None:
    study = tmp_path / "study"
    write_phantom_study(study, cases=8, shape=(32, 32, 8))
    said = tmp_path / "said"
    process = start(study, tmp_path / "out", said)
    unfinished = tmp_path / ".out.unfinished" / "survey"
    wait_for_files(unfinished, 1, process)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130, said.read_text()
    assert "the same command goes on" in said.read_text()
    assert not (tmp_path / "out").exists()
    done = {path.name: path.stat().st_ino for path in unfinished.glob("*.json")}
    assert start(study, tmp_path / "out", said).wait(300) == 0, said.read_text()
    kept = {path.name: path.stat().st_ino for path in (tmp_path / "out" / "survey").glob("*.json")}
    assert done.items() <= kept.items(), "records were made again"
