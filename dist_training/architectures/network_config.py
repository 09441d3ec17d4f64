"""config.json of a .keras file, looked at before Keras builds from it: what it names, and how many weights it asks for.

Loads no Keras: the question is what the text would have it do.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dist_training.errors import WeightsError

__all__ = ["NOT_MEASURED", "OUR_CLASSES", "RUN_OR_READ", "check_config", "check_numbers"]

OUR_CLASSES = frozenset(
    f"dist_training>{name}"
    for name in (
        "Bilinear",
        "CropLike",
        "GroupNormalisation",
        "LinearEnlargement",
        "PadToMultiple",
        "SampleDropout",
        "VolumePooling",
        "ZeroBorder",
    )
)
"""What the architectures of this package have registered with Keras."""

KERAS_MODULES = (
    "keras",
    "keras.activations",
    "keras.constraints",
    "keras.dtype_policies",
    "keras.initializers",
    "keras.layers",
    "keras.losses",
    "keras.metrics",
    "keras.models",
    "keras.optimizers",
    "keras.optimizers.schedules",
    "keras.random",
    "keras.regularizers",
    "keras.src.models.functional",
    "keras.src.models.model",
    "keras.src.models.sequential",
    "keras.src.random.seed_generator",
)
KERAS_OPERATIONS = "keras.src.ops."  # what a network made of Keras's functions, or of slices of maps, is made of
RUN_OR_READ = frozenset(
    (
        *("FlaxLayer", "JaxLayer", "Lambda", "TFSMLayer", "TorchModuleWrapper"),
        *("FeatureSpace", "IntegerLookup", "StringLookup", "TextVectorization"),
    )
)
"""Classes of Keras that run code which is not Keras's, or read other files."""
NOT_MEASURED = frozenset(("EinsumDense", "MelSpectrogram", "ReversibleEmbedding", "STFTSpectrogram", "StackedRNNCells"))
"""Those whose weights cannot be told from their settings, and that networks of images do without."""
WRAPPERS = frozenset(("Bidirectional", "RNN", "SpectralNormalization", "TimeDistributed"))
"""Those that hold one layer, which is built for the last axis of their own shape."""
IDENTIFIER = re.compile(r"[A-Za-z_]\w*", re.ASCII)
VALUES = frozenset(("__keras_tensor__", "__tensor__", "__numpy__", "__bytes__", "__ellipsis__", "__slice__"))
NUMBER_TYPE = re.compile(r"(u?int|float|bfloat|complex)\d{1,3}|bool")
LARGEST_NUMBER = 1 << 16  # that a setting may be, whatever the weights: pixels of a side, steps, classes
NAMELESS = ("seed", "shared_object_id")  # numbers that are no size
ESTIMATED = 8  # how many times more than it takes an estimate may say

Shapes = tuple[tuple[int | None, ...], ...]


@dataclass(frozen=True)
class _Layer:
    """An entry of the configuration that makes an object.

    Attributes:
        name: its class.
        where: its own name, or the class, for messages.
        registered: the name under which a class that is not Keras's is known to Keras.
        settings: what it is made with.
        shapes: of what it is built for: its own, else those of the wrapper around it.
    """

    name: str
    where: str
    registered: str | None
    settings: Mapping[str, Any]
    shapes: Shapes


def check_config(config: Any, stored: int, known: Collection[str] | None = None) -> None:
    """Refuse a configuration that names foreign classes or functions, or asks for more weights than there are.

    Args:
        config: content of config.json.
        stored: numbers in the file of weights.
        known: registered names of other classes that may be made, as they are in memory already; None: any, which is
            for who makes none.

    Raises:
        WeightsError: says what is refused, and why.
    """
    if not isinstance(config, Mapping) or "class_name" not in config:
        raise WeightsError("config.json describes no network")
    asked = 0.0
    for layer in _layers({**config, "compile_config": None}):  # Keras is told not to compile
        _check_class(layer, known)
        asked += _weights_of(layer, stored)
    if asked > stored:
        raise WeightsError(f"its layers ask for {asked:.3g} weights or more, and its file holds {stored}")


