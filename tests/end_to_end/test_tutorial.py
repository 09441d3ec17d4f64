"""The tutorial's commands, in their order, as they stand there: on a few of its own scans, by a tiny network."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from segeval import read_evaluation

pytestmark = [pytest.mark.end_to_end, pytest.mark.real_data]

PAGE = Path(__file__).resolve().parents[2] / "docs" / "tutorial.md"
TINY = "training: {epochs: 1, batch_size_per_worker: 8, sample_predictions: 1}\nnetwork: {base_filters: 4, depth: 2}\n"


def some_scans(source: Path, folder: Path, count: int) -> None:
    """A study of a few of the cases of another, among them the one that the tutorial names."""
    index = json.loads((source / "dataset.json").read_text(encoding="utf-8"))
    named = [entry for entry in index["training"] if "hippocampus_308" in entry["image"]]
    index["training"] = index["training"][:count] + named
    index["numTraining"], index["test"], index["numTest"] = len(index["training"]), [], 0
    for entry in index["training"]:
        for path in (entry["image"], entry["label"]):
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).symlink_to((source / path).resolve())
    (folder / "dataset.json").write_text(json.dumps(index), encoding="utf-8")


@pytest.mark.distributed
def test_the_commands_of_the_tutorial(real_data: Path, tmp_path: Path) -> None:
    some_scans(real_data / "hippocampus_msd", tmp_path / "Task04_Hippocampus", 10)
    (tmp_path / "r2d2.yaml").write_text(TINY, encoding="utf-8")
    commands = [line.strip() for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("    r2d2 ")]
    assert len(commands) == 8
    environment = os.environ | {"PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])}
    for command in commands:
        words = shlex.split(command)
        done = subprocess.run(
            words, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600, check=False
        )
        assert done.returncode == 0, (command, done.stderr[-2000:])
    work = tmp_path / "work"
    assert all((work / name).is_file() for name in ("hippocampus/dataset.html", "run/model.keras", "report.html"))
    cases = {case.case_id for case in read_evaluation(work / "evaluation").cases}
    assert cases == {path.name.removesuffix(".nii.gz") for path in (work / "predictions").glob("*.nii.gz")} != set()
    shipped = read_evaluation(work / "shipped_evaluation").cases[0]
    dice = [score.values["dice"] for score in shipped.scores]
    assert dice == pytest.approx([0.951, 0.935], abs=0.003)  # as the page says; processors round in their own ways
