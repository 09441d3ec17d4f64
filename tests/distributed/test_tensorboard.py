"""What a run leaves for TensorBoard: the figures of its events, in its files and in what the real server answers."""

import json
import re
import signal
import socket
import subprocess
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.util.tensor_util import make_ndarray

from dist_training.record.run_folder import RunFolder
from tests.distributed.jobs import PATIENCE_S, R2D2, events_of, wait_for

pytestmark = pytest.mark.distributed

Finished = tuple[RunFolder, subprocess.CompletedProcess[str]]


def expected(folder: RunFolder) -> dict[str, dict[int, float | None]]:
    """By tag, the values that the run's own record has."""
    found: dict[str, dict[int, float | None]] = {}
    for event in events_of(folder, "step"):
        for name in ("loss", "learning_rate", "images_per_second"):
            found.setdefault(f"step/{name}", {})[event.step] = getattr(event, name)
    for event in events_of(folder, "epoch"):
        for name in ("loss", "validation_dice", "images_per_second"):
            found.setdefault(f"epoch/{name}", {})[event.epoch] = getattr(event, name)
        for label, dice in event.validation_dice_per_label.items():
            found.setdefault(f"epoch/validation_dice/{label}", {})[event.epoch] = dice
    return found


def same(values: dict[int, float], record: dict[int, float | None]) -> bool:
    """Whether values are those of the record, in float32 as TensorBoard keeps them."""
    told = {number: np.float32(value) for number, value in record.items() if value is not None}
    return values.keys() == told.keys() and all(np.float32(values[number]) == told[number] for number in told)


def test_the_event_file_has_all_figures_of_the_run(left_alone: Finished) -> None:
    folder, _ = left_alone
    read = EventAccumulator(str(folder.tensorboard), size_guidance={"tensors": 0}).Reload()
    record = expected(folder)
    assert set(read.Tags()["tensors"]) == set(record)
    for tag, values in record.items():
        written = {one.step: float(make_ndarray(one.tensor_proto)) for one in read.Tensors(tag)}
        assert same(written, values), tag


def test_the_server_shows_all_runs_below_a_folder(left_alone: Finished, tmp_path: Path) -> None:
    folder, _ = left_alone
    said = tmp_path / "said"
    with said.open("wb") as stream:
        command = [R2D2, "tensorboard", str(folder.path.parent), "--port", "0"]
        process = subprocess.Popen(command, stdout=stream, stderr=stream)
    try:
        wait_for(lambda: b"Ctrl-C" in said.read_bytes() or process.poll() is not None, "TensorBoard")
        told = re.fullmatch(
            rf"TensorBoard shows {folder.path.parent} at (http://127\.0\.0\.1:\d+/) until Ctrl-C\n", said.read_text()
        )
        assert told is not None, said.read_text()

        def asked(path: str, **query: str) -> Any:
            address = f"{told[1]}data/{path}?{urllib.parse.urlencode(query)}"  # type: ignore[index]
            with urllib.request.urlopen(address, timeout=PATIENCE_S) as answer:
                return json.loads(answer.read())

        name = folder.tensorboard.relative_to(folder.path.parent).as_posix()
        wait_for(lambda: name in asked("runs"), "the run")
        losses = expected(folder)["epoch/loss"]
        found = asked("plugin/scalars/scalars", run=name, tag="epoch/loss")
        assert same({step: value for _, step, value in found}, losses)
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_S) == 0


def test_a_port_that_is_taken_and_a_folder_that_is_not_there_are_one_line_each(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for words, reason in (
            ([str(tmp_path), "--port", port], f"TensorBoard cannot listen on port {port}"),
            ([str(tmp_path / "none")], f"{tmp_path / 'none'} is no folder; name the --run-dir of a training"),
        ):
            done = subprocess.run([R2D2, "tensorboard", *words], capture_output=True, text=True, timeout=PATIENCE_S)
            assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
            assert done.stderr.startswith(f"r2d2: {reason}")
