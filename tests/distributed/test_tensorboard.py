"""What a run leaves for TensorBoard: the figures of its events, in its files and in what the real server answers."""

import io
import json
import re
import signal
import socket
import subprocess
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.util.tensor_util import make_ndarray

from dist_training.record.run_folder import RunFolder
from dist_training.record.sample_pictures import contour_picture, is_drawn
from dist_training.record.samples import SampleFolder
from tests.distributed.jobs import EPOCHS, PATIENCE_S, R2D2, events_of, wait_for

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
    samples = SampleFolder(folder.samples)
    pictures = {f"samples/{place + 1}" for place in range(len(samples.read_description().slices))}
    assert pictures and set(read.Tags()["tensors"]) == set(record) | pictures
    for tag in pictures:
        assert [one.step for one in read.Tensors(tag)] == [
            epoch for epoch in range(1, EPOCHS + 1) if is_drawn(epoch, EPOCHS)
        ]
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
        check_pictures(told[1], asked("plugin/images/images", run=name, tag="samples/1", sample="0"), folder)
        check_graph(asked("plugin/graphs/info"), name, f"{told[1]}data/plugin/graphs/graph?run={quote(name)}")
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_S) == 0


def check_pictures(address: str, listed: list[dict[str, Any]], folder: RunFolder) -> None:
    """Whether the server has the picture of each epoch, and that of the last one is what the sample files say."""
    assert [one["step"] for one in listed] == [epoch for epoch in range(1, EPOCHS + 1) if is_drawn(epoch, EPOCHS)]
    with urllib.request.urlopen(f"{address}data/plugin/images/individualImage?{listed[-1]['query']}") as answer:
        shown = np.asarray(Image.open(io.BytesIO(answer.read())))
    samples = SampleFolder(folder.samples)
    np.testing.assert_array_equal(shown, contour_picture(samples.read_slices(), 0, samples.read_epoch(EPOCHS)[0]))


def check_graph(info: dict[str, Any], name: str, address: str) -> None:
    """Whether the server has the network's graph: its first layer at least."""
    assert info[name]["run_graph"]
    with urllib.request.urlopen(address) as answer:
        assert b'"keras_class"' in (text := answer.read()) and b"InputLayer" in text, text[:500]


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
