"""What a launcher has told this process in environment variables, and whether it still holds."""

from __future__ import annotations

import os
from contextlib import closing

from r2d2_base.errors import ConfigurationError
from r2d2_base.machine import own_name_fault, own_name_remedy

__all__ = ["check_job", "check_own_name", "launched_rank", "launched_world_size"]

SIZE = "HOROVOD_SIZE"
_SIZES = (SIZE, "OMPI_COMM_WORLD_SIZE")
_RANKS = ("HOROVOD_RANK", "OMPI_COMM_WORLD_RANK")
_ADDRESS, _PORT = "HOROVOD_GLOO_RENDEZVOUS_ADDR", "HOROVOD_GLOO_RENDEZVOUS_PORT"
_PLACES = tuple(f"HOROVOD_{name}" for name in ("RANK", "LOCAL_RANK", "LOCAL_SIZE", "CROSS_RANK", "CROSS_SIZE"))

ANSWER_SECONDS = 5.0
ATTEMPTS = 3
"""Thousands of workers may ask their launcher at the same time."""


def launched_world_size() -> int | None:
    """Give the number of workers of the job that a launcher started this process in; None without a launcher.

    Raises:
        ConfigurationError: the environment variable that says so holds no such number.
    """
    return _number(_SIZES, least=1)


def launched_rank() -> int:
    """Give this process's rank in the launcher's job; 0 without one.

    Raises:
        ConfigurationError: the environment variable that says so holds no such number.
    """
    return _number(_RANKS, least=0) or 0


def check_job(world_size: int) -> None:
    """Refuse to join a job that is not there, or whose workers would crash, where Horovod would abort the process.

    Args:
        world_size: workers of the job.

    Raises:
        ConfigurationError: variables of an earlier job are left over, or the host's own name does not resolve.
    """
    if SIZE not in os.environ:  # mpirun's job, and MPI's matter
        return
    reason = _lack()
    if reason is not None:
        raise ConfigurationError(
            f"{SIZE}={world_size} says that this is one of {world_size} workers, but {reason}: it is left over from "
            "another job; unset the variables that begin with HOROVOD_, or start the workers with horovodrun"
        )
    check_own_name()


def check_own_name() -> None:
    """Refuse several workers on a host that they would not find by its own name.

    Raises:
        ConfigurationError: saying what the name leads to, and what helps.
    """
    fault = own_name_fault()
    if fault is not None:
        raise ConfigurationError(f"{fault}, so that several workers would crash; as root: {own_name_remedy()}")


def _number(names: tuple[str, ...], *, least: int) -> int | None:
    """Read the first of some variables that is there."""
    for name in names:
        text = os.environ.get(name)
        if text is None:
            continue
        if not text.isdecimal() or int(text) < least:
            raise ConfigurationError(
                f"{name} must be a whole number of at least {least}, as launchers set it; received {text!r}; unset it"
            )
        return int(text)
    return None


def _lack() -> str | None:
    """Say what a job that is still there would have."""
    missing = [name for name in (*_PLACES, _ADDRESS, _PORT) if not os.environ.get(name)]
    if missing:
        return f"{missing[-1]} is not set"
    address, port = os.environ[_ADDRESS], os.environ[_PORT]
    is_there = port.isdecimal() and any(_answers(address, int(port)) for _ in range(ATTEMPTS))
    return None if is_there else f"no launcher answers at {address}:{port}"


def _answers(address: str, port: int) -> bool:
    """Tell whether a launcher's rendezvous, where the workers of its job find each other, is there."""
    import http.client  # a tenth of the start of the command line, which only workers need

    try:
        with closing(http.client.HTTPConnection(address, port, timeout=ANSWER_SECONDS)) as connection:
            connection.request("GET", "/r2d2/is-there")  # a key that it does not have, as workers ask for them
            connection.getresponse()
    except (OSError, http.client.HTTPException):
        return False
    return True
