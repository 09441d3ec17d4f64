"""One rank of a test job: vote with the others and compare facts with them; each rank returns what it was told."""

import importlib
import os
import signal
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from dist_training.errors import WorkersDifferError
from dist_training.ranks.communicator import Communicator
from dist_training.run.handshake import WorkerFacts, check_workers_agree, worker_facts
from dist_training.stopping.control import Control, agreed, request_checkpoint, request_learning_rate

CONFIGURATION = {"training": {"seed": 0, "epochs": 5}}


def told(communicator: Communicator, facts: WorkerFacts) -> str | None:
    try:
        check_workers_agree(communicator, facts)
    except WorkersDifferError as error:
        return str(error)
    return None


def handshakes(communicator: Communicator, dataset: Path, out: Path) -> dict[str, str | None]:
    rank, last = communicator.rank, communicator.world_size - 1
    mine = worker_facts(lambda: (CONFIGURATION, dataset, ()))
    answers = {"equal": told(communicator, mine)}
    lacking = worker_facts(lambda: (CONFIGURATION, dataset if rank != 1 else out / "not-there", ()))
    answers["dataset absent on 1"] = told(communicator, lacking)
    other = {"training": {"seed": 7 if rank == last else 0, "epochs": 5}}
    answers["seed on the last"] = told(communicator, worker_facts(lambda: (other, dataset, ())))
    answers["dataset differs on 1"] = told(
        communicator, worker_facts(lambda: (CONFIGURATION, dataset if rank != 1 else out / "other", ()))
    )
    sys.path.insert(0, str(out / ("own-1" if rank == 1 else "own")))
    answers["own network on 1"] = told(communicator, worker_facts(lambda: (CONFIGURATION, dataset, ("our_network",))))
    known = "our_network" if rank == 0 else "no_such_network"
    answers["own network absent"] = told(communicator, worker_facts(lambda: (CONFIGURATION, dataset, (known,))))
    answers["keras on 1"] = told(communicator, replace(mine, code={**mine.code, "keras": "3.14.0"}) if rank else mine)
    if rank == last:  # which finds another copy of segeval, as if it had imported none yet
        sys.path.insert(0, str(out / "code"))
        importlib.invalidate_caches()
        imported = sys.modules.pop("segeval", None)
    answers["code on the last"] = told(communicator, worker_facts(lambda: (CONFIGURATION, dataset, ())))
    if rank == last and imported is not None:
        sys.modules["segeval"] = imported
    return answers


def votes(communicator: Communicator, out: Path) -> list[dict]:
    """Steps with a request each, in float32 as in a run; the last is a signal on the last rank."""
    path = out / "control.json"
    control = Control(path if communicator.rank == 0 else None)
    requests = [lambda: None, lambda: request_checkpoint(path, "a"), lambda: request_learning_rate(path, 1 / 3, "b")]
    answers = []
    with control.signals():
        for step in range(5):
            if communicator.rank == 0 and step < 3:
                path.unlink(missing_ok=True)
                requests[step]()
            if communicator.rank == communicator.world_size - 1 and step == 4:
                os.kill(os.getpid(), signal.SIGUSR1)
            summed = communicator.sum_array(control.votes().astype(np.float32))
            answers.append(asdict(agreed(summed)))
    return [*answers, {"reason": control.shared_stop(communicator).reason}]


def main(communicator: Communicator, dataset: str, out: str) -> dict[str, Any]:
    return {
        "handshakes": handshakes(communicator, Path(dataset), Path(out)),
        "votes": votes(communicator, Path(out)),
    }
