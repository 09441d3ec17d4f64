"""horovodrun as R2D2 starts it."""

import os
import subprocess
from pathlib import Path

import pytest

from r2d2.launching.horovodrun import HOROVODRUN


def test_workers_start_without_tensorflow_being_loaded_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The start of TensorFlow would fail here, and horovodrun would say that Horovod has no Gloo."""
    (tmp_path / "tensorflow.py").write_text("raise ImportError('blocked by the test')")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ["PYTHONPATH"]]))
    script = "echo $HOROVOD_CONTROLLER $HOROVOD_RANK of $HOROVOD_SIZE"
    done = subprocess.run([*HOROVODRUN, "-np", "2", "sh", "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert sorted(line.split(":")[-1] for line in done.stdout.splitlines()) == ["gloo 0 of 2", "gloo 1 of 2"]
