"""Which architectures there are: a settings model and the module that builds each.

To add one: write a module with ``build(settings, input_channels, num_outputs, seed) -> keras.Model``, add its
settings to ``settings.py`` (and to ``NetworkSettings``) and a line here. ``tests/contracts`` does the rest.
"""

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel

from dist_training.architectures.settings import FCNSettings, UNetSettings
from dist_training.errors import ConfigurationError, WeightsError, WeightsNotFoundError

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
}


def build_network(settings: BaseModel, input_channels: int, num_outputs: int, seed: int = 0) -> "keras.Model":
    """Build the network that the settings describe, with initial weights that depend on ``seed`` alone.

    Args:
        settings: of one of the registered classes, e.g. ``UNetSettings()``.
        input_channels: channels of an image, at least 1.
        num_outputs: 1 for a binary task (the logit of a sigmoid), else the number of classes with background.
        seed: 0 or more; the same seed gives the same weights bit for bit, whatever Keras's global random state.

    Returns:
        A Keras model from images (N, H, W, input_channels) of any height and width to logits
        (N, H, W, num_outputs), in Keras's global dtype policy.

    Raises:
        ConfigurationError: a number is out of its range, or no registered architecture has such settings.

    >>> build_network(UNetSettings(base_filters=2, depth=1), input_channels=1, num_outputs=3).output_shape
    (None, None, None, 3)
    """
    for name, value, least in (
        ("input_channels", input_channels, 1),
        ("num_outputs", num_outputs, 1),
        ("seed", seed, 0),
    ):
        if value < least:
            raise ConfigurationError(f"{name} must be at least {least}; received {value}")
    for architecture in ARCHITECTURES.values():
        if isinstance(settings, architecture.settings):
            module = importlib.import_module(architecture.module)
            model: keras.Model = module.build(settings, input_channels, num_outputs, seed)
            return model
    raise ConfigurationError(
        f"settings must be those of a registered architecture ({', '.join(ARCHITECTURES)}); "
        f"received {type(settings).__name__}"
    )


def read_network(path: Path | str) -> "keras.Model":
    """Read a network that was saved as a ``.keras`` file.

    Args:
        path: the file, as ``model.save(path)`` of a network from ``build_network`` wrote it.

    Returns:
        The Keras model with its weights, not compiled.

    Raises:
        WeightsNotFoundError: there is no such file.
        WeightsError: the file is not a Keras model.

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
    try:
        model: keras.Model = keras.saving.load_model(path, compile=False)
    except Exception as error:
        raise WeightsError(f"{path}: not a readable Keras model ({error})") from error
    return model
