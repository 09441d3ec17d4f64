"""Workers that stay: real processes under a real horovodrun, which load TensorFlow once and then do job after job.

A job is a function of a module here; every rank calls it with its communicator. Each ends with Keras as it was; that
the 50th is like one of a fresh process is tested.
"""

import contextlib
import gc
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any, TextIO

from tests.distributed.jobs import horovodrun

PATIENCE_S = 600
"""For an answer: a job whose ranks wait for each other for ever shall end, on a machine of any speed."""
CYCLE_MS = "20"
"""How often Horovod looks for work: at its usual 5 ms, every worker that waits for a job takes 6 % of a core."""


class WorkerPool:
    """Some workers; the caller's end of it.

    Args:
        workers: processes; one alone is started without horovodrun.
        folder: for what they print.
    """

    def __init__(self, workers: int, folder: Path) -> None:
        self.workers, self.jobs = workers, 0
        self._said = folder / f"pool-{workers}.txt"
        with socket.create_server(("127.0.0.1", 0)) as server, self._said.open("w") as said:
            command = [sys.executable, "-m", "tests.distributed.pool", str(server.getsockname()[1])]
            self._process = subprocess.Popen(
                command if workers == 1 else horovodrun(workers, *command),
                cwd=folder, stdout=said, stderr=said, start_new_session=True,
                env={**os.environ, "HOROVOD_CYCLE_TIME": CYCLE_MS},
            )  # fmt: skip
            self._lines = self._accept(server)

    def _accept(self, server: socket.socket) -> list[TextIO]:
        """The lines to and from each rank, by rank."""
        server.settimeout(1)
        found: dict[int, TextIO] = {}
        while len(found) < self.workers:
            with contextlib.suppress(TimeoutError):
                connection, _ = server.accept()
                connection.settimeout(PATIENCE_S)
                lines = connection.makefile("rw")
                connection.close()  # as soon as the lines are
                found[int(lines.readline())] = lines
            if self._process.poll() is not None:
                raise AssertionError(f"the workers did not start: {self._said.read_text()[-3000:]}")
        return [found[rank] for rank in range(self.workers)]

    def run(self, module: str, *arguments: Any) -> list[Any]:
        """Have every rank call ``module.main(communicator, *arguments)``; give what each returned, as JSON holds it."""
        self.jobs += 1
        for lines in self._lines:
            print(json.dumps([module, arguments]), file=lines, flush=True)
        answers = [json.loads(lines.readline() or '{"error": "its process is gone"}') for lines in self._lines]
        faults = [f"rank {rank}: {answer['error']}" for rank, answer in enumerate(answers) if "error" in answer]
        assert faults == [], "\n".join([*faults, self._said.read_text()[-3000:]])
        return [answer["returned"] for answer in answers]

    def close(self) -> None:
        """End the workers: no more lines come, or, where one hangs, by force."""
        for lines in self._lines:
            with contextlib.suppress(OSError):
                lines.close()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGTERM)
            self._process.wait()


def work(lines: TextIO) -> None:
    """Do jobs until no more lines come; the rank's end of it."""
    from r2d2.cli.environment import quiet_tensorflow

    quiet_tensorflow(False)
    import keras

    from dist_training.ranks.communicator import build_communicator
    from dist_training.ranks.devices import configure_devices
    from dist_training.ranks.launched import launched_rank, launched_world_size

    print(launched_rank(), file=lines, flush=True)
    gc.freeze()  # else `clear_session` looks through all of TensorFlow after every job
    path, policy, floatx = list(sys.path), keras.config.dtype_policy(), keras.config.floatx()
    for line in lines:
        module, arguments = json.loads(line)
        try:
            communicator = build_communicator(launched_world_size() or 1)
            configure_devices(communicator, threads=1)
            answer = {"returned": importlib.import_module(module).main(communicator, *arguments)}
        except BaseException:
            answer = {"error": traceback.format_exc()}
        keras.backend.clear_session()
        keras.config.set_dtype_policy(policy)
        keras.config.set_floatx(floatx)
        sys.path[:] = path
        print(json.dumps(answer), file=lines, flush=True)


if __name__ == "__main__":
    work(socket.create_connection(("127.0.0.1", int(sys.argv[1]))).makefile("rw"))