def _layers(config: Mapping[str, Any]) -> Iterator[_Layer]:
    """Every entry that makes an object, wherever it stands; without recursion, as depth is the file's choice."""
    pending: list[tuple[Any, Shapes]] = [(config, ())]
    while pending:
        entry, around = pending.pop()
        if isinstance(entry, list):
            pending += ((one, around) for one in entry)
        if not isinstance(entry, Mapping):
            continue
        if "class_name" in entry:
            shapes = tuple(_shapes_in(entry.get("build_config"))) or around
            layer = _layer_of(entry, shapes)
            if layer is not None:
                yield layer
                around = shapes if layer.name in WRAPPERS else ()
        pending += ((value, around) for value in entry.values())


def _layer_of(entry: Mapping[str, Any], shapes: Shapes) -> _Layer | None:
    """Give what an entry makes; None for mere values, and for functions of Keras's."""
    name, module, settings = entry["class_name"], entry.get("module"), entry.get("config")
    if name in VALUES:
        kind = settings.get("dtype", "float32") if isinstance(settings, Mapping) else "float32"
        if not isinstance(kind, str) or not NUMBER_TYPE.fullmatch(kind):
            raise WeightsError(f"it has values of the type {kind!r:.60}, which no network needs")
        return None
    if name == "function" and module in ("builtins", *KERAS_MODULES):
        return None
    if not isinstance(name, str) or not IDENTIFIER.fullmatch(name) or not isinstance(module, str):
        raise WeightsError(f"its entry {name!r:.60} names no class of a module")
    registered = entry.get("registered_name")
    if not isinstance(registered, str | None):
        raise WeightsError(f"its entry {name!r:.60} has no name that Keras could know")
    is_keras = module in KERAS_MODULES or module.startswith(KERAS_OPERATIONS)
    if is_keras and registered in (None, name):
        registered = None
    elif registered is None or registered == name:
        registered = f"{module}.{name}"
    if registered in OUR_CLASSES:  # that is what Keras goes by
        name = registered.partition(">")[2]
    settings = settings if isinstance(settings, Mapping) else {}
    where = settings.get("name", name)
    return _Layer(name, f"{where!s:.60}", registered, settings, shapes)


def _check_class(layer: _Layer, known: Collection[str] | None) -> None:
    if layer.registered is None and layer.name in NOT_MEASURED:
        raise WeightsError(f"it has a {layer.name}, whose size cannot be checked; use other layers")
    if layer.name in RUN_OR_READ or layer.name.startswith("__") or layer.name == "function":
        raise WeightsError(f"it has a {layer.name!r:.60}, which runs code or reads files; networks here have none")
    if layer.registered is None or layer.registered in OUR_CLASSES:
        return
    if known is not None and layer.registered not in known:
        raise WeightsError(f"it has a {layer.registered:.80}, which is neither Keras's nor R2D2's")


def _shapes_in(build: Any) -> Iterator[tuple[int | None, ...]]:
    """Every list of numbers in what a layer says that it was built for."""
    pending = [build]
    while pending:
        entry = pending.pop()
        if isinstance(entry, Mapping):
            pending += entry.values()
        elif isinstance(entry, list) and entry and all(one is None or isinstance(one, int) for one in entry):
            yield tuple(entry)
        elif isinstance(entry, list):
            pending += entry


def _weights_of(layer: _Layer, stored: int) -> float:
    """Tell how many weights a layer asks for; of one that is not in the table, at least that."""
    check_numbers(layer.settings, layer.where, stored)
    if layer.registered is not None and layer.registered not in OUR_CLASSES:
        return 0  # of a class whose code is here already
    count = COUNTS.get(layer.name.replace("Convolution", "Conv"))
    if count is None and not any(isinstance(layer.settings.get(key), int) for key in WIDTHS):
        return 0
    if not layer.shapes:
        raise WeightsError(f"its {layer.where} does not say for what shape it was built")
    try:
        return _estimate(layer) if count is None else count(layer)
    except (TypeError, ValueError, LookupError, ArithmeticError) as error:
        raise WeightsError(f"its {layer.where} has settings that make no {layer.name} ({error})") from error


def check_numbers(settings: Mapping[str, Any], where: str, stored: int) -> None:
    """Refuse settings with a number that no network of so many weights has.

    Args:
        settings: of a layer.
        where: its name, for messages.
        stored: numbers in the file of weights.

    Raises:
        WeightsError: there is one.
    """
    largest = max(LARGEST_NUMBER, stored)
    for key, number in _numbers_in(settings):
        if number > largest:
            raise WeightsError(f"{key}={number} of its {where} is more than its file of {stored} weights bears")


