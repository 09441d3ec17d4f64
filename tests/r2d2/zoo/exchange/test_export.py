"""Exported networks, run by onnxruntime and by TensorFlow alone, against the networks in Keras."""

import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import onnx
import onnxruntime
import pytest
from pydantic import BaseModel

from dist_training.architectures import (
    ARCHITECTURES,
    CustomSettings,
    FCNSettings,
    LivermaskUNetSettings,
    ResidualUNetSettings,
    ResNetUNetSettings,
    UNetSettings,
    build_network,
    read_network,
    with_precision,
)
from dist_training.inference.outputs import NetworkOutputs
from r2d2.errors import ZooError
from r2d2.tasks.zoo_export import ExportSettings, export
from r2d2.zoo.exchange import export as exporting
from r2d2.zoo.exchange.agreement import compare
from r2d2_base.errors import OutputExistsError
from tests.r2d2.zoo.exchange.exported_models import SECRET, write_model

pytestmark = pytest.mark.tensorflow

SMALLEST: dict[str, BaseModel] = {
    "unet": UNetSettings(base_filters=2, depth=1, dropout=0.2),
    "fcn": FCNSettings(width=0.02, trunk="vgg16", dropout=0.3, stride=16),
    "unet_resnet": ResNetUNetSettings(base_filters=2, normalisation="none"),
    "livermask_unet": LivermaskUNetSettings(base_filters=2, normalisation="none"),
    "residual_unet": ResidualUNetSettings(base_filters=2, blocks=(1, 1), normalisation="batch"),
    "custom": CustomSettings(build="tests.small_network:build"),
}
"""A network of each architecture that is converted in a second; between them they have each layer of ours."""

EACH = [pytest.param(name, marks=[pytest.mark.long] * (name == "unet_resnet")) for name in SMALLEST]
"""A ResNet takes ten seconds, for its depth: its layers are those of the others."""


def model_in(folder: Path, settings: BaseModel, precision: str = "float32") -> Path:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        model = build_network(settings, 1, 3)
    finally:
        keras.config.set_dtype_policy(before)
    rng = np.random.default_rng(1)  # so that no weight is 0 or 1, where a fault would not show
    model.set_weights([np.abs(weight + rng.normal(0, 0.05, weight.shape)) for weight in model.get_weights()])
    write_model(folder, settings, model)
    return folder


OF_VOLUMES = {"c2fnas_style"}
"""Exporting is of networks of slices."""


def test_every_architecture_of_slices_is_exported_here():
    assert set(SMALLEST) == set(ARCHITECTURES) - OF_VOLUMES


@pytest.mark.parametrize("name", EACH)
def test_onnxruntime_gives_what_the_network_gives(name, tmp_path):
    """In any number and size."""
    folder = model_in(tmp_path / "model", SMALLEST[name])
    done = export(ExportSettings(model=folder, out=tmp_path / "model.onnx"))
    assert done.agreement.differing == 0 and done.agreement.pixels > 36 * 48 and done.rounded is None
    session = onnxruntime.InferenceSession(done.path, providers=["CPUExecutionProvider"])
    assert [(one.name, one.shape) for one in (session.get_inputs()[0], session.get_outputs()[0])] == [
        ("images", ["batch", "height", "width", 1]),
        ("logits", ["batch", "height", "width", 3]),
    ]
    model = read_network(folder / "model.keras")
    for size in ((2, 19, 30), (1, 7, 5)):
        images = np.random.default_rng(1).normal(size=(*size, 1)).astype(np.float32)
        expected = np.asarray(model(images))
        (found,) = session.run(["logits"], {"images": images})
        np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


def test_the_onnx_file_says_what_is_needed_and_names_nobody(tmp_path):
    folder = model_in(tmp_path / "model", SMALLEST["custom"])
    path = export(ExportSettings(model=folder, out=tmp_path / "new" / "model.onnx")).path
    card = json.loads((folder / "model.json").read_text())
    properties = {one.key: one.value for one in onnx.load(path).metadata_props}
    kept = json.loads(properties["model.json"])
    assert kept == {key: value for key, value in card.items() if key not in ("cases", "seen_before")}
    assert kept["labels"] == {"background": 0, "anterior": 1, "posterior": 2}
    assert SECRET.encode() not in path.read_bytes()
    with pytest.raises(OutputExistsError, match="exists already"):
        export(ExportSettings(model=folder, out=path))


