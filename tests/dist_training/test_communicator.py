"""Joining a job: what a launcher announced must be what Horovod finds."""

from types import SimpleNamespace

import pytest

from dist_training.ranks import communicator
from r2d2_base.errors import ConfigurationError


def test_workers_that_horovod_does_not_find_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under mpirun, a Horovod without MPI sees each process as a job of one, which would train for itself."""
    monkeypatch.delenv("HOROVOD_SIZE", raising=False)
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "4")
    monkeypatch.setattr(communicator, "HorovodCommunicator", lambda: SimpleNamespace(rank=0, world_size=1))
    with pytest.raises(ConfigurationError, match="announced 4 workers, Horovod finds 1"):
        communicator.join_job()
    monkeypatch.setattr(communicator, "HorovodCommunicator", lambda: SimpleNamespace(rank=0, world_size=4))
    assert communicator.join_job().world_size == 4
