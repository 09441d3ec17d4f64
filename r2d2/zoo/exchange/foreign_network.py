"""A Keras network that was made elsewhere, turned into one of logits for images of any size.

Its configuration is changed and built again with the same weights: without the last activation, for any height and
width, with padding where the network needs multiples. What comes out is compared with what the network gave before.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dist_training.architectures import STAGES, check_sizes, read_network, with_precision
from dist_training.architectures.h5_file import check_h5_sizes
from dist_training.architectures.network_config import NOT_MEASURED, RUN_OR_READ
from dist_training.architectures.precision import rebuild
from r2d2.errors import ZooError
from r2d2.zoo.exchange.answers import Activation

__all__ = ["Foreign", "read_foreign", "to_logits"]

MULTIPLES = (1, 2, 4, 8, 16, 32, 64, 128)
TOLERANCE = 1e-5
IMAGES, PAD = "images", "pad"
REFUSED = (*RUN_OR_READ, *NOT_MEASURED, "TFOpLambda", "SlicingOpLambda")
KINDS = "give a .keras file, or an .h5 file of a whole Keras network (model.save, not save_weights)"


@dataclass(frozen=True)
class Foreign:
    """A network as it was read.

    Attributes:
        path: its file.
        network: functional, in float32, of one input (N, H, W, C) and one output (N, H, W, K).
    """

    path: Path
    network: Any

    @property
    def channels(self) -> int:
        """Channels of its images."""
        return int(self.network.input_shape[-1])

    @property
    def num_outputs(self) -> int:
        """Channels of what it gives."""
        return int(self.network.output_shape[-1])


def read_foreign(path: Path) -> Foreign:
    """Read a Keras network from a .keras or Keras .h5 file; no code of its own is run.

    Raises:
        WeightsError, WeightsNotFoundError: there is no such file, or it is damaged or has foreign classes.
        ZooError: it is no network from images to maps of the same size.
    """
    import keras

    if path.suffix.lower() in (".h5", ".hdf5"):
        network = _read_h5(path)
    elif path.suffix.lower() == ".keras":
        network = read_network(path)
    else:
        raise ZooError(f"{path} is no Keras network; {KINDS}")
    inputs, outputs = getattr(network, "inputs", None) or [], getattr(network, "outputs", None) or []
    shapes = [tuple(tensor.shape) for tensor in (*inputs, *outputs)]
    if len(inputs) != 1 or len(outputs) != 1 or [len(shape) for shape in shapes] != [4, 4]:
        raise ZooError(
            f"{path}: a network has one input (N, H, W, channels) and one output (N, H, W, classes); received "
            f"{', '.join(map(str, shapes)) or 'a network without a fixed input'}"
        )
    if any(shape[-1] is None for shape in shapes):
        raise ZooError(f"{path}: the channels of a network must be known; received {shapes[0]} and {shapes[1]}")
    functional = keras.Model(network.inputs[0], network.outputs[0], name=network.name)
    return Foreign(path, with_precision(functional, "float32"))


def _read_h5(path: Path) -> Any:
    """Read a Keras .h5 file, whose configuration is looked at before anything is built."""
    import h5py
    import keras

    try:
        with h5py.File(path) as file:
            text = file.attrs.get("model_config")
        if text is None:
            raise ZooError(f"{path} has weights and no network; {KINDS}")
        config = json.loads(text)
        for name, module in _classes_in(config):
            if not _is_of_keras(name, module):
                raise ZooError(
                    f"{path} has a {name!r:.60}, which runs code or is not Keras's, or reads files, or whose size"
                    " cannot be checked; networks here have none"
                )
        check_h5_sizes(path, config)
        return keras.saving.load_model(path, compile=False)
    except ZooError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise ZooError(f"{path} is no Keras network that can be read ({reason}); {KINDS}") from error


def _classes_in(config: Any) -> list[tuple[str, str | None]]:
    """Name all classes, with their modules, that a configuration would have made."""
    if isinstance(config, list):
        return [found for part in config for found in _classes_in(part)]
    if not isinstance(config, dict):
        return []
    own = [(str(config["class_name"]), config.get("module"))] if "class_name" in config else []
    return own + [found for part in config.values() for found in _classes_in(part)]


def _is_of_keras(name: str, module: str | None) -> bool:
    """Tell classes of Keras, which older files name without a module, and functions, which it finds by their names."""
    is_known = ">" not in name if module is None else module == "keras" or module.startswith("keras.")
    return name not in REFUSED and (is_known or (name == "function" and module == "builtins"))


def to_logits(foreign: Foreign, activation: Activation, slice_size: tuple[int, int]) -> Any:
    """Give the same network without its last activation, for images of any size.

    Args:
        foreign: the network.
        activation: what its last layer applies.
        slice_size: (height, width) that it was trained on.

    Returns:
        A Keras model from ``images`` (N, H, W, C) to logits (N, H, W, K), of one class alone where K would be 2: the
        logit of the second against the first. Layers with weights are called ``encoder_...``, the last ``head_...``,
        unless their names tell their stage already.

    Raises:
        ZooError: the last layer applies something else, no size fits, or the numbers are not those of the network.
    """
    network = foreign.network
    config = network.get_config()
    _drop_activation(foreign, config, activation)
    _open_sizes(config)
    multiple = _multiple_of(foreign, config)
    opened = _named(network, config, _stage_names(network), multiple)
    height, width = (size + -size % multiple for size in slice_size)
    native = (int(network.input_shape[1] or height), int(network.input_shape[2] or width))
    _check_numbers(foreign, opened, activation, native)
    ended = _ended(opened, activation, multiple)
    check_sizes(ended, [native, (37, 50)])
    return ended


def _drop_activation(foreign: Foreign, config: dict[str, Any], activation: Activation) -> None:
    name = config["output_layers"][0] if isinstance(config["output_layers"][0], str) else config["output_layers"][0][0]
    last = next(layer for layer in config["layers"] if layer["name"] == name)
    applied = last["config"].get("activation") if last["class_name"] != "Softmax" else "softmax"
    applied = applied["config"] if isinstance(applied, dict) else applied
    applied = "logits" if applied in (None, "linear") else applied
    if applied != activation:
        raise ZooError(
            f"{foreign.path}: the last layer, {name}, applies {'nothing' if applied == 'logits' else applied}, and "
            f"the answer is activation: {activation}; a last activation is one of logits (nothing), softmax, sigmoid"
        )
    if last["class_name"] == "Softmax":
        if last["config"].get("axis", -1) not in (-1, 3):
            raise ZooError(f"{foreign.path}: the softmax of {name} must be over the channels, the last axis")
        last["class_name"], last["module"], last["registered_name"] = "Activation", "keras.layers", None
        last["config"] = {key: last["config"][key] for key in ("name", "dtype", "trainable") if key in last["config"]}
        for node in last["inbound_nodes"]:
            node["kwargs"] = {}
    if activation != "logits":
        last["config"]["activation"] = "linear"


def _open_sizes(config: dict[str, Any]) -> None:
    """Let the input have any height and width, and no layer be told of another."""
    for layer in config["layers"]:
        if layer["class_name"] == "InputLayer":
            shape = layer["config"].pop("batch_shape", None) or layer["config"].pop("batch_input_shape")
            layer["config"]["batch_shape"] = (None, None, None, shape[-1])
        layer.pop("build_config", None)


def _multiple_of(foreign: Foreign, config: dict[str, Any]) -> int:
    """Find what heights and widths must be multiples of, by trying."""
    reason = "it gives maps of another size"
    for multiple in MULTIPLES:
        height, width = 3 * multiple, 5 * multiple
        try:
            network = rebuild(foreign.network, config, "float32")
            found = network(np.zeros((1, height, width, foreign.channels), np.float32), training=False)
        except Exception as error:
            reason = " ".join(str(error).split())[:200]
            continue
        if tuple(found.shape) == (1, height, width, foreign.num_outputs):
            return multiple
    raise ZooError(
        f"{foreign.path}: a network must give maps of its images' size, for images of several sizes ({reason})"
    )


def _stage_names(network: Any) -> dict[str, str]:
    """Give names that tell the stage to the layers with weights whose names do not."""
    weighted = [layer.name for layer in network.layers if layer.weights]
    starts = tuple(start for stage in STAGES.values() for start in stage)
    names = {name: name if name.startswith(starts) else f"encoder_{name}" for name in weighted}
    if weighted and not weighted[-1].startswith(STAGES["head"]):
        names[weighted[-1]] = f"head_{weighted[-1]}"
    return names


def _named(network: Any, config: dict[str, Any], names: dict[str, str], multiple: int) -> Any:
    """Build with layers of other names, and with padding after the input, where a multiple asks for it."""
    import keras

    from dist_training.architectures.padding import PadToMultiple

    old = next(layer["name"] for layer in config["layers"] if layer["class_name"] == "InputLayer")
    names = {**names, old: IMAGES}
    named = _renamed(config, names)
    if multiple > 1:
        entry = next(layer for layer in named["layers"] if layer["name"] == IMAGES)
        shape = list(entry["config"]["batch_shape"])
        named["layers"] = _renamed(named["layers"], {IMAGES: PAD}, histories_only=True)
        tensor = {"shape": shape, "dtype": "float32", "keras_history": [IMAGES, 0, 0]}
        padding = keras.saving.serialize_keras_object(PadToMultiple(multiple, name=PAD, dtype="float32"))
        node = {"args": [{"class_name": "__keras_tensor__", "config": tensor}], "kwargs": {}}
        named["layers"].insert(1, {**padding, "name": PAD, "inbound_nodes": [node]})
    return rebuild(network, named, "float32", names=names)


def _renamed(part: Any, names: dict[str, str], histories_only: bool = False) -> Any:
    """Give a configuration, of the outermost network only, with other names of layers."""
    if isinstance(part, list | tuple):
        return [_renamed(one, names, histories_only) for one in part]
    if not isinstance(part, dict):
        return part
    if "keras_history" in part:
        name, *place = part["keras_history"]
        return {**part, "keras_history": [names.get(name, name), *place]}
    changed = {key: _renamed(value, names, histories_only) for key, value in part.items() if key != "config"}
    if "config" in part:
        is_tensor = part.get("class_name") == "__keras_tensor__"
        changed["config"] = _renamed(part["config"], names, histories_only) if is_tensor else part["config"]
    if histories_only:
        return changed
    if "inbound_nodes" in part and part["name"] in names:
        changed["name"] = names[part["name"]]
        changed["config"] = {**part["config"], "name": changed["name"]}
    for key in ("input_layers", "output_layers"):
        if key in part:
            changed[key] = _renamed_end(part[key], names)
    return changed


def _renamed_end(end: Any, names: dict[str, str]) -> Any:
    """Rename what Keras has as the ends of a network: [name, 0, 0], or a list of such."""
    if isinstance(end[0], str):
        return [names.get(end[0], end[0]), *end[1:]]
    return [_renamed_end(one, names) for one in end]


def _check_numbers(foreign: Foreign, opened: Any, activation: Activation, size: tuple[int, int]) -> None:
    """Compare what the last activation makes of the logits with what the network gave."""
    import keras

    rng = np.random.default_rng(0)
    images = rng.normal(size=(2, *size, foreign.channels)).astype(np.float32)
    applied = {"logits": keras.activations.linear, "softmax": keras.activations.softmax}
    given = applied.get(activation, keras.activations.sigmoid)(opened(images, training=False))
    expected = np.asarray(foreign.network(images, training=False))
    difference = float(np.abs(np.asarray(given) - expected).max())
    if not difference <= TOLERANCE * max(1.0, float(np.abs(expected).max())):
        raise ZooError(
            f"{foreign.path}: without its last activation the network is another one (its outputs differ by "
            f"{difference:.2g}); save it with logits and answer activation: logits"
        )


def _ended(opened: Any, activation: Activation, multiple: int) -> Any:
    """Make one logit of two, and cut the padding off again."""
    import keras

    from dist_training.architectures.padding import CropLike

    if opened.output_shape[-1] == 2 and activation != "sigmoid":
        opened = _as_one_logit(opened)
    if multiple == 1:
        return opened
    cropped = CropLike(dtype="float32", name="crop")([opened.outputs[0], opened.inputs[0]])
    return keras.Model(opened.inputs[0], cropped, name=opened.name)


def _as_one_logit(network: Any) -> Any:
    """Give the logit of the second of two classes against the first: their difference, within the last layer."""
    import keras

    last = [layer for layer in network.layers if layer.weights][-1]
    config = network.get_config()
    entry = next(layer for layer in config["layers"] if layer["name"] == last.name)
    width = next((key for key in ("filters", "units") if entry["config"].get(key) == 2), None)
    probe = np.random.default_rng(0).normal(size=(1, 128, 128, network.input_shape[-1])).astype(np.float32)
    expected = np.asarray(network(probe, training=False))
    expected = expected[..., 1:] - expected[..., :1]
    if width is not None:
        entry["config"][width] = 1
        axis = 2 if type(last).__name__ == "Conv2DTranspose" else -1
        narrow = rebuild(network, config, "float32", fresh=(last.name,))
        weights = [np.diff(weight, axis=axis if weight.ndim > 1 else -1) for weight in last.get_weights()]
        if [weight.shape for weight in weights] == [tuple(one.shape) for one in narrow.get_layer(last.name).weights]:
            narrow.get_layer(last.name).set_weights(weights)
            found = np.asarray(narrow(probe, training=False))
            if np.abs(found - expected).max() <= TOLERANCE * max(1.0, float(np.abs(expected).max())):
                return narrow
    difference = keras.layers.Conv2D(1, 1, use_bias=False, dtype="float32", name="head_difference")
    logit = difference(network.outputs[0])
    difference.set_weights([np.array([-1.0, 1.0], np.float32).reshape((1, 1, 2, 1))])
    return keras.Model(network.inputs[0], logit, name=network.name)
