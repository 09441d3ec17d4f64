"""What a network gives: logits, or with deep supervision a list of them, of which the first are the prediction."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from r2d2_base.errors import ConfigurationError

if TYPE_CHECKING:
    import keras

__all__ = ["check_sizes", "prediction_network"]

SLICES, VOLUMES = "slices", "volumes"
_STRENGTHS = (1.0, 1e4)
"""Logits of the second noise leave 0 to 1 even where none of the first does, as those of a network that hardly tells
pixels apart yet may not."""

_TELLING = 64
"""So many numbers lie between 0 and 1 by no chance where each could have either sign, as logits can."""


def prediction_network(model: "keras.Model") -> "keras.Model":
    """Give the network that predicts: the same weights (shared, not copied), with the first output only.

    What is validated, saved and exported is this, so that a saved model has one output whatever it was trained with.

    Args:
        model: a network from ``build_network``.

    Returns:
        The model itself where it has one output, else a model of the layers that lead to its first output.

    >>> from dist_training.architectures import ResidualUNetSettings, build_network
    >>> model = build_network(ResidualUNetSettings(blocks=(1, 1, 1, 1), base_filters=2), 1, 3)
    >>> len(model.outputs), prediction_network(model).output_shape
    (2, (None, None, None, 3))
    """
    import keras

    if len(model.outputs) == 1 and not isinstance(model.output_shape, list):
        return model
    return keras.Model(model.inputs[0], model.outputs[0], name=model.name)


def check_sizes(model: "keras.Model", sizes: Iterable[tuple[int, ...]]) -> None:
    """Refuse a network that cannot take images of some size, or gives something else than logits of that size.

    Networks of ours take any size and give logits; one of the user's own may not, which images of noise show.

    Args:
        model: a network from ``build_network``.
        sizes: heights and widths, of volumes depths before them.

    Raises:
        ConfigurationError: naming the size, or saying that the network gives probabilities.

    >>> from dist_training.architectures import UNetSettings, build_network
    >>> check_sizes(build_network(UNetSettings(base_filters=2), 1, 2), [(37, 50)])
    """
    import keras

    predicting = prediction_network(model)
    channels, outputs = predicting.input_shape[-1], predicting.output_shape[-1]
    axes = len(predicting.input_shape) - 2
    for size in sorted(set(sizes)):
        pixels = " x ".join(map(str, size))
        if len(size) != axes:
            kind, other = (SLICES, VOLUMES) if axes == 2 else (VOLUMES, SLICES)
            raise ConfigurationError(
                f"the network {model.name} takes {kind}, and these data are {other} of {pixels} pixels: choose "
                f"network.dimensions={len(size)}, or prepare {kind}"
            )
        noise = np.random.default_rng(0).normal(size=(*size, channels))
        images = keras.ops.cast(np.multiply.outer(_STRENGTHS, noise), predicting.inputs[0].dtype)
        try:
            logits = keras.ops.convert_to_numpy(predicting(images))
        except Exception as error:
            reason = " ".join(str(error).split())[:300]
            raise ConfigurationError(
                f"the network {model.name} cannot take images of {pixels} pixels ({reason}); "
                "pad them inside the network (dist_training.architectures.padding), or prepare another slice size"
            ) from error
        if logits.shape[1:] != (*size, outputs):
            raise ConfigurationError(
                f"the network {model.name} must give logits {(*size, outputs)} for images of {pixels} pixels; "
                f"received {logits.shape[1:]}; pad and crop inside it (dist_training.architectures.padding)"
            )
        if _are_probabilities(logits):
            raise ConfigurationError(
                f"the network {model.name} must give logits, not probabilities; of noise, faint or strong, it makes "
                "numbers from 0 to 1 only, as a sigmoid or softmax at its end does: leave that to R2D2"
            )


def _are_probabilities(logits: np.ndarray) -> bool:
    """Tell whether a network's answer (N, ..., K) to noise lies between 0 and 1 everywhere, and is not constant."""
    pixels = tuple(range(logits.ndim - 1))
    varies = (logits.max(axis=pixels) > logits.min(axis=pixels)).any()
    return bool(logits.size >= _TELLING and varies and logits.min() >= 0 and logits.max() <= 1)
