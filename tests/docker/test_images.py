"""The Dockerfiles and what goes into both images, as far as no daemon is needed; tests/containers builds and runs."""

import importlib.metadata
import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
DOCKER = REPOSITORY / "docker"
DOCKERFILES = ("Dockerfile", "gpu.Dockerfile")
SHARED = f"\n# {'-' * 117}\n"


@pytest.mark.parametrize("name", DOCKERFILES)
def test_hadolint_finds_nothing(name: str) -> None:
    tool = Path(sys.executable).parent / "hadolint"
    found = subprocess.run([tool, "--no-color", DOCKER / name], capture_output=True, text=True)
    assert (found.returncode, found.stdout) == (0, ""), found.stdout + found.stderr


def test_both_images_end_alike() -> None:
    ends = [(DOCKER / name).read_text(encoding="utf-8").split(SHARED)[1] for name in DOCKERFILES]
    assert ends[0] == ends[1]
    assert re.findall(r"^USER (.+)$", ends[0], re.MULTILINE) == ["1000:1000"]


@pytest.mark.parametrize("name", DOCKERFILES)
def test_every_base_is_an_argument(name: str) -> None:
    text = (DOCKER / name).read_text(encoding="utf-8")
    bases = re.findall(r"^FROM (\S+)", text, re.MULTILINE)
    arguments = re.findall(r"^ARG (\w+)=", text, re.MULTILINE)
    assert len(bases) == 2 and {base.strip("${}") for base in bases} == set(arguments)


def test_what_is_copied_is_sent_to_the_daemon() -> None:
    sent = re.findall(r"^!(.+)$", (REPOSITORY / ".dockerignore").read_text(encoding="utf-8"), re.MULTILINE)
    assert [name for name in sent if not (REPOSITORY / name).exists()] == []
    copied = {name for name in sent if name.startswith("docker/")}
    text = (DOCKER / "Dockerfile").read_text(encoding="utf-8")
    assert copied == set(re.findall(r"docker/\w+\.(?:py|sh)", text.partition("ARG BASE")[2]))


def test_the_gpu_image_has_the_cuda_that_tensorflow_asks_for() -> None:
    asked = importlib.metadata.requires("tensorflow-cpu") or []
    wanted = {line.partition(" ;")[0].replace(" ", "") for line in asked if "and-cuda" in line}
    lines = (REPOSITORY / "requirements" / "gpu.txt").read_text(encoding="utf-8").splitlines()
    pins = {line for line in lines if line and not line.startswith("#")}
    assert len(wanted) > 10
    assert wanted == {pin for pin in pins if pin.startswith("nvidia-")}
    version = importlib.metadata.version("tensorflow-cpu")
    assert {f"tensorflow=={version}"} == {pin for pin in pins if pin.startswith("tensorflow")}


def test_secrets_are_made_once_for_their_owner_alone_and_never_shown(tmp_path: Path) -> None:
    def run() -> tuple[str, dict[str, str]]:
        command = [sys.executable, str(DOCKER / "make_secrets.py"), str(tmp_path)]
        done = subprocess.run(command, capture_output=True, text=True, check=True, preexec_fn=lambda: os.umask(0))
        return done.stdout + done.stderr, {path.name: path.read_text() for path in tmp_path.iterdir()}

    said, made = run()
    assert set(made) == {"influx_password", "influx_token", "grafana_password"}
    assert len(set(made.values())) == 3 and min(map(len, made.values())) >= 40
    assert {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in made} == {0o600}
    assert str(tmp_path) in said and not any(secret in said for secret in made.values())
    (tmp_path / "grafana_password").unlink()
    _, again = run()
    assert {name for name in made if made[name] != again[name]} == {"grafana_password"}


def test_secrets_that_cannot_be_made_end_the_start(tmp_path: Path) -> None:
    command = [sys.executable, str(DOCKER / "make_secrets.py"), str(tmp_path / "absent")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1 and done.stdout.startswith("the secrets cannot be made: ") and done.stderr == ""
