"""The hosts of a job: understood, and checked before anything starts there."""

from __future__ import annotations

import socket
import subprocess
from concurrent.futures import ThreadPoolExecutor, TimeoutError
from dataclasses import dataclass

import psutil

from r2d2.errors import LaunchError
from r2d2_base.machine import own_name_fault

__all__ = ["Host", "check_hosts", "parse_hosts", "placed_workers"]

ANSWER_SECONDS = 5.0
_IS_LOST = 96
_FINDS_ITSELF = f'! command -v getent >/dev/null || getent ahosts "$(uname -n)" >/dev/null || exit {_IS_LOST}'
"""Asks a host for its own name, without which its workers would crash; nothing where it has no way to tell."""


@dataclass(frozen=True)
class Host:
    """Where workers run.

    Attributes:
        name: as ssh knows it.
        workers: how many run there.
    """

    name: str
    workers: int


def parse_hosts(text: str) -> tuple[Host, ...]:
    """Read "one:2,other:4".

    Args:
        text: names with numbers of workers.

    Returns:
        The hosts in order.

    Raises:
        LaunchError: where it is not written so, or a host is named twice.

    >>> [host.workers for host in parse_hosts("one:2,other:4")]
    [2, 4]
    """
    hosts: list[Host] = []
    for word in text.split(","):
        name, _, workers = word.strip().rpartition(":")
        if not name or name.startswith("-") or not workers.isdecimal() or int(workers) < 1:
            raise LaunchError(f"--hosts must be like one:2,other:4 (host:workers); received {word.strip()!r}", 2)
        if any(name == host.name for host in hosts):  # Horovod would give the same place to two workers
            raise LaunchError(f"--hosts must name each host once; received {text}; add up the workers of {name}", 2)
        hosts.append(Host(name, int(workers)))
    return tuple(hosts)


def placed_workers(text: str, workers: int) -> str:
    """Say where so many workers run: horovodrun starts as many as its hosts are said to take, whatever ``-np`` says.

    Args:
        text: see ``parse_hosts``.
        workers: at most as many as the hosts take; they fill the hosts in order.

    Returns:
        Hosts that take no more.

    >>> placed_workers("one:2,other:4,third:1", 3)
    'one:2,other:1'
    """
    placed = []
    for host in parse_hosts(text):
        here = min(host.workers, workers)
        workers -= here
        placed += [f"{host.name}:{here}"] if here else []
    return ",".join(placed)


def check_hosts(text: str, workers: int | None = None) -> int:
    """Refuse hosts whose names do not resolve, or that do not let ssh in within a few seconds.

    Args:
        text: see ``parse_hosts``.
        workers: how many shall run in all; None: as many as the hosts are said to take.

    Returns:
        The number of workers.

    Raises:
        LaunchError: naming every host that cannot be used, and why.
    """
    hosts = parse_hosts(text)
    room = sum(host.workers for host in hosts)
    if workers is not None and workers > room:
        raise LaunchError(f"--workers {workers} are more than --hosts {text} take ({room}); leave --workers out", 2)
    names = list(dict.fromkeys(host.name for host in hosts))
    pool = ThreadPoolExecutor(len(names))
    answers = [(name, pool.submit(_fault, name)) for name in names]
    faults = []
    for name, answer in answers:
        try:
            fault = answer.result(timeout=2 * ANSWER_SECONDS)
        except TimeoutError:
            fault = "no answer from the name server"
        faults += [f"{name}: {fault}"] if fault else []
    pool.shutdown(wait=False, cancel_futures=True)
    if faults:
        raise LaunchError(
            f"{len(faults)} of {len(names)} hosts cannot be used: {'; '.join(faults)}; each must let "
            "'ssh HOST true' in without a password",
            2,
        )
    return room if workers is None else workers


def _fault(name: str) -> str | None:
    """Say why no worker can be started on a host; None where one can."""
    try:
        address = socket.gethostbyname(name)
    except OSError as error:
        return f"its name does not resolve ({error.strerror or error})"
    if address in _own_addresses():
        return own_name_fault()
    options = ("-o", "BatchMode=yes", "-o", f"ConnectTimeout={ANSWER_SECONDS:.0f}")
    try:
        done = subprocess.run(
            ["ssh", *options, name, _FINDS_ITSELF],
            capture_output=True,
            text=True,
            timeout=1.5 * ANSWER_SECONDS,
            check=False,
        )
    except FileNotFoundError:
        return "ssh is not installed here"
    except subprocess.TimeoutExpired:
        return f"ssh gave no answer within {1.5 * ANSWER_SECONDS:.0f} s"
    if done.returncode == _IS_LOST:
        return "its own name does not resolve there, so that workers would crash (it belongs into its /etc/hosts)"
    words = done.stderr.strip().splitlines()
    return None if done.returncode == 0 else (words[-1] if words else f"ssh ended with exit code {done.returncode}")


def _own_addresses() -> set[str]:
    interfaces = psutil.net_if_addrs().values()
    return {address.address for addresses in interfaces for address in addresses if address.family == socket.AF_INET}
