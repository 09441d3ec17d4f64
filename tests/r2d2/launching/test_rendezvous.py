"""Who may say what where the workers of a job find each other; the keys are those of Horovod 0.28.1."""

import http.client
import os
import socket
from collections.abc import Iterator

import psutil
import pytest

from r2d2.launching.rendezvous import LARGEST_VALUE, Exchange, Rendezvous
from r2d2.launching.socket_owner import owner_of_peer

SET = "_process_set_hash_512d4d557435ff2d"
SIZES = {"global": 2, "local_localhost": 2, "cross_0": 1, "cross_1": 1}


@pytest.fixture
def rendezvous() -> Iterator[Rendezvous]:
    one = Rendezvous(2)
    yield one
    one.close()


def ask(rendezvous: Rendezvous, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", rendezvous.port, timeout=60)
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    value = answer.read()
    connection.close()
    return answer.status, value


def test_what_one_worker_puts_the_other_gets_until_both_are_connected(rendezvous: Rendezvous) -> None:
    for scope in ("global", f"global{SET}", "local_localhost", "cross_0", f"cross_1{SET}"):
        assert ask(rendezvous, "GET", f"/{scope}/0") == (404, b"")
        assert ask(rendezvous, "PUT", f"/{scope}/0", b"\x00 address") == (200, b"")
        assert ask(rendezvous, "PUT", f"/{scope}/rank_0", b"") == (200, b"")
        assert ask(rendezvous, "GET", f"/{scope}/0") == (200, b"\x00 address")
    assert ask(rendezvous, "DELETE", "/global/0") == (200, b"")
    assert ask(rendezvous, "GET", "/global/0")[0] == 200
    assert ask(rendezvous, "DELETE", "/global/1") == (200, b"")
    assert ask(rendezvous, "GET", "/global/0")[0] == 404
    assert ask(rendezvous, "PUT", "/global/0", b"another")[0] == 409


def test_each_key_is_put_once(rendezvous: Rendezvous) -> None:
    """The same value again is what a worker does that got no answer."""
    assert [ask(rendezvous, "PUT", "/global/1", value)[0] for value in (b"mine", b"mine", b"theirs")] == [200, 200, 409]
    assert ask(rendezvous, "GET", "/global/1") == (200, b"mine")


@pytest.mark.parametrize(
    "path",
    ["/other/0", "/cross_2/0", "/cross_0/1", "/global/2", "/global/rank_2", "/global/x", "/global", "/", "/global/0/0",
     "/global_process_set_hash_/0", "/global_process_set_hash_XY/0", "/../etc/passwd"],
)  # fmt: skip
def test_what_no_worker_of_the_job_would_say_is_refused(rendezvous: Rendezvous, path: str) -> None:
    assert ask(rendezvous, "PUT", path, b"x")[0] == 403
    assert ask(rendezvous, "DELETE", path)[0] == 403
    assert ask(rendezvous, "GET", path)[0] == 404


def test_no_file_is_told_of_and_no_request_is_too_long(rendezvous: Rendezvous) -> None:
    assert ask(rendezvous, "HEAD", "/pyproject.toml")[0] == 501
    assert ask(rendezvous, "POST", "/global/0", b"x")[0] == 501
    assert ask(rendezvous, "PUT", "/global/0", **{"Content-Length": str(LARGEST_VALUE + 1)})[0] == 413
    assert ask(rendezvous, "PUT", "/global/0", **{"Content-Length": "-1"})[0] == 411


def test_the_processes_of_another_user_are_not_heard() -> None:
    rendezvous = Rendezvous(2, owner=os.geteuid() + 1)
    try:
        with pytest.raises((http.client.RemoteDisconnected, ConnectionError)):
            ask(rendezvous, "PUT", "/global/0", b"x")
        assert not rendezvous.is_over
    finally:
        rendezvous.close()


def test_it_listens_on_loopback_alone(rendezvous: Rendezvous) -> None:
    here = psutil.Process().net_connections("inet")
    listening = [one.laddr for one in here if one.status == psutil.CONN_LISTEN and one.laddr.port == rendezvous.port]
    assert listening == [("127.0.0.1", rendezvous.port)]


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_the_owner_of_a_connection_is_found_and_only_while_it_is_held(family: socket.AddressFamily) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(family) as there:
        there.connect((("::ffff:" if family is socket.AF_INET6 else "") + "127.0.0.1", server.getsockname()[1]))
        here, peer = server.accept()
        with here:
            assert owner_of_peer(peer, here.getsockname()) == os.geteuid()
            assert owner_of_peer((peer[0], peer[1] % 65535 + 1), here.getsockname()) is None
            there.close()
            assert owner_of_peer(peer, here.getsockname()) is None


def test_it_is_over_when_every_rank_is_connected_in_every_scope() -> None:
    """The job, its set of processes; of each all workers, those of a host, and one of each host."""
    exchange = Exchange(SIZES)
    for ending in ("", SET):
        for scope, size in SIZES.items():
            for rank in range(size):
                assert not exchange.is_over
                exchange.put(f"/{scope}{ending}/{rank}", b"address")
                exchange.delete(f"/{scope}{ending}/{rank}")
    assert exchange.is_over
    assert exchange.put(f"/global{SET.replace('5', '6')}/0", b"of another job") == 403
