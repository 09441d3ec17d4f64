"""A Docker daemon of a test's own: its folders, its socket, no rule of the firewall; ended by its process."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

__all__ = ["Docker", "daemon", "state_of_the_network"]

PATIENCE_S = 1800.0  # only ends what hangs: Horovod is compiled
DEBIAN = "/usr/sbin:/usr/bin:/sbin:/bin"
NEEDED = {"dockerd": "docker.io", "docker": "docker.io", "iptables-save": "iptables", "mmdebstrap": "mmdebstrap"}


class Docker:
    """What talks to the daemon.

    Attributes:
        folder: all that the daemon writes is in it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("DOCKER_", "COMPOSE_"))},
            "DOCKER_HOST": f"unix://{folder}/docker.sock",
            "DOCKER_BUILDKIT": "1",
            "DOCKER_CONFIG": str(folder / "client"),
            "PATH": f"{DEBIAN}:{os.environ['PATH']}",  # the client that came with the daemon
        }

    def __call__(self, *words: object, check: bool = True) -> str:
        """Run `docker` with these words; gives what it said, on both channels."""
        command = ["docker", *map(str, words)]
        done = subprocess.run(
            command,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            timeout=PATIENCE_S,
        )
        assert not check or done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-6000:]}"
        return done.stdout

    def is_up(self) -> bool:
        """Whether the daemon answers."""
        return "Server Version" in self("info", check=False)


@contextmanager
def daemon(folder: Path) -> Iterator[Docker]:
    """Start one while the block runs.

    Args:
        folder: for all its files, with a short path: sockets have at most 107 characters.
    """
    missing = {package for tool, package in NEEDED.items() if shutil.which(tool, path=DEBIAN) is None}
    if missing or os.geteuid() != 0:
        pytest.fail(
            "these tests start a Docker daemon, as root, with Debian's packages; `make test-containers` installs them"
            + (f": apt-get install -y --no-install-recommends {' '.join(sorted(missing))}" if missing else "")
        )
    docker = Docker(folder)
    where = [f"--data-root={folder}/data", f"--exec-root={folder}/exec", f"--pidfile={folder}/pid"]
    quiet = ["--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false", "--bridge=none"]
    command = ["dockerd", f"--host={docker.environment['DOCKER_HOST']}", *where, *quiet]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, env=docker.environment, stdout=log, stderr=log)
    try:
        end = time.monotonic() + 120
        while not docker.is_up():
            assert process.poll() is None and time.monotonic() < end, (folder / "log").read_text()[-3000:]
            time.sleep(0.2)
        yield docker
        docker("ps")  # it still answers
    finally:
        process.terminate()  # containers that are left end with it
        process.wait(timeout=120)
        _let_go(folder)


def _let_go(folder: Path) -> None:
    """Take away what a daemon leaves mounted below its folder, which else could not be removed."""
    places = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for place in reversed([one for one in places if one.startswith(f"{folder}/")]):
        subprocess.run(["umount", place], check=True, env={**os.environ, "PATH": DEBIAN})


def state_of_the_network() -> tuple[list[str], list[str], str]:
    """What a daemon could leave behind: interfaces, rules of the firewall, whether the host forwards."""
    environment = {**os.environ, "PATH": f"{DEBIAN}:{os.environ['PATH']}"}
    rules = subprocess.run(["iptables-save"], env=environment, capture_output=True, text=True).stdout
    return (
        sorted(path.name for path in Path("/sys/class/net").iterdir()),
        [line.partition(" [")[0] for line in rules.splitlines() if not line.startswith("#")],
        Path("/proc/sys/net/ipv4/ip_forward").read_text(),
    )
