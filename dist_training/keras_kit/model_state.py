"""What the training of a Keras model goes on from: its weights, and the variables of all its optimizers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from dist_training.ranks.distributed_optimizer import is_distributed
from r2d2_base.errors import ConfigurationError

__all__ = [
    "NO_WEIGHTS",
    "assign",
    "is_trained_by_keras",
    "learning_rates",
    "optimizers_of",
    "seed_states",
    "state_variables",
    "values",
]

_BOOKKEEPING = "_self_"
"""What TensorFlow notes of an object begins with."""

NO_WEIGHTS = "the model has no weights yet; start it with keras.Input, or call model.build(input_shape)"


def optimizers_of(model: Any) -> dict[str, Any]:
    """Find the optimizers of a model, such as the two of a GAN, by the attributes that hold them.

    Args:
        model: a Keras model; its own attributes are looked at, those of the layers and models in it, and the lists,
            tuples and dicts that these hold.

    Returns:
        {name: optimizer}, the compiled one, "optimizer", first. Optimizers inside another are its matter, and one that
        ``DistributedOptimizer`` was made of is the made one.

    >>> model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    >>> model.compile("sgd")
    >>> list(optimizers_of(model))
    ['optimizer']
    """
    found: dict[str, Any] = {}
    for layer in model._flatten_layers():
        prefix = "" if layer is model else f"{layer.name}."
        attributes = {name: value for name, value in vars(layer).items() if not name.startswith(_BOOKKEEPING)}
        for name, value in attributes.items():
            found.update((f"{prefix}{path}", one) for path, one in _optimizers_in(value, name))
    inner = {id(one) for optimizer in found.values() for one in _inside(optimizer)}
    made_of = {id(one._variables) for one in found.values() if is_distributed(one)}
    seen: dict[int, str] = {}
    for name, one in sorted(found.items(), key=lambda item: item[0] != "optimizer"):
        is_source = id(one._variables) in made_of and not is_distributed(one)
        if id(one) not in inner and not is_source:
            seen.setdefault(id(one), name)
    return {name: found[name] for name in seen.values()}


def _optimizers_in(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, keras.optimizers.Optimizer):
        yield name, value
    elif isinstance(value, list | tuple):
        for number, one in enumerate(value):
            yield from _optimizers_in(one, f"{name}[{number}]")
    elif isinstance(value, Mapping):
        for key, one in value.items():
            yield from _optimizers_in(one, f"{name}[{key!r}]")


def _inside(optimizer: Any) -> list[Any]:
    """Give the optimizers that a LossScaleOptimizer or a MultiOptimizer applies."""
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        return [optimizer.inner_optimizer, *_inside(optimizer.inner_optimizer)]
    return list(optimizer.optimizers) if isinstance(optimizer, keras.optimizers.MultiOptimizer) else []


def is_trained_by_keras(model: Any) -> bool:
    """Whether a model's steps are those of Keras, which apply the compiled optimizer; False where it has its own.

    >>> is_trained_by_keras(keras.Sequential())
    True
    """
    return type(model).train_step is keras.Model.train_step


def learning_rates(model: Any) -> list[float]:
    """Give the present learning rates of all optimizers of a model."""
    plain = []
    for optimizer in optimizers_of(model).values():
        inner = [one for one in _inside(optimizer) if not _inside(one)]
        plain += inner or [optimizer]
    return [float(keras.ops.convert_to_numpy(one.learning_rate)) for one in plain]


def state_variables(model: Any) -> list[Any]:
    """Give the weights of a model and the variables of its optimizers; builds the one that Keras would build.

    Raises:
        ConfigurationError: the model has no weights yet: an optimizer that is built for no variables takes none later.
    """
    if not model.built:
        raise ConfigurationError(NO_WEIGHTS)
    if model.optimizer is not None and not model.optimizer.built and is_trained_by_keras(model):
        model.optimizer.build(model.trainable_variables)
    found = [one for one in optimizers_of(model).values() if one.built]
    return [*model.weights, *(variable for one in found for variable in one.variables)]


def seed_states(model: Any) -> list[Any]:
    """Give the states, each a seed and the number of draws by it, of what draws at random in a model: its dropout."""
    return [generator.state for layer in model._flatten_layers() for generator in layer._seed_generators]


def values(variables: Sequence[Any]) -> list[np.ndarray]:
    """Read variables."""
    return [np.asarray(keras.ops.convert_to_numpy(variable)) for variable in variables]


def assign(variables: Sequence[Any], arrays: Sequence[np.ndarray]) -> None:
    """Write variables."""
    for variable, array in zip(variables, arrays, strict=True):
        variable.assign(array)
