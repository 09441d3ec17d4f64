"""A model as an ONNX file or a TensorFlow SavedModel, for programs without R2D2; checked before it is kept."""

from __future__ import annotations

import json
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np

from dist_training.architectures import prediction_network, read_network, with_precision
from dist_training.inference.model_card import ModelCard, read_model_card
from imgmed import PreparedDataset
from r2d2.errors import ZooError
from r2d2.prediction.model import resolve_model
from r2d2.zoo.exchange.agreement import Agreement, compare
from r2d2.zoo.exchange.check_slices import check_slices
from r2d2.zoo.registries.published import networks_in
from r2d2_base.errors import OutputExistsError
from r2d2_base.files import make_folder, write_json, written_beside
from r2d2_base.folders import staged_folder
from r2d2_base.progress import UNWATCHED, Watcher

__all__ = ["CARD", "ExportKind", "ExportedModel", "card_content", "export_model"]

ExportKind = Literal["onnx", "savedmodel"]
Apply = Callable[[np.ndarray], np.ndarray]

CARD = "model.json"
"""The card: a file in the folder of a SavedModel, and a key of an ONNX file's metadata_props."""
INPUT, OUTPUT = "images", "logits"
NEEDED_FOR_ONNX = ("onnx", "onnxruntime", "tf2onnx")
NOT_EXPORTED = {"cases", "seen_before"}
STEPS = 3


@dataclass(frozen=True)
class ExportedModel:
    """A model that was exported.

    Attributes:
        path: the ONNX file, or the folder of the SavedModel.
        agreement: of its label maps with those of the network in Keras, both in float32.
        precision: what the model itself computes in, such as mixed_bfloat16.
        rounded: the same agreement of the network in Keras with itself in its own precision; None: that is float32.
        left_out: folders of the other networks of a model that asks several together: an export holds one.
    """

    path: Path
    agreement: Agreement
    precision: str
    rounded: Agreement | None
    left_out: tuple[Path, ...] = ()


def export_model(
    model: str | Path,
    out: Path,
    kind: ExportKind,
    *,
    dataset: PreparedDataset | None = None,
    trust_code: bool = False,
    watcher: Watcher = UNWATCHED,
) -> ExportedModel:
    """Write a model for other programs, in float32, for any number, height and width of slices.

    What is written takes float32 ``images`` (N, H, W, channels), normalised as the card says, and gives float32
    ``logits`` (N, H, W, outputs). Its label maps are compared with those of the network in Keras before it is kept.

    Args:
        model: what ``resolve_model`` takes.
        out: the file, or for a SavedModel the folder.
        kind: ``onnx`` or ``savedmodel``.
        dataset: prepared, whose slices are compared on; None: generated ones.
        trust_code: whether a module that the card names may be imported, for the layers of a network of one's own.
        watcher: told of the steps.

    Raises:
        ModelError, WeightsError: there is no such model, or it is damaged.
        ZooError: what ONNX needs is not installed, the network cannot be exported, or its label maps would differ.
        OutputExistsError: ``out`` exists.
    """
    _check_installed(kind)
    _check_free(out)
    watcher.report("exporting", 0, STEPS)
    found = resolve_model(model)
    path, card = read_model_card(found)
    stored = prediction_network(read_network(path, card.network if trust_code else None))
    network = with_precision(stored, "float32")
    slices = check_slices(card, network, dataset)
    expected = [_in_keras(network, images) for images in slices]
    watcher.report("exporting", 1, STEPS)
    with _place(out, kind) as place:
        apply = (_write_onnx if kind == "onnx" else _write_saved_model)(network, place, card)
        watcher.report("exporting", 2, STEPS)
        agreement = compare(card.outputs, expected, [apply(images) for images in slices])
        if not agreement.is_kept:
            raise ZooError(f"{out} is not written: as {kind}, the network gives other label maps ({agreement})")
    precision = _precision_of(stored)
    own = [] if precision == "float32" else [_in_keras(stored, images) for images in slices]
    watcher.report("exporting", STEPS, STEPS)
    rounded = compare(card.outputs, own, expected) if own else None
    return ExportedModel(out, agreement, precision, rounded, networks_in(found)[1:] if found.is_dir() else ())