def _numbers_in(settings: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    pending: list[tuple[str, Any]] = [(str(key), value) for key, value in settings.items()]
    while pending:
        key, value = pending.pop()
        if isinstance(value, list):
            pending += ((key, one) for one in value)
        elif isinstance(value, Mapping) and "class_name" not in value:
            pending += ((str(name), one) for name, one in value.items())
        elif isinstance(value, int | float) and not isinstance(value, bool) and key not in NAMELESS:
            yield key, abs(value) if isinstance(value, int) else value if key in WIDTHS else 0


def _number(value: Any, default: float = 1) -> float:
    """Read a size; as a float, so that an absurd one costs nothing."""
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{value!r:.40} is no number")
    return abs(float(value))


def _product(values: Any) -> float:
    return math.prod(_number(value) for value in (values if isinstance(values, Sequence) else [values]))


def _channels(layer: _Layer) -> float:
    """Channels of the largest input, where the layer's data format has them."""
    is_first = layer.settings.get("data_format") == "channels_first"
    return max(_number(shape[1 if is_first else -1]) for shape in layer.shapes)


def _along_axes(layer: _Layer) -> float:
    axes = layer.settings.get("axis", -1)
    return max(_product([shape[axis] for axis in _as_list(axes)]) for shape in layer.shapes)


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _convolution(layer: _Layer) -> float:
    settings = layer.settings
    filters, window = _number(settings["filters"]), _product(settings["kernel_size"])
    weights = window * _channels(layer) / _number(settings.get("groups", 1)) * filters
    return weights + _low_rank(layer, filters) + _bias(layer, filters)


def _separable(layer: _Layer) -> float:
    settings = layer.settings
    maps = _channels(layer) * _number(settings.get("depth_multiplier"))
    filters = _number(settings.get("filters"), default=0)
    return maps * (_product(settings["kernel_size"]) + filters) + _bias(layer, filters or maps)


def _dense(layer: _Layer) -> float:
    units = _number(layer.settings["units"])
    return _channels(layer) * units + _low_rank(layer, units) + _bias(layer, units)


def _bias(layer: _Layer, width: float) -> float:
    return width if layer.settings.get("use_bias", True) else 0


def _low_rank(layer: _Layer, width: float) -> float:
    return (_product(layer.settings.get("kernel_size")) * _channels(layer) + width) * _number(
        layer.settings.get("lora_rank"), default=0
    )


def _attention(layer: _Layer) -> float:
    settings = layer.settings
    heads = _number(settings["num_heads"]) * (_number(settings["key_dim"]) + _number(settings.get("value_dim")))
    return heads * _channels(layer)


def _estimate(layer: _Layer) -> float:
    """Of a recurrent layer and the like: what joins its input to its width, and that to itself, at least in part."""
    width = _product([layer.settings[key] for key in WIDTHS if layer.settings.get(key) is not None])
    return width * (width + _channels(layer)) / ESTIMATED


def _rectifier(layer: _Layer) -> float:
    shared = {_number(axis) for axis in layer.settings.get("shared_axes") or ()}
    return max(
        _product([size for axis, size in enumerate(shape) if axis and axis not in shared]) for shape in layer.shapes
    )


_CONVOLUTIONS = ("Conv1D", "Conv2D", "Conv3D", "Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose")
_SEPARABLE = ("SeparableConv1D", "SeparableConv2D", "DepthwiseConv1D", "DepthwiseConv2D")

COUNTS: dict[str, Callable[[_Layer], float]] = {
    **dict.fromkeys(_CONVOLUTIONS, _convolution),
    **dict.fromkeys(_SEPARABLE, _separable),
    "Dense": _dense,
    "Embedding": lambda layer: _number(layer.settings["input_dim"]) * _number(layer.settings["output_dim"]),
    "MultiHeadAttention": _attention,
    "PReLU": _rectifier,
    "AdditiveAttention": _channels,
    "Attention": lambda layer: 0,
    "BatchNormalization": lambda layer: 2 * _along_axes(layer),
    "GroupNormalization": _along_axes,
    "GroupNormalisation": lambda layer: 2 * _channels(layer),
    "LayerNormalization": _along_axes,
    "Normalization": _along_axes,
    "RMSNormalization": _along_axes,
}
"""Weights of a layer by its class: exactly, or fewer where a setting may leave some out."""
WIDTHS = ("filters", "units", "num_heads", "num_query_heads", "key_dim", "head_dim", "output_dim", "projection_dim")
"""Settings that are the width of a layer."""
