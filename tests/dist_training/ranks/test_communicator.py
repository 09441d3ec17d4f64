"""Joining a job: what a launcher announced must be there, and be what Horovod finds."""

import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import SimpleNamespace

import pytest

from dist_training.ranks import communicator, launched
from r2d2_base.errors import ConfigurationError

PLACE = {"RANK": 1, "SIZE": 4, "LOCAL_RANK": 1, "LOCAL_SIZE": 4, "CROSS_RANK": 0, "CROSS_SIZE": 1}


@pytest.fixture
def job(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A worker of a job of four, as Horovod would find it, and what its environment is set with."""

    def told(**variables: object) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(f"HOROVOD_{name}", str(value))

    found = SimpleNamespace(rank=1, world_size=4, told=told)
    monkeypatch.setattr(communicator, "HorovodCommunicator", lambda: found)
    return found


class NotFound(BaseHTTPRequestHandler):
    """What a rendezvous answers to a key that it does not have."""

    def do_GET(self) -> None:
        self.send_error(404)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def test_workers_that_horovod_does_not_find_are_refused(job: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under mpirun, a Horovod without MPI sees each process as a job of one, which would train for itself."""
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "4")
    assert communicator.join_job().world_size == 4
    job.world_size = 1
    with pytest.raises(ConfigurationError, match="announced 4 workers, Horovod finds 1"):
        communicator.join_job()


def test_a_job_that_is_left_over_in_the_environment_is_refused_at_once(job: SimpleNamespace) -> None:
    job.told(SIZE=4)
    with pytest.raises(ConfigurationError, match=r"HOROVOD_SIZE=4 says .* but HOROVOD_GLOO_RENDEZVOUS_PORT is not set"):
        communicator.join_job()
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]  # of which nothing listens once it is closed
    job.told(**PLACE, GLOO_RENDEZVOUS_ADDR="127.0.0.1", GLOO_RENDEZVOUS_PORT=port)
    with pytest.raises(ConfigurationError, match=f"no launcher answers at 127.0.0.1:{port}: it is left over"):
        communicator.join_job()
    server = HTTPServer(("127.0.0.1", 0), NotFound)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        job.told(GLOO_RENDEZVOUS_PORT=server.server_port)
        assert communicator.join_job().world_size == 4
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize("text", ["", "two", "0", "-1", "2.0"])
def test_a_size_that_is_none_is_refused(job: SimpleNamespace, text: str) -> None:
    job.told(SIZE=text)
    with pytest.raises(ConfigurationError, match="HOROVOD_SIZE must be a whole number of at least 1"):
        communicator.join_job()


def test_a_host_that_does_not_find_itself_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names that never resolve (RFC 2606), and an address of no host (RFC 5737)."""
    monkeypatch.setattr(socket, "gethostname", lambda: "my-host.invalid")
    with pytest.raises(ConfigurationError, match=r'"127\.0\.1\.1 my-host\.invalid" >> /etc/hosts'):
        launched.check_own_name()
    monkeypatch.setattr(socket, "gethostname", lambda: "192.0.2.1")
    with pytest.raises(ConfigurationError, match=r"leads to 192\.0\.2\.1, which is no address of this host"):
        launched.check_own_name()
