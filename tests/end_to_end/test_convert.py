"""`r2d2 convert` as a user runs it."""

import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from typing import NamedTuple

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from r2d2.cli import main

pytestmark = pytest.mark.end_to_end


class Ended(NamedTuple):
    """What a command printed and ended with."""

    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def r2d2(study, capfd, monkeypatch) -> Callable[..., Ended]:
    """`r2d2 convert ...` in the folder of the study, within this process: a new one takes a second to start."""

    def run(*arguments: str) -> Ended:
        monkeypatch.setattr(sys, "argv", ["r2d2", "convert", *arguments])
        monkeypatch.setenv("COLUMNS", "200")
        monkeypatch.chdir(study)
        with pytest.raises(SystemExit) as ended:
            main()
            sys.exit(0)
        return Ended(ended.value.code or 0, *capfd.readouterr())

    return run


@pytest.fixture
def study(tmp_path):
    """A folder with a space and an accent in its name, with three scans."""
    for number in range(3):
        array = np.random.default_rng(number).integers(0, 4000, (20, 16, 6, 2)).astype(np.int16)
        path = tmp_path / "mes études" / "scans" / f"patient {number}.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        nib.save(nib.Nifti1Image(array, np.eye(4)), path)
    return tmp_path / "mes études"


@pytest.mark.parametrize("command", ["slices", "pictures"])
def test_the_example_in_the_help_works(r2d2, study, command):
    text = " ".join(r2d2(command, "--help").stdout.split())
    example = re.search(rf"Example: r2d2 convert {command}([^│╭]*?)(?= ╭)", text)
    assert example is not None, text
    if command == "pictures":
        assert r2d2("slices", "scans", "--out", "photos", "--colour", "rgb").returncode == 0
    done = r2d2(command, *shlex.split(example[1]))
    assert done.returncode == 0, done.stderr
    pictures = sorted((study / shlex.split(example[1])[2]).glob("*.png"))
    assert len(pictures) == {"slices": 36, "pictures": 18}[command]
    with Image.open(pictures[0]) as picture:
        assert picture.size == (350, 350) and picture.mode == {"slices": "I;16", "pictures": "L"}[command]


def test_a_second_run_says_that_there_is_nothing_to_do(r2d2, study):
    first = r2d2("slices", "scans", "--out", "out", "--axis", "sagittal", "--slices", "2", "--channels", "1")
    assert (first.returncode, first.stderr.splitlines()[-1]) == (0, "6 pictures of 3 files in out")
    second = r2d2("slices", "scans", "--out", "out", "--axis", "sagittal", "--slices", "2", "--channels", "1")
    assert second.stderr.splitlines()[-1] == "nothing to do: 6 pictures of 3 files in out are up to date"
    assert sorted(path.name for path in (study / "out").glob("*1.png"))[0] == "patient 0_x005_0001.png"


def test_a_window_is_typed_as_intensities_percentiles_or_values(r2d2, study):
    for window, name in (("-100,240", "a"), ("1%,99%", "b"), ("values", "c")):
        bits = ("--bits", "16")
        done = r2d2("slices", "scans", "--out", name, "--window", window, "--slices", "1", *bits)
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("slices", "nowhere", "--out", "x"), "no such file or folder: nowhere"),
        (("slices", "scans", "--out", "x", "--size", "large"), "--size is HEIGHTxWIDTH in pixels, like 350x350"),
        (("slices", "scans", "--out", "x", "--window", "wide"), "--window is numbers"),
        (("slices", "scans", "--out", "x", "--channels", "a"), "--channels is numbers"),
        (("slices", "scans", "--out", "x", "--bits", "16", "--format", "jpg"), "JPEG holds 8 bits"),
        (("slices", "scans", "--out", "scans/x"), "choose a folder beside them"),
        (("pictures", "scans", "--out", "x"), "scans: no pictures"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(r2d2, study, arguments, sentence):
    done = r2d2(*arguments)
    assert done.returncode == 2 and sentence in done.stderr
    assert len(done.stderr.splitlines()) == 1 and done.stderr.startswith("r2d2: ")
    assert not (study / "x").exists()


def test_broken_files_are_listed_at_the_end_with_exit_code_2(r2d2, study):
    (study / "scans" / "patient 1.nii.gz").write_bytes(b"nothing")
    done = r2d2("slices", "scans", "--out", "out")
    assert done.returncode == 2
    assert "1 of 3 files could not be converted; the other 2 are done" in done.stderr
    assert "patient 1.nii.gz: " in done.stderr.splitlines()[-1]
    assert len(list((study / "out").glob("*.png"))) == 24


CTRL_C_AT_THE_SECOND_SOURCE = """
import os, signal, sys
from r2d2.cli import main
noted = []
def note(event, given):
    if event == "open" and str(given[0]).endswith("conversion.jsonl") and given[2] & os.O_APPEND:
        noted.append(given)
        if len(noted) == 2:
            os.killpg(0, signal.SIGINT)
sys.addaudithook(note)
main()
"""


def test_ctrl_c_ends_it_cleanly(r2d2, study):
    """A run with workers that is interrupted leaves no process and no half-written file, and can go on."""
    big = np.random.default_rng(9).integers(0, 4000, (80, 80, 80)).astype(np.int16)
    for number in range(6):
        nib.save(nib.Nifti1Image(big, np.eye(4)), study / "scans" / f"big {number}.nii")
    arguments = ["slices", "scans", "--out", "out", "--size", "100", "--workers", "2"]
    command = [sys.executable, "-c", CTRL_C_AT_THE_SECOND_SOURCE, "convert", *arguments]
    done = subprocess.run(command, cwd=study, capture_output=True, text=True, start_new_session=True)
    assert done.returncode == 130 and "Traceback" not in done.stderr, done.stderr
    assert list((study / "out").rglob("*.partial")) == []
    assert r2d2(*arguments).returncode == 0
    assert len(list((study / "out").glob("*.png"))) == 6 * 80 + 36
