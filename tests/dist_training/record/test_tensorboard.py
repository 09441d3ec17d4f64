"""Event files of a run, read back: the network's layers, and pictures whose contours lie where labels end."""

import io
import logging
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.compat.proto.graph_pb2 import GraphDef

from dist_training.architectures import UNetSettings, build_network
from dist_training.architectures.precision import dtype_policy
from dist_training.record.events import EpochEnded, Running
from dist_training.record.sample_pictures import BOTH, LEGEND, PREDICTION, REFERENCE, contour_picture, is_drawn
from dist_training.record.samples import SampleDescription, SampleFolder, SampleSlice, SampleSlices
from dist_training.record.tensorboard import TensorBoardWriter

pytestmark = pytest.mark.tensorflow

PATIENT = "GRUBER_ANNA"


def slices_of(reference: np.ndarray, channels: int = 1, is_picture: bool = False) -> SampleSlices:
    """One slice, its scan a grey of 100, with pixels twice as high as wide."""
    one = SampleSlice(case_id=PATIENT, number=4, of=9, pixel_mm=(2.0, 1.0), is_picture=is_picture)
    description = SampleDescription(labels={"background": 0, "liver": 2}, channels=("ct",), slices=(one,))
    scan = np.full((*reference.shape, channels), 100, np.uint8)
    return SampleSlices(description, (scan,), (reference,))


def square(first: int, last: int, side: int = 32) -> np.ndarray:
    array = np.zeros((side, side), np.uint8)
    array[first:last, first:last] = 2
    return array


def read_back(folder: Path) -> EventAccumulator:
    return EventAccumulator(str(folder), size_guidance={"tensors": 0}).Reload()


def ended(epoch: int) -> EpochEnded:
    return EpochEnded(epoch=epoch, step=epoch, loss=0.5)


def running(epochs: int) -> Running:
    counts = {"steps_per_epoch": 1, "training_slices": 1, "validation_slices": 1, "global_batch_size": 1}
    return Running(epochs=epochs, parameters=1, **counts)


def test_contours_lie_at_the_borders_of_reference_and_prediction() -> None:
    # 32 pixels of 2 mm and 32 of 1 mm, turned: 256 pixels across, 128 up; a pixel becomes 8 by 4
    picture = contour_picture(slices_of(square(8, 16)), 0, square(8, 20))
    assert picture.shape == (128, 256, 3)
    colours = {tuple(colour) for colour in picture.reshape(-1, 3).tolist()}
    assert colours == {(100, 100, 100), REFERENCE, PREDICTION, BOTH}
    middle = picture[128 - 4 * 12]  # a row through the middle of the reference, which is mirrored
    columns = {name: np.flatnonzero((middle == colour).all(axis=1)) for name, colour in
               (("reference", REFERENCE), ("prediction", PREDICTION), ("both", BOTH))}  # fmt: skip
    assert columns["both"].tolist() == [256 - 8 * 8 - 1, 256 - 8 * 8]  # both begin at pixel 8, mirrored
    assert columns["reference"].tolist() == [256 - 8 * 16 - 1, 256 - 8 * 16]
    assert columns["prediction"].tolist() == [256 - 8 * 20 - 1, 256 - 8 * 20]


def test_pictures_keep_their_colours() -> None:
    slices = slices_of(square(0, 0), channels=3, is_picture=True)
    slices.scans[0][..., 1] = 7
    assert (contour_picture(slices, 0, square(0, 0)) == (100, 7, 100)).all()


def test_a_long_run_leaves_few_pictures() -> None:
    drawn = [epoch for epoch in range(1, 1001) if is_drawn(epoch, 1000)]
    assert drawn[:16] == list(range(1, 17)) and drawn[-1] == 1000 and len(drawn) == 64
    assert max(np.diff(drawn)) / 1000 < 0.07


def test_pictures_are_read_back_without_names(tmp_path: Path) -> None:
    samples, truth = SampleFolder(tmp_path / "samples"), square(8, 16)
    samples.begin(slices_of(truth), 0)
    writer = TensorBoardWriter(tmp_path / "tensorboard", samples)
    writer(running(19))
    for epoch in range(1, 20):
        samples.write_epoch(epoch, [square(8, 8 + epoch)], best=None)
        writer(ended(epoch))
    writer.close()
    read = read_back(tmp_path / "tensorboard")
    written = {one.step: one.tensor_proto.string_val for one in read.Tensors("samples/1")}
    assert sorted(written) == [*range(1, 17), 18, 19]
    for epoch, (width, height, png) in written.items():
        assert (width, height) == (b"256", b"128")
        expected = contour_picture(slices_of(truth), 0, square(8, 8 + epoch))
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(png))), expected)
    assert read.SummaryMetadata("samples/1").summary_description == LEGEND
    assert not any(PATIENT.encode() in path.read_bytes() for path in (tmp_path / "tensorboard").iterdir())


def test_damaged_samples_cost_a_picture_and_nothing_else(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    samples = SampleFolder(tmp_path / "samples")
    samples.begin(slices_of(square(8, 16)), 0)
    samples.epoch_file(1).write_bytes(b"PK torn")
    writer = TensorBoardWriter(tmp_path / "tensorboard", samples)
    with caplog.at_level(logging.WARNING):
        writer(ended(1))
    writer.close()
    assert "no pictures of epoch 1" in caplog.text
    assert set(read_back(tmp_path / "tensorboard").Tags()["tensors"]) == {"epoch/loss"}


def layers_of(folder: Path) -> dict[str, list[str]]:
    """By name of a layer, those that it takes its input from."""
    graph = GraphDef.FromString(read_back(folder).Graph().SerializeToString())
    return {node.name.split("/", 1)[-1]: [name.split("/", 1)[-1] for name in node.input] for node in graph.node}


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
def test_the_graph_has_all_layers_and_how_they_are_joined(
    tmp_path: Path, precision: str, caplog: pytest.LogCaptureFixture
) -> None:
    with dtype_policy(precision):
        network = build_network(UNetSettings(depth=2, base_filters=2), 1, 2)
    with caplog.at_level(logging.WARNING):
        writer = TensorBoardWriter(tmp_path)
        writer.write_graph(network)
        writer.close()
    assert caplog.text == ""
    found = layers_of(tmp_path)
    assert set(found) == {layer.name for layer in network.layers}
    for layer in network.layers:
        inputs = layer.input if isinstance(layer.input, list) else [layer.input]
        if not isinstance(layer, keras.layers.InputLayer):
            assert found[layer.name] == [one._keras_history.operation.name for one in inputs]
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 20_000


class Untold(keras.Model):
    """A network that does not say what it is made of."""

    def __init__(self, inside: Any) -> None:
        super().__init__()
        self.inside = inside

    def call(self, images: Any) -> Any:
        return self.inside(images)


def test_a_network_that_does_not_describe_itself_has_no_graph(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    writer = TensorBoardWriter(tmp_path)
    with caplog.at_level(logging.WARNING):
        writer.write_graph(Untold(keras.layers.Dense(1)))
    writer.close()
    assert "no graph of this network" in caplog.text
