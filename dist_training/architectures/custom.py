"""A network of the user's own: any Keras model that a function of theirs builds."""

import keras

from dist_training.architectures.settings import CustomSettings
from dist_training.own_code import find_function
from r2d2_base.errors import ConfigurationError

__all__ = ["build"]

_AXES = {2: "N, H, W", 3: "N, D, H, W"}


def build(settings: CustomSettings, input_channels: int, num_outputs: int, seed: int) -> keras.Model:
    """Build the network that the user's function gives, and check it.

    The function is called as ``function(input_channels, num_outputs, **options)``, after
    ``keras.utils.set_random_seed(seed)``: weights that are drawn without a seed of their own depend on ``seed`` too,
    and the global random state of Python, NumPy and Keras stays changed. A model that is not functional (a subclass, or
    a Sequential without its input) becomes the single layer of one that is.

    Args:
        settings: the function, its options, and whether it is of slices or volumes.
        input_channels: channels of an image.
        num_outputs: channels of the logits.
        seed: of the initial weights.

    Returns:
        A Keras model from (N, H, W, input_channels) to logits (N, H, W, num_outputs), or to a list of logits, these
        first; of volumes (N, D, H, W, ...).

    Raises:
        ConfigurationError: there is no such module or function, it takes other arguments, or gives something else.
    """
    function = find_function(settings.build, "network", ("input_channels", "num_outputs"), settings.options)
    keras.utils.set_random_seed(seed)
    model = function(input_channels, num_outputs, **settings.options)
    if not isinstance(model, keras.Model):
        raise ConfigurationError(f"{settings.build} must give a keras.Model; received {type(model).__name__}")
    _check_activation(model, settings.build)
    if not _is_functional(model):
        model = _wrap(model, input_channels, settings)
    _check_shapes(model, input_channels, num_outputs, settings)
    model = _with_precise_logits(model)
    _check_readable(model, settings.build)
    return model


def _check_activation(model: keras.Model, name: str) -> None:
    """Refuse a last layer that gives probabilities: the losses would take them for logits, and training would crawl."""
    logits = model.outputs if _is_functional(model) else []
    last = [layer for layer in model.layers if any(layer.output is tensor for tensor in logits)]
    if not last and isinstance(model, keras.Sequential):
        last = model.layers[-1:]
    for layer in last:
        activation = getattr(layer, "activation", None)
        if isinstance(layer, keras.layers.Softmax):
            activation = keras.activations.softmax
        if activation in (keras.activations.softmax, keras.activations.sigmoid):
            raise ConfigurationError(
                f"{name} must give logits, not probabilities; its last layer {layer.name} applies a "
                f"{activation.__name__}: leave that to R2D2 (activation=None)"
            )


def _is_functional(model: keras.Model) -> bool:
    try:
        return bool(model.inputs) and model.output_shape is not None
    except AttributeError:
        return False


def _wrap(model: keras.Model, input_channels: int, settings: CustomSettings) -> keras.Model:
    precision = keras.config.dtype_policy().variable_dtype
    images = keras.Input((*[None] * settings.dimensions, input_channels), dtype=precision, name="images")
    try:
        outputs = model(images)
    except Exception as error:
        raise ConfigurationError(
            f"{settings.build} gives a {type(model).__name__} that does not take images "
            f"({_AXES[settings.dimensions]}, {input_channels}): {error}"
        ) from error
    return keras.Model(images, outputs, name=f"{model.name}_on_images")


def _with_precise_logits(model: keras.Model) -> keras.Model:
    """Give the logits the precision of the weights, also under mixed precision: the loss is computed from them."""
    precision = keras.config.dtype_policy().variable_dtype
    if all(keras.backend.standardize_dtype(logits.dtype) == precision for logits in model.outputs):
        return model
    cast = [
        keras.layers.Identity(dtype=precision, name=f"precise{number}")(logits)
        for number, logits in enumerate(model.outputs)
    ]
    return keras.Model(model.inputs[0], cast if len(cast) > 1 else cast[0], name=model.name)


def _check_readable(model: keras.Model, name: str) -> None:
    """Refuse a network that could be trained for hours, but not saved and read again."""
    try:
        keras.Model.from_config(model.get_config())
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise ConfigurationError(
            f"{name} gives a network that could not be read again once it is saved ({reason}); a layer of your own "
            "needs @keras.saving.register_keras_serializable() and get_config, and a Lambda layer should be one"
        ) from error


def _check_shapes(model: keras.Model, input_channels: int, num_outputs: int, settings: CustomSettings) -> None:
    """Refuse all but one input (N, H, W, input_channels) and outputs (N, H, W, num_outputs), or those of volumes."""
    axes, rank = _AXES[settings.dimensions], settings.dimensions + 2
    received = [tuple(tensor.shape) for tensor in model.inputs]
    if len(received) != 1 or len(received[0]) != rank or received[0][-1] != input_channels:
        other = 5 - settings.dimensions
        is_other = len(received) == 1 and len(received[0]) == other + 2
        raise ConfigurationError(
            f"{settings.build} must give a network with one input ({axes}, {input_channels}), channels last; received "
            f"{', '.join(map(str, received))}{f'; for that, use network.dimensions={other}' if is_other else ''}"
        )
    shapes = [tuple(tensor.shape) for tensor in model.outputs]
    if any(len(shape) != rank or shape[-1] != num_outputs for shape in shapes):
        raise ConfigurationError(
            f"{settings.build} must give logits ({axes}, {num_outputs}), one for each output; received "
            f"{', '.join(map(str, shapes))}"
        )
