"""A network that was made elsewhere: its layers are read from its file, not built from settings."""

from pathlib import Path
from typing import Any

import keras

from dist_training.architectures.layer_stages import stages
from dist_training.architectures.precision import rebuild
from dist_training.architectures.registry import read_network
from dist_training.architectures.settings import ImportedSettings
from r2d2_base.errors import ConfigurationError

__all__ = ["build"]


def build(settings: ImportedSettings, input_channels: int, num_outputs: int, seed: int) -> keras.Model:
    """Give the network in a file, with its weights; for another number of outputs with a last layer of its own.

    Args:
        settings: name the file.
        input_channels: channels of an image; those of the file's network.
        num_outputs: channels of the logits.
        seed: of the weights of a new last layer.

    Returns:
        A Keras model from (N, H, W, input_channels) to logits (N, H, W, num_outputs).

    Raises:
        ConfigurationError: no file is named, or its network takes other channels or has a last layer of another kind.
        WeightsNotFoundError: there is no such file.
        WeightsError: it is damaged.
    """
    if settings.file is None:
        raise ConfigurationError(
            "network.architecture=imported is trained from its weights, never from nothing; start from its folder: "
            "transfer.start_from=FOLDER"
        )
    model = read_network(Path(settings.file))
    channels, outputs = model.input_shape[-1], model.output_shape[-1]
    if channels != input_channels:
        raise ConfigurationError(
            f"the network in {settings.file} takes {channels} input channels; received a dataset with {input_channels}"
        )
    config, fresh = model.get_config(), []
    if outputs != num_outputs:
        head = stages(model)["head"][-1:]
        _widen(config, head, num_outputs, settings.file)
        fresh = head
    keras.utils.set_random_seed(seed)
    rebuilt = rebuild(model, config, keras.config.dtype_policy().name, fresh=fresh)
    precision = keras.config.dtype_policy().variable_dtype
    logits = rebuilt.outputs[0]
    if keras.backend.standardize_dtype(logits.dtype) == precision:
        return rebuilt
    # The logits keep the precision of the weights under mixed precision: the loss is computed from them.
    return keras.Model(
        rebuilt.inputs[0], keras.layers.Identity(dtype=precision, name="precise")(logits), name=rebuilt.name
    )


def _widen(config: dict[str, Any], head: list[str], num_outputs: int, file: str) -> None:
    """Give the last layer with weights another number of outputs, in a configuration that is ours."""
    last = next((layer for layer in config["layers"] if layer["name"] in head), None)
    width = next((key for key in ("filters", "units") if last is not None and key in last["config"]), None)
    if last is None or width is None:
        raise ConfigurationError(
            f"the network in {file} ends with no layer that can be given {num_outputs} outputs; train on labels like "
            "its own"
        )
    last["config"][width] = num_outputs
