"""A network in another precision: rebuilt from its configuration, with its weights rounded."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from dist_training.errors import WeightsError
from r2d2_base.errors import ConfigurationError

if TYPE_CHECKING:
    import keras

__all__ = ["PRECISIONS", "dtype_policy", "rebuild", "with_precision"]

PRECISIONS = ("float16", "float32", "float64")
_OF_VALUES = ("InputLayer", "__keras_tensor__")  # whose dtype is that of arrays, no policy
_FLOATING = (*PRECISIONS, "bfloat16", "mixed_float16", "mixed_bfloat16")


def with_precision(network: "keras.Model", policy: str) -> "keras.Model":
    """Rebuild a network so that all its layers hold their weights and compute in one precision.

    Whatever precision each layer has, of mixed precision too, it gets this one; layers keep their names, and the
    network its outputs. Keras's global policy stays as it is.

    Args:
        network: one that its configuration rebuilds, as each of ``build_network`` and ``read_network`` can be; it is
            not changed, and shares nothing with what is given.
        policy: ``float16``, ``float32`` or ``float64``.

    Returns:
        A Keras model with the same weights, rounded to the precision; not compiled.

    Raises:
        ConfigurationError: there is no such precision.
        WeightsError: a weight is too large for the precision.

    >>> from dist_training.architectures import UNetSettings, build_network
    >>> half = with_precision(build_network(UNetSettings(base_filters=2, depth=1), 1, 2), "float16")
    >>> {weight.dtype for weight in half.weights}, half.output.dtype
    ({'float16'}, 'float16')
    """
    if policy not in PRECISIONS:
        raise ConfigurationError(f"a network's precision is one of {', '.join(PRECISIONS)}; received {policy!r:.40}")
    return rebuild(network, network.get_config(), policy)


def rebuild(
    network: "keras.Model",
    config: dict[str, Any],
    policy: str,
    *,
    fresh: Collection[str] = (),
    names: Mapping[str, str] | None = None,
) -> "keras.Model":
    """Build a network anew from its configuration, perhaps with changes, under a dtype policy.

    Args:
        network: whose weights it gets.
        config: its configuration, perhaps with other settings and with new layers that have no weights.
        policy: of all layers, mixed precision too: the input then has the precision of the weights.
        fresh: names of layers that keep their initial weights.
        names: of layers that are called otherwise in the configuration, by their names in the network.

    Raises:
        WeightsError: a weight is too large for the precision.
    """
    import keras

    values = keras.DTypePolicy(policy).variable_dtype
    with dtype_policy(policy):  # for layers that a layer of one's own makes for itself: no configuration names them
        rebuilt: keras.Model = type(network).from_config(_with_dtype(config, policy, values))
    known = {(names or {}).get(layer.name, layer.name): layer.weights for layer in network.layers}
    for layer in rebuilt.layers:  # by layer: one that is shared with a nested model may come in another order
        if layer.weights and layer.name not in fresh:
            for old, new in zip(known[layer.name], layer.weights, strict=True):
                new.assign(_rounded(old, new))
    return rebuilt


@contextmanager
def dtype_policy(policy: str) -> Iterator[None]:
    """Let Keras build with a dtype policy for a while; afterwards, and after an error, it has its former one.

    Args:
        policy: ``float32``, ``mixed_bfloat16`` or another name that Keras has.
    """
    import keras

    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _with_dtype(config: Any, policy: str, values: str) -> Any:
    """Give a configuration in which each layer has this policy, each input this dtype, if it is of floating point."""
    if isinstance(config, list | tuple):
        return type(config)(_with_dtype(part, policy, values) for part in config)
    if not isinstance(config, dict):
        return config
    own = values if config.get("class_name") in _OF_VALUES else policy
    return {
        key: own if key == "dtype" and _is_floating(value) else _with_dtype(value, own, values)
        for key, value in config.items()
    }


def _is_floating(dtype: Any) -> bool:
    """Tell whether what a configuration has as its dtype, a name or a policy of Keras, is of floating point."""
    if isinstance(dtype, dict):
        return dtype.get("class_name") == "DTypePolicy" and _is_floating(dtype["config"]["name"])
    return dtype in _FLOATING


def _rounded(old: Any, new: Any) -> np.ndarray:
    import keras

    value = keras.ops.convert_to_numpy(old)
    with np.errstate(over="ignore"):
        rounded = value.astype(new.dtype) if keras.backend.is_float_dtype(new.dtype) else value
    if np.isinf(rounded).any() and not np.isinf(value).any():
        raise WeightsError(
            f"{old.path} holds weights up to {np.abs(value).max():.4g}, too large for {new.dtype}; keep more precision"
        )
    return rounded