RUN_SAVED_MODEL = """
import sys, numpy, tensorflow
images = numpy.random.default_rng(1).normal(size=(2, 19, 30, 1)).astype("float32")
network = tensorflow.saved_model.load(sys.argv[1])
numpy.save(sys.argv[2], network.serve(images))
assert not {"r2d2", "dist_training", "imgmed"} & set(sys.modules)
"""


def test_a_saved_model_runs_in_tensorflow_without_r2d2(tmp_path):
    """One that was trained in mixed precision: its export is in float32, and both are compared."""
    folder = model_in(tmp_path / "model", SMALLEST["unet"], "mixed_bfloat16")
    done = export(ExportSettings(model=folder, to="savedmodel", out=tmp_path / "saved"))
    assert done.precision == "mixed_bfloat16"
    assert done.rounded is not None and done.rounded.largest_difference > 0
    card = json.loads((done.path / "model.json").read_text())
    assert card["normalisation"]["kind"] == "zscore_case" and SECRET not in str(card)
    found = tmp_path / "found.npy"
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    subprocess.run(
        [sys.executable, "-c", RUN_SAVED_MODEL, str(done.path), str(found)], check=True, env=environment, cwd=tmp_path
    )
    images = np.random.default_rng(1).normal(size=(2, 19, 30, 1)).astype(np.float32)
    expected = np.asarray(with_precision(read_network(folder / "model.keras"), "float32")(images))
    np.testing.assert_allclose(np.load(found), expected, atol=1e-4 * np.abs(expected).max())


def test_what_decides_otherwise_is_refused_and_leaves_nothing(tmp_path, monkeypatch):
    """A converter with a fault: it writes a network whose last bias is another."""
    folder, write = model_in(tmp_path / "model", SMALLEST["custom"]), exporting._write_onnx

    def write_another(network, path, card):
        bias = network.get_layer("head").bias
        kept = bias.numpy()
        bias.assign(kept + np.array([0.0, 3.0, 0.0]))
        try:
            return write(network, path, card)
        finally:
            bias.assign(kept)

    monkeypatch.setattr(exporting, "_write_onnx", write_another)
    with pytest.raises(ZooError, match=r"as onnx, the network gives other label maps \([\d,]+ of [\d,]+ pixels differ"):
        export(ExportSettings(model=folder, out=tmp_path / "model.onnx"))
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_without_the_extra_one_line_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setattr(exporting, "find_spec", lambda name: None if name == "tf2onnx" else name)
    with pytest.raises(ZooError, match=r"ONNX needs tf2onnx: install R2D2 with pip install '\.\[export\]'"):
        export(ExportSettings(model=tmp_path, out=tmp_path / "model.onnx"))


@pytest.mark.parametrize(
    ("outputs", "expected", "found", "counts"),
    [
        (NetworkOutputs.of_classes(3), [1.0, 1.00005, 0.0], [1.0, 0.99999, 0.0], (0, 1)),
        (NetworkOutputs.of_classes(3), [1.0, 1.0002, 0.0], [1.0, 0.99999, 0.0], (1, 0)),
        (NetworkOutputs.of_classes(2), [5e-5], [-5e-5], (0, 1)),
        (NetworkOutputs.of_classes(2), [2e-4], [-5e-5], (1, 0)),
        (NetworkOutputs.of_regions({"no": 0, "a": 1, "b": 2}, {}), [5.0, 5e-5], [5.0, -5e-5], (0, 0)),
        (NetworkOutputs.of_regions({"no": 0, "a": 1, "b": 2}, {}), [-5.0, 5e-5], [-5.0, -5e-5], (0, 1)),
        (NetworkOutputs.of_classes(3), [1.0, 0.0, 0.0], [np.nan, 0.0, 0.0], (1, 0)),
    ],
)
def test_ties_are_what_lies_within_a_ten_thousandth(outputs, expected, found, counts):
    agreement = compare(outputs, [np.array([[[expected]]])], [np.array([[[found]]])])
    assert (agreement.differing, agreement.ties) == counts
    assert agreement.is_kept == (counts[0] == 0 and not np.isnan(found).any())
