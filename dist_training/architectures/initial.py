"""Initial weights: a seed of its own for every layer, so that a network depends on one seed and on nothing else."""

import hashlib

import keras

__all__ = ["he_normal", "keeping_variance", "layer_seed"]


def layer_seed(seed: int, layer_name: str) -> int:
    """Derive the seed of one layer from the network's seed and the layer's name.

    Args:
        seed: the network's seed.
        layer_name: unique within the network.

    Returns:
        An integer from 0 to 2**31 - 1: the first 31 bits of SHA-256 over both.

    >>> layer_seed(0, "conv1") == layer_seed(0, "conv1") != layer_seed(1, "conv1")
    True
    """
    digest = hashlib.sha256(f"{seed}/{layer_name}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


def he_normal(seed: int, layer_name: str) -> keras.initializers.Initializer:
    """Give the initialiser of one layer's kernel, after He et al. (2015, arXiv 1502.01852).

    Args:
        seed: the network's seed.
        layer_name: unique within the network.
    """
    return keras.initializers.HeNormal(seed=layer_seed(seed, layer_name))


def keeping_variance(seed: int, layer_name: str, scale: float) -> keras.initializers.Initializer:
    """Give the initialiser of a transposed kernel as large as its strides, none of whose outputs overlap.

    Keras counts its fan-in as pixels of the kernel times outputs; each output pixel has but the inputs.

    Args:
        seed: the network's seed.
        layer_name: unique within the network.
        scale: Keras's fan-in by the inputs: 2 where a slice's channels are halved, where it is He's initialiser.
    """
    if scale == 2:
        return he_normal(seed, layer_name)
    return keras.initializers.VarianceScaling(scale, seed=layer_seed(seed, layer_name))
