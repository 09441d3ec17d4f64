"""r2d2 inspect as a user runs it."""

import json
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from typer.testing import CliRunner

from imgmed.recipe_names import RECIPE_NAMES
from r2d2.cli import app, main
from r2d2.cli import inspect as command


def write_study(root: Path, count: int = 3) -> Path:
    for number in range(count):
        for kind in ("images", "labels"):
            path = root / kind / f"Fälle {number}.nii.gz"
            path.parent.mkdir(parents=True, exist_ok=True)
            nib.save(nib.Nifti1Image(np.ones((4, 3, 2), np.uint8), np.diag([1, 2, 3, 1])), path)
    return root


def run(*arguments: object):
    return CliRunner().invoke(app, ["inspect", *map(str, arguments)])


def run_main(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """With the handling of errors around it; gives the exit code."""
    monkeypatch.setattr(sys, "argv", ["r2d2", "inspect", *map(str, arguments)])
    with pytest.raises(SystemExit) as left:
        main()
    return int(left.value.code or 0)


def test_plain_text_of_a_clean_study(tmp_path: Path) -> None:
    root = write_study(tmp_path / "study", 23)
    (root / "images" / "odd.xyz").write_text("")
    done = run(root)
    assert done.exit_code == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[:3] == [
        "study: layout pairs (folders images/ and labels/)",
        "23 cases of 23 patients for segmentation",
        "shape: 4 x 3 x 2",
    ]
    row = next(line for line in lines if line.startswith("Fälle 2 "))
    assert row.split("  ")[1:3] == ["images/Fälle 2.nii.gz", "labels/Fälle 2.nii.gz"] or "images/Fälle 2.nii.gz" in row
    assert "4 x 3 x 2" in row and "1 x 2 x 3" in row and "RAS" in row and "uint8" in row
    assert "... and 3 more cases; --all shows every one" in lines and "1 unused file:" in lines
    assert "Fälle 22" not in done.stdout and "Fälle 22" in run(root, "--all").stdout


def test_problems_are_listed_and_the_code_is_2(tmp_path: Path) -> None:
    root = write_study(tmp_path)
    (root / "labels" / "Fälle 1.nii.gz").unlink()
    done = run(root)
    assert done.exit_code == 2
    assert "1 problem:" in done.stdout and "Fälle 1.nii.gz: image without a label" in done.stdout
    assert json.loads(run(root, "--json").stdout)["problems"]


def test_json_is_json_alone(tmp_path: Path) -> None:
    done = run(write_study(tmp_path / "s", 2), "--json", "--recipe", "pairs")
    content = json.loads(done.stdout)
    assert (done.exit_code, content["recipe"], content["archive"]) == (0, "pairs", None)
    assert content["cases"][1] == {
        "case_id": "Fälle 1",
        "patient": None,
        "images": ["images/Fälle 1.nii.gz"],
        "label": "labels/Fälle 1.nii.gz",
        "shape": [4, 3, 2],
        "spacing_mm": [1.0, 2.0, 3.0],
        "orientation": "RAS",
        "channels": 1,
        "dtype": "uint8",
        "category": None,
        "split": None,
    }


def test_an_archive_is_looked_into_and_leaves_nothing(tmp_path: Path, monkeypatch, capsys) -> None:
    write_study(tmp_path / "Task")
    with tarfile.open(tmp_path / "Task.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "Task", "Task")
        pipe = tarfile.TarInfo("pipe")
        pipe.type = tarfile.FIFOTYPE
        archive.addfile(pipe)
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    done = run(tmp_path / "Task.tar.gz")
    assert done.exit_code == 0 and "3 cases of 3 patients" in done.stdout, done.output
    assert "left out of the archive: pipe" in done.stdout and "layout pairs" in done.stdout
    assert list(temporary.iterdir()) == []
    (tmp_path / "Task.tar.gz").write_bytes((tmp_path / "Task.tar.gz").read_bytes()[:200])
    assert run_main(monkeypatch, tmp_path / "Task.tar.gz") == 2
    assert "Task.tar.gz: truncated or damaged" in capsys.readouterr().err
    assert list(temporary.iterdir()) == []


def test_what_cannot_be_recognised_is_one_line(tmp_path: Path, monkeypatch, capsys) -> None:
    assert run_main(monkeypatch, tmp_path) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1 and message.startswith(f"r2d2: no image/label pairs in {tmp_path}")


def test_names_that_are_no_text_are_shown_with_their_bytes(tmp_path: Path) -> None:
    root = write_study(tmp_path / "s", 1)
    for kind in ("images", "labels"):
        path = root / kind / "Fälle 0.nii.gz"
        try:
            path.rename(os.fsdecode(os.fsencode(root / kind) + b"/odd\xff.nii.gz"))
        except OSError:
            pytest.skip("this disk takes no such names")
    done = run(root)
    assert done.exit_code == 0 and "odd\\xff" in done.stdout
    assert json.loads(run(root, "--json").stdout)["cases"][0]["case_id"] == "odd\\xff"


def test_names_cannot_command_the_terminal(tmp_path: Path) -> None:
    root = write_study(tmp_path / "s", 1)
    for kind in ("images", "labels"):
        (root / kind / "Fälle 0.nii.gz").rename(root / kind / "a\x1b[31m\nb\x9b.nii.gz")
    done = run(root)
    assert "a\\x1b[31m\\x0ab\\x9b" in done.stdout and "\x1b" not in done.stdout
    assert json.loads(run(root, "--json").stdout)["cases"][0]["case_id"] == "a\x1b[31m\nb\x9b"


def test_the_help_names_every_recipe() -> None:
    *others, last = RECIPE_NAMES
    assert f"auto, {', '.join(others)} or {last}" == command.RECIPES


def test_a_terminal_gets_a_table(tmp_path: Path) -> None:
    """A real terminal, through a pseudo-terminal."""
    import pty

    root = write_study(tmp_path / "s", 2)
    leader, follower = pty.openpty()
    arguments = [sys.executable, "-m", "r2d2", "inspect", str(root)]
    environment = os.environ | {"COLUMNS": "160", "TERM": "xterm"}
    done = subprocess.run(arguments, stdout=follower, stderr=subprocess.PIPE, env=environment, check=False)
    os.close(follower)
    text = b""
    while True:
        try:
            chunk = os.read(leader, 4096)
        except OSError:
            break
        text += chunk
    os.close(leader)
    assert done.returncode == 0, done.stderr
    assert "│" in text.decode() and "images/Fälle 1.nii.gz" in text.decode()
