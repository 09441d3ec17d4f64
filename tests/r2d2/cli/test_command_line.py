"""The command line itself: quick, quiet, with an example that works in each command's help."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from r2d2 import __version__
from r2d2.cli import app

pytestmark = pytest.mark.slow

COMMANDS = ("demo", "init", "inspect", "prepare", "train", "predict", "evaluate", "compare", "report", "doctor")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "COLUMNS": "200", "TERM": "dumb"}
    return subprocess.run(
        [sys.executable, "-m", "r2d2", *arguments], capture_output=True, text=True, env=environment, check=False
    )


def test_every_command_is_listed() -> None:
    done = run("--help")
    assert done.returncode == 0
    for command in COMMANDS:
        assert re.search(rf"\b{command}\b", done.stdout), command
    assert "worker " not in done.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_each_help_shows_an_example_whose_options_exist(command: str) -> None:
    done = run(command, "--help")
    assert done.returncode == 0
    text = " ".join(done.stdout.split())
    example = re.search(rf"Example: (?:horovodrun -np 2 )?r2d2 {command}([^│╭]*)", text)
    assert example is not None, done.stdout
    known = {name for parameter in typer.main.get_command(app).commands[command].params for name in parameter.opts}  # type: ignore[attr-defined]
    assert set(re.findall(r"--[a-z-]+", example[1].split("Options")[0])) <= known | {"--help"}


def test_help_loads_nothing_slow() -> None:
    """So that it takes half a second: each of these alone would add to that, TensorFlow ten times as much."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "r2d2", "--help"], capture_output=True, text=True, check=True
    )
    loaded = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert "typer" in loaded
    slow = {"SimpleITK", "cv2", "keras", "matplotlib", "nibabel", "pydantic", "pydicom", "scipy", "tensorflow", "yaml"}
    assert loaded & slow == set()


def test_version() -> None:
    assert run("--version").stdout == f"r2d2 {__version__}\n"


def test_the_version_is_that_of_the_package() -> None:
    pyproject = (Path(__file__).parents[3] / "pyproject.toml").read_text()
    assert f'version = "{__version__}"' in pyproject
