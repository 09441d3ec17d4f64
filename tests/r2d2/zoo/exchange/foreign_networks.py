"""Networks as people make them with Keras alone, who know nothing of R2D2."""

import keras
import numpy as np
from keras import layers

__all__ = ["plain_unet"]


def plain_unet(
    outputs: int = 3, activation: str | None = "softmax", size: int | None = None, channels: int = 1, seed: int = 0
) -> keras.Model:
    """A U-Net of two levels with batch normalisation, for heights and widths that are multiples of 4, in float32."""
    keras.config.set_dtype_policy("float32")  # whatever ran before in this process
    images = keras.Input((size, size, channels), name="input_1")
    maps, skips = images, []
    for level, filters in enumerate((4, 6)):
        maps = layers.Conv2D(filters, 3, padding="same", activation="relu", name=f"conv{level}")(maps)
        maps = layers.BatchNormalization(name=f"bn{level}")(maps)
        skips.append(maps)
        maps = layers.MaxPooling2D(2, name=f"pool{level}")(maps)
    for level, filters in ((1, 6), (0, 4)):
        maps = layers.UpSampling2D(2, name=f"grow{level}")(maps)
        maps = layers.Concatenate(name=f"join{level}")([skips[level], maps])
        maps = layers.Conv2D(filters, 3, padding="same", activation="relu", name=f"conv_up{level}")(maps)
    model = keras.Model(images, layers.Conv2D(outputs, 1, activation=activation, name="classes")(maps), name="theirs")
    rng = np.random.default_rng(seed)
    model.set_weights([np.abs(weight + rng.normal(0, 0.3, weight.shape)) for weight in model.get_weights()])
    features = keras.Model(images, model.get_layer("classes").input)(rng.normal(size=(1, 32, 32, channels)))
    last = model.get_layer("classes")
    kernel = rng.normal(0, 1, last.kernel.shape)
    scores = np.asarray(features) @ kernel[0, 0]  # each class wins somewhere
    last.set_weights([kernel / scores.std(), -scores.mean(axis=(0, 1, 2)) / scores.std()])
    return model
