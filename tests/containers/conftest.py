"""A Docker daemon, and the images, made once for all tests here: nothing can be pulled, so the base is made too."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.containers.daemon import PATIENCE_S, Docker, daemon, state_of_the_network

REPOSITORY = Path(__file__).resolve().parents[2]
BASE = "r2d2-test/debian:12"
VICTORIA = "r2d2-test/victoria-metrics"
CERTIFICATES = "/usr/local/share/ca-certificates"
BUNDLE = "/etc/ssl/certs/ca-certificates.crt"


@pytest.fixture(scope="session")
def docker() -> Iterator[Docker]:
    """A daemon; what it built is kept between runs in $R2D2_TEST_DOCKER, where that names a folder."""
    before = state_of_the_network()
    with ExitStack() as stack:
        named = os.environ.get("R2D2_TEST_DOCKER")
        # pytest's own folders have too long a path for a socket
        folder = Path(named) if named else Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="r2d2-docker-")))
        folder.mkdir(exist_ok=True)
        with daemon(folder) as found:
            yield found
    assert state_of_the_network() == before


@pytest.fixture(scope="session")
def base(docker: Docker) -> str:
    """Debian 12, by mmdebstrap; with this machine's certificates and settings of pip, where it has some."""
    if docker("images", "--quiet", BASE):
        return BASE
    archive = docker.folder / "base.tar"
    command = ["mmdebstrap", "--quiet", "--variant=minbase", "--include=ca-certificates"]
    if Path(CERTIFICATES).is_dir():
        command.append(f"--customize-hook=copy-in {CERTIFICATES} {Path(CERTIFICATES).parent}")
    if Path("/etc/pip.conf").is_file():
        command.append("--customize-hook=copy-in /etc/pip.conf /etc")
    command += ['--customize-hook=chroot "$1" update-ca-certificates', "bookworm", str(archive)]
    done = subprocess.run(command, env=docker.environment, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr[-3000:]
    # npm has certificates of its own
    docker("import", "--change", f"ENV NODE_EXTRA_CA_CERTS={BUNDLE}", archive, BASE)
    archive.unlink()
    return BASE


def build(docker: Docker, base: str, file: str, tag: str) -> str:
    # the host's network: where nothing can be pulled, names may be known to the host alone
    words = ("build", "--network=host", f"--build-arg=BASE={base}", f"--tag={tag}", f"--file={REPOSITORY / file}")
    docker(*words, REPOSITORY)
    return tag


@pytest.fixture(scope="session")
def image(docker: Docker, base: str) -> str:
    """R2D2's image for processors, from this checkout."""
    return build(docker, base, "docker/Dockerfile", "r2d2")


@pytest.fixture(scope="session")
def victoria(docker: Docker, base: str) -> str:
    return build(docker, base, "tests/containers/victoria.Dockerfile", VICTORIA)


@pytest.fixture(scope="session")
def compose_command() -> list[str]:
    found = shutil.which("docker-compose", path=str(Path(sys.executable).parent))
    assert found is not None, "make install-tests brings it"
    return [found]
