"""Hosts are checked before anything starts; this machine has no ssh server, so that only refusals can be shown."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from r2d2.errors import LaunchError
from r2d2.launching.hosts import Host, check_hosts, parse_hosts, placed_workers


def test_hosts_are_read_in_order() -> None:
    assert parse_hosts("one:2, 10.0.0.7:16") == (Host("one", 2), Host("10.0.0.7", 16))


@pytest.mark.parametrize("text", ["", "one", "one:", ":2", "one:0", "one:-1", "one:two", "one:2,", "-oProxyJump=x:2"])
def test_what_is_not_written_so_is_refused(text: str) -> None:
    with pytest.raises(LaunchError, match="must be like one:2,other:4") as error:
        parse_hosts(text)
    assert error.value.exit_code == 2


def test_a_host_that_is_named_twice_is_refused() -> None:
    """Horovod starts two workers in the same place, of which one aborts."""
    with pytest.raises(LaunchError, match="each host once; received one:1,other:2,one:1; add up the workers of one"):
        parse_hosts("one:1,other:2,one:1")


@pytest.mark.parametrize(
    ("workers", "placed"), [(1, "one:1"), (2, "one:2"), (3, "one:2,other:1"), (5, "one:2,other:3")]
)
def test_workers_fill_the_hosts_in_order(workers: int, placed: str) -> None:
    assert placed_workers("one:2, other:3", workers) == placed


def test_this_host_needs_no_ssh() -> None:
    assert check_hosts("localhost:3") == 3
    assert check_hosts(f"localhost:1,{socket.gethostbyname('localhost')}:2", workers=2) == 2


def test_more_workers_than_the_hosts_take_are_refused() -> None:
    with pytest.raises(LaunchError, match="--workers 4 are more than"):
        check_hosts("localhost:3", workers=4)


def test_every_host_that_cannot_be_used_is_named() -> None:
    with pytest.raises(LaunchError) as error:
        check_hosts("nowhere.invalid:1,localhost:1,also-nowhere.invalid:1")  # RFC 2606: never resolves
    said = str(error.value)
    assert said.startswith("2 of 3 hosts cannot be used: nowhere.invalid: its name does not resolve")
    assert "also-nowhere.invalid: its name does not resolve" in said
    assert "localhost:" not in said


def test_a_host_that_does_not_answer_ssh_is_named() -> None:
    """192.0.2.1 is kept free of hosts (RFC 5737)."""
    with pytest.raises(LaunchError, match=r"1 of 1 hosts cannot be used: 192\.0\.2\.1: .*ssh"):
        check_hosts("192.0.2.1:2")


@pytest.mark.slow
def test_the_command_line_says_it_in_one_line_and_makes_no_run_folder(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "r2d2", "train", "--run-dir", "run", "--hosts", "nowhere.invalid:2"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("r2d2: 1 of 1 hosts cannot be used: nowhere.invalid")
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
