"""A network of volumes with the weights of one of slices gives for slices what that one gives."""

import keras
import numpy as np
import pytest

from dist_training.architectures import ResidualUNetSettings, UNetSettings, build_network
from dist_training.architectures.settings import LeveledSettings
from dist_training.errors import ModelError
from dist_training.learning.inflation import inflated_settings
from dist_training.learning.transfer import copy_weights
from imgmed.slices import with_neighbours

DEPTH = 8
"""A multiple of what each of these networks pads to."""


def moved(settings: LeveledSettings) -> keras.Model:
    """A network of slices of two channels, no weight of which is 0 or 1."""
    model = build_network(settings, 2, 3, seed=1)
    rng = np.random.default_rng(1)
    model.set_weights([weight + rng.normal(0, 0.1, weight.shape) for weight in model.get_weights()])
    return model


def inflated(slices: LeveledSettings, source: keras.Model, **more: object) -> keras.Model:
    asked = type(slices)(**{**slices.model_dump(), "dimensions": 3, "strides": None, "kernels": None, **more})
    model = build_network(inflated_settings(slices, asked), 2, 3, seed=2)
    taken = copy_weights(model, source, has_new_head=False)
    assert (len(taken.copied), taken.fresh) == (len(model.weights), ())
    return model


def all_outputs(model: keras.Model, images: np.ndarray) -> list[np.ndarray]:
    found = model(images)
    return [np.asarray(logits) for logits in (found if isinstance(found, list) else [found])]


@pytest.mark.parametrize(
    "slices",
    [
        UNetSettings(depth=2, base_filters=4, groups=2),
        UNetSettings(depth=1, base_filters=4, strides=((2, 4),), kernels=((3, 3), (3, 1)), normalisation="batch"),
        UNetSettings(depth=1, base_filters=4, doubling="early"),
        ResidualUNetSettings(blocks=(1, 2, 1, 1), base_filters=4),
    ],
)
def test_a_slice_repeated_gives_at_every_place_what_the_slice_gives(slices: LeveledSettings) -> None:
    source = moved(slices)
    images = np.random.default_rng(0).normal(size=(2, 16, 24, 2)).astype(np.float32)
    model = inflated(slices, source)
    assert model.count_params() > source.count_params()
    volumes = np.repeat(images[:, np.newaxis], DEPTH, axis=1)
    expected, found = all_outputs(source, images), all_outputs(model, volumes)
    assert len(found) == len(expected)
    for logits, of_slices in zip(found, expected, strict=True):
        assert logits.shape[2:] == of_slices.shape[1:]
        everywhere = np.broadcast_to(of_slices[:, np.newaxis], logits.shape)
        np.testing.assert_allclose(logits, everywhere, rtol=1e-3, atol=1e-4 * np.abs(of_slices).max())


def test_without_strides_along_the_slices_each_gives_what_it_gave_alone() -> None:
    """But for normalisations over the volume, which this network has not."""
    slices = UNetSettings(depth=2, base_filters=4, normalisation="none")
    source = moved(slices)
    model = inflated(slices, source, strides=((1, 2, 2), (1, 2, 2)))
    volume = np.random.default_rng(0).normal(size=(1, 5, 13, 10, 2)).astype(np.float32)
    (expected,), (found,) = all_outputs(source, volume[0]), all_outputs(model, volume)
    np.testing.assert_allclose(found[0], expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize(("neighbours", "depth"), [(1, 3), (1, 5), (2, 5)])
def test_neighbours_as_channels_become_places_along_the_slices(neighbours: int, depth: int) -> None:
    """All but the slices at the ends, which 2.5D repeats beyond them, and a volume has zeros there."""
    kernels = ((3, 3), (3, 3))
    slices = UNetSettings(depth=1, base_filters=4, normalisation="none", kernels=kernels)
    source = build_network(slices, 2 * (2 * neighbours + 1), 3, seed=1)
    asked = slices.model_copy(update={"dimensions": 3, "strides": ((1, 2, 2),), "kernels": ((depth, 3, 3), (1, 3, 3))})
    model = build_network(inflated_settings(slices, asked, neighbours), 2, 3, seed=2)
    assert copy_weights(model, source, has_new_head=False).fresh == ()
    volume = np.random.default_rng(0).normal(size=(1, 7, 12, 10, 2)).astype(np.float32)
    (expected,) = all_outputs(source, with_neighbours(volume[0], np.arange(7), neighbours))
    (found,) = all_outputs(model, volume)
    inner = slice(neighbours, 7 - neighbours)
    np.testing.assert_allclose(found[0, inner], expected[inner], rtol=1e-4, atol=1e-5 * np.abs(expected).max())
    assert np.abs(found[0, 0] - expected[0]).max() > 1e-3


def test_a_unet_of_volumes_as_published_says_which_takes_weights_of_slices() -> None:
    source = moved(UNetSettings(depth=1, base_filters=4))
    published = build_network(UNetSettings(depth=1, base_filters=4, dimensions=3), 2, 3)
    message = r"down0b \[\(3, 3, 3, 4, 4\)\] for \[\(3, 3, 3, 4, 8\)\]; .* with network\.doubling=late"
    with pytest.raises(ModelError, match=message):
        copy_weights(published, source, has_new_head=False)
