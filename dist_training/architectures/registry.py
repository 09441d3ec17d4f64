"""Which architectures there are: a settings model and the module that builds each.

To add one: write a module with ``build(settings, input_channels, num_outputs, seed) -> keras.Model``, add its
settings to ``settings.py`` (and to ``NetworkSettings``) and a line here. ``tests/contracts`` does the rest. Layers are
named for their stage, see ``layer_stages``; names and their order are part of saved models and checkpoints: they stay.
"""

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel

from dist_training.architectures.network_file import network_file_fault
from dist_training.architectures.precision import with_precision
from dist_training.architectures.settings import (
    C2FNASStyleSettings,
    CustomSettings,
    FCNSettings,
    ImportedSettings,
    LivermaskUNetSettings,
    ResidualUNetSettings,
    ResNetUNetSettings,
    UNetSettings,
)
from dist_training.errors import WeightsError, WeightsNotFoundError
from dist_training.own_code import import_module_of
from r2d2_base.errors import ConfigurationError

if TYPE_CHECKING:
    import keras

__all__ = ["ARCHITECTURES", "Architecture", "build_network", "read_network"]


@dataclass(frozen=True)
class Architecture:
    """One entry of the registry: the settings class, and the module whose ``build`` makes the network."""

    settings: type[BaseModel]
    module: str


ARCHITECTURES: dict[str, Architecture] = {
    "unet": Architecture(UNetSettings, "dist_training.architectures.unet"),
    "fcn": Architecture(FCNSettings, "dist_training.architectures.fcn"),
    "unet_resnet": Architecture(ResNetUNetSettings, "dist_training.architectures.unet_resnet"),
    "livermask_unet": Architecture(LivermaskUNetSettings, "dist_training.architectures.livermask_unet"),
    "residual_unet": Architecture(ResidualUNetSettings, "dist_training.architectures.residual_unet"),
    "c2fnas_style": Architecture(C2FNASStyleSettings, "dist_training.architectures.c2fnas_style"),
    "custom": Architecture(CustomSettings, "dist_training.architectures.custom"),
}

_IMPORTED = Architecture(ImportedSettings, "dist_training.architectures.imported")
"""What is no architecture, but settings of networks that only a file describes."""


def build_network(settings: BaseModel, input_channels: int, num_outputs: int, seed: int = 0) -> "keras.Model":
    """Build the network that the settings describe, with initial weights that depend on ``seed`` alone.

    Args:
        settings: of one of the registered classes, e.g. ``UNetSettings()``.
        input_channels: channels of an image, at least 1.
        num_outputs: 1 for a binary task (the logit of a sigmoid), else the number of classes with background.
        seed: 0 or more; the same seed gives the same weights bit for bit, whatever Keras's global random state.

    Returns:
        A Keras model from images (N, H, W, input_channels) of any height and width to logits
        (N, H, W, num_outputs), in Keras's global dtype policy. With deep supervision it gives a list of logits, those
        of the image's size first: ``prediction_network(model)`` gives these only. Keras's image data format is
        channels_last from here on, also where a keras.json says otherwise.

    Raises:
        ConfigurationError: a number is out of its range, no registered architecture has such settings, or a network of
            the user's own cannot be built.

    >>> build_network(UNetSettings(base_filters=2, depth=1), input_channels=1, num_outputs=3).output_shape
    (None, None, None, 3)
    """
    from dist_training.architectures.one_pixel import check_one_pixel_convolutions  # loads Keras

    for name, value, least in (
        ("input_channels", input_channels, 1),
        ("num_outputs", num_outputs, 1),
        ("seed", seed, 0),
    ):
        if value < least:
            raise ConfigurationError(f"{name} must be at least {least}; received {value}")
    for architecture in (*ARCHITECTURES.values(), _IMPORTED):
        if isinstance(settings, architecture.settings):
            module = importlib.import_module(architecture.module)
            _take_channels_last()
            model: keras.Model = module.build(settings, input_channels, num_outputs, seed)
            check_one_pixel_convolutions(model)
            return model
    raise ConfigurationError(
        f"settings must be those of a registered architecture ({', '.join(ARCHITECTURES)}); "
        f"received {type(settings).__name__}"
    )


def read_network(path: Path | str, network: BaseModel | None = None) -> "keras.Model":
    """Read a network that was saved as a ``.keras`` file.

    One whose layers are all in half precision (not mixed precision) computes in float32.

    Args:
        path: the file, as ``model.save(path)`` of a network from ``build_network`` wrote it.
        network: its settings, as its card has them. Only a network of the user's own needs them, and only where it has
            layers of its own: their module is imported first. Others are read without, so that a file from
            elsewhere causes no import.

    Returns:
        The Keras model with its weights, not compiled.

    Raises:
        WeightsNotFoundError: there is no such file.
        WeightsError: the file is not a Keras model, holds layers that are not known here, or asks for more memory than
            its weights: that is looked at before anything is built, see ``network_file``.

    >>> read_network("nowhere.keras")
    Traceback (most recent call last):
    ...
    dist_training.errors.WeightsNotFoundError: nowhere.keras: no such file; give a .keras file of a training
    """
    import keras

    path = Path(path)
    if not path.is_file():
        raise WeightsNotFoundError(f"{path}: no such file; give a .keras file of a training")
    for architecture in ARCHITECTURES.values():  # makes their layers known to Keras
        importlib.import_module(architecture.module)
    _take_channels_last()
    missing = _import_layers_of(network)
    fault = network_file_fault(path, keras.saving.get_custom_objects())
    if fault is not None:
        raise WeightsError(f"{path}: {missing or 'not a readable Keras model'} ({fault})")
    try:
        model: keras.Model = keras.saving.load_model(path, compile=False)
    except Exception as error:
        raise WeightsError(f"{path}: {missing or 'not a readable Keras model'} ({error})") from error
    is_half = any(weight.dtype in ("float16", "bfloat16") for weight in model.weights)
    return with_precision(model, "float32") if is_half else model


def _take_channels_last() -> None:
    """Overrule a keras.json for this process: all networks here have the channels last, those of users' own too."""
    import keras

    keras.config.set_image_data_format("channels_last")


def _import_layers_of(network: BaseModel | None) -> str | None:
    """Make the user's own layers known to Keras; where their module is missing, say so, since it may not matter."""
    if not isinstance(network, CustomSettings):
        return None
    try:
        import_module_of(network.build, "network")
    except ConfigurationError as error:
        return str(error)
    return None
