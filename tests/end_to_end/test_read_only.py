"""A disk that is read-only: every command that writes says so in one line, whoever runs it, root included."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import segeval
from imgmed import PreparationSettings, prepare_dataset, write_phantom_study

pytestmark = pytest.mark.end_to_end

MOUNT = ["unshare", "--mount", *(["--user", "--map-root-user"] if os.geteuid() != 0 else [])]
READ_ONLY = 'mount -t tmpfs -o ro tmpfs "$1"; shift; exec "$@"'
COMMANDS = """
import json, sys
from r2d2.cli import main
for command in json.loads(sys.argv[1]):
    sys.argv = ["r2d2", *command]
    try:
        main()
    except SystemExit as end:
        print(f"[{end.code}]", file=sys.stderr, flush=True)
    else:
        print("[done]", file=sys.stderr, flush=True)
"""


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """Where a read-only disk is going to be mounted; a skip where nobody may mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = [*MOUNT, "sh", "-c", READ_ONLY, "sh", str(folder), "true"]
    if shutil.which("unshare") is None or subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("this system lets nobody mount a read-only disk (unshare --mount, mount -t tmpfs -o ro)")
    return folder


def test_every_command_says_so(tmp_path: Path, disk: Path) -> None:
    study, dataset, scores = tmp_path / "study", tmp_path / "dataset", tmp_path / "scores"
    write_phantom_study(study, cases=4, shape=(32, 32, 8))
    prepare_dataset(study, dataset, PreparationSettings())
    images, labels = study / "imagesTr", study / "labelsTr"
    segeval.write_evaluation(segeval.evaluate_folder(labels, labels, {"organ": (1, 2)}, metrics=("dice",)), scores)
    commands = [
        ["prepare", study, "--out", disk / "dataset"],
        ["init", "--out", disk / "deep" / "r2d2.yaml"],
        ["init", "--out", disk / "r2d2.yaml"],
        ["convert", "slices", images, "--out", disk / "pictures"],
        ["demo", "--out", disk / "demo"],
        ["train", "--dataset", dataset, "--run-dir", disk / "run", "training.epochs=1"],
        ["evaluate", "--reference", labels, "--prediction", labels, "--out", disk / "scores"],
        ["compare", scores, scores, "--metric", "dice", "--out", disk / "comparison"],
        ["report", "--evaluation", scores, "--out", disk / "report.html"],
    ]
    said = subprocess.run(
        [
            *(*MOUNT, "sh", "-c", READ_ONLY, "sh", disk, sys.executable, "-c", COMMANDS),
            json.dumps([[str(word) for word in command] for command in commands]),
        ],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    ).stderr
    answers = said.split("[2]\n")[:-1]
    assert len(answers) == len(commands), said
    for command, answer in zip(commands, answers, strict=True):
        assert "Traceback" not in answer
        *_, line = answer.strip().splitlines()
        assert line.startswith("r2d2: ") and "(read-only file system)" in line, (command, answer)
        assert str(disk) in line