def card_content(card: ModelCard) -> dict[str, Any]:
    """Give what a program needs to use an exported model rightly: its card, without the cases that it was made from."""
    return card.model_dump(mode="json", exclude=NOT_EXPORTED)


def _check_installed(kind: ExportKind) -> None:
    missing = [name for name in NEEDED_FOR_ONNX if kind == "onnx" and find_spec(name) is None]
    if missing:
        raise ZooError(
            f"ONNX needs {' and '.join(missing)}: install R2D2 with pip install '.[export]', or export --to savedmodel"
        )


def _check_free(out: Path) -> None:
    if out.exists() or out.is_symlink():
        raise OutputExistsError(f"{out} exists already; choose another name, or remove it")


@contextmanager
def _place(out: Path, kind: ExportKind) -> Iterator[Path]:
    """Give a name to write under, which becomes ``out`` at the end unless there is an error."""
    if kind == "savedmodel":
        with staged_folder(out) as folder:
            yield folder
        return
    make_folder(out.parent)
    with written_beside(out, may_replace=False) as (file,):
        yield file


def _in_keras(network: Any, images: np.ndarray) -> np.ndarray:
    import keras

    return np.asarray(keras.ops.convert_to_numpy(network(images, training=False)), np.float32)


def _precision_of(network: Any) -> str:
    """What most of a network computes in: the policy of its first layer with weights."""
    return str(next(layer.dtype_policy.name for layer in network.layers if layer.weights))


def _write_onnx(network: Any, path: Path, card: ModelCard) -> Apply:
    import onnx
    import onnxruntime

    _export(network, path, "onnx")
    model = onnx.load(path)
    _name_ends(model.graph)
    onnx.helper.set_model_props(model, {CARD: json.dumps(card_content(card), ensure_ascii=False)})
    onnx.checker.check_model(model)
    onnx.save(model, path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda images: session.run([OUTPUT], {INPUT: images})[0]


def _name_ends(graph: Any) -> None:
    """Call input and output, and the axes that may have any size, by names that mean something."""
    for value, name in ((graph.input[0], INPUT), (graph.output[0], OUTPUT)):
        old = value.name
        for node in graph.node:
            node.input[:] = [name if one == old else one for one in node.input]
            node.output[:] = [name if one == old else one for one in node.output]
        value.name = name
        for size, axis in zip(value.type.tensor_type.shape.dim, ("batch", "height", "width"), strict=False):
            size.dim_param = axis


def _write_saved_model(network: Any, folder: Path, card: ModelCard) -> Apply:
    import tensorflow as tf

    _export(network, folder, "tf_saved_model")
    write_json(folder / CARD, card_content(card))
    loaded = tf.saved_model.load(str(folder))  # to be held: its variables live as long
    return lambda images: np.asarray(loaded.serve(images))


def _export(network: Any, path: Path, kind: str) -> None:
    with warnings.catch_warnings(), _muted():
        warnings.simplefilter("ignore")  # what tf2onnx says of the NumPy that it was made for
        network(np.zeros((1, 32, 32, network.input_shape[-1]), np.float32))  # Keras exports what was called
        try:
            network.export(path, format=kind, verbose=False)
        except Exception as error:
            reason = " ".join(str(error).split())[:300]
            raise ZooError(f"{network.name} cannot be exported as {kind} ({reason}); try another kind") from error


@contextmanager
def _muted() -> Iterator[None]:
    """Send what TensorFlow's own code writes to standard error to nowhere: no setting silences it while it converts."""
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        sys.stderr.flush()
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
