"""r2d2 inspect as a user runs it."""

import json
import os
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


@pytest.fixture(autouse=True)
def no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)


def test_plain_text_of_a_clean_study(tmp_path: Path) -> None:
    root = write_study(tmp_path / "study", 23)
    (root / "images" / "odd.xyz").write_text("")
    done = run(root)
    assert done.exit_code == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[:8] == [
        "study: layout pairs (folders images/ and labels/)",
        "23 cases of 23 patients for segmentation",
        "each case: shape 4 x 3 x 2, spacing mm 1 x 2 x 3, axes RAS, channels 1, type uint8",
        "case",
        "Fälle 0",
        "    image images/Fälle 0.nii.gz",
        "    label labels/Fälle 0.nii.gz",
        "Fälle 1",
    ]
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


def test_everything_fits_80_columns_but_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    for number, name in enumerate(("patient with a long name 1", "p2", "p3")):
        for kind, shape in (("the scan of the abdomen", (4, 3, 2 + number)), ("the scan_seg", (4, 3, 9))):
            path = tmp_path / "study of many words" / name / f"visit of {kind}.nii.gz"
            path.parent.mkdir(parents=True, exist_ok=True)
            nib.save(nib.Nifti1Image(np.ones(shape, np.float32), np.diag([1.25, 0.75, 2.5 + number, 1])), path)
    done = run(tmp_path)
    assert done.exit_code == 2 and "3 problems:" in done.stdout and "2-4" in done.stdout
    long = [line for line in done.stdout.splitlines() if len(line) > 80]
    assert all(len(line.split()) == 1 or line.lstrip().startswith(("image ", "label ")) for line in long), long
    monkeypatch.setenv("COLUMNS", "200")
    assert len(run(tmp_path).stdout.splitlines()) < len(done.stdout.splitlines())


def test_layouts_are_shown_without_a_source() -> None:
    done = run("--layouts")
    assert done.exit_code == 0 and all(f"{name}: " in done.stdout for name in RECIPE_NAMES)
    *others, last = RECIPE_NAMES
    assert f"auto, {', '.join(others)} or {last}" == command.RECIPES


def test_an_empty_folder_is_one_short_line(tmp_path: Path, monkeypatch, capsys) -> None:
    assert run_main(monkeypatch, tmp_path) == 2
    assert capsys.readouterr().err == f"r2d2: no image/label pairs in {tmp_path}: the folder is empty\n"
