"""The branch that draws the input again: what it adds to the loss, its noise, and that nothing of it is saved."""

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from dist_training.architectures import (
    C2FNASStyleSettings,
    NetworkSettings,
    ResidualUNetSettings,
    UNetSettings,
    build_network,
    prediction_network,
    read_network,
    stages,
)
from dist_training.architectures.autoencoder import with_autoencoder
from dist_training.architectures.sample_draws import draw_normal, sample_seeds
from r2d2_base.errors import ConfigurationError

THICK = ResidualUNetSettings(
    dimensions=3,
    blocks=(1, 1, 1),
    base_filters=4,
    strides=((1, 2, 2), (2, 2, 2)),
    kernels=((1, 3, 3),) + ((3, 3, 3),) * 2,
)
NETWORKS: dict[str, NetworkSettings] = {
    "unet": UNetSettings(dimensions=3, depth=2, base_filters=4, dropout=0.2),
    "residual_unet": THICK,
    "c2fnas_style": C2FNASStyleSettings(base_filters=2),
}
every_network = pytest.mark.parametrize("name", NETWORKS)
SIZE = (6, 16, 24)


def volumes(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, *SIZE, 2)).astype(np.float32)


def trained(name: str, kl_weight: float = 0.2, l2_weight: float = 0.3) -> tuple[keras.Model, keras.Model]:
    network = build_network(NETWORKS[name], 2, 3, seed=1)
    return network, with_autoencoder(network, SIZE, seed=1, kl_weight=kl_weight, l2_weight=l2_weight)


def parts_of(model: keras.Model) -> keras.Model:
    """Mean, logarithm of the variance, numbers drawn, volume drawn again, penalty."""
    names = ("mean", "log_variance", "features", "crop", "penalty")
    return keras.Model(model.inputs[0], [model.get_layer(f"autoencoder_{name}").output for name in names])


@every_network
def test_adds_divergence_and_squares_of_each_sample(name: str) -> None:
    _, model = trained(name)
    rng = np.random.default_rng(2)
    for layer in model.layers:
        if layer.name.startswith("autoencoder"):
            layer.set_weights([weight + rng.normal(0, 0.05, weight.shape) for weight in layer.get_weights()])
    images = volumes(2)
    for training in (False, True):
        with sample_seeds(np.array([7, 8], np.uint32)):
            found = parts_of(model)(images, training=training)
        mean, log_variance, features, again, penalty = (np.asarray(part, np.float64) for part in found)
        assert mean.shape == log_variance.shape == features.shape == (2, 128)
        assert again.shape == images.shape
        assert np.array_equal(mean, features) is not training
        variance = np.exp(log_variance)
        divergence = (variance + mean**2 - 1 - np.log(variance)).mean(axis=1) / 2
        squares = ((again - images) ** 2).mean(axis=(1, 2, 3, 4))
        np.testing.assert_allclose(penalty, 0.2 * divergence + 0.3 * squares, rtol=1e-4)


@every_network
def test_every_weight_learns_the_encoders_too_and_the_decoder_not_from_it(name: str) -> None:
    network, model = trained(name)
    with tf.GradientTape() as tape, sample_seeds(np.array([7], np.uint32)):
        penalty = tf.reduce_sum(model(volumes(1), training=True)[-1])
    found = tape.gradient(penalty, [variable.value for variable in model.trainable_variables])
    by_path = {v.path: g for v, g in zip(model.trainable_variables, found, strict=True)}
    of_stage = {stage: set(layers) for stage, layers in stages(model).items()}
    assert of_stage["autoencoder"] and not stages(network)["autoencoder"]
    for path, gradient in by_path.items():
        layer = path.split("/")[0]
        if layer in of_stage["encoder"] | of_stage["autoencoder"]:
            assert gradient is not None and np.isfinite(gradient).all() and np.asarray(gradient).any(), path
        else:
            assert gradient is None, path


def test_numbers_are_drawn_by_the_seed_of_a_sample_wherever_it_stands() -> None:
    _, model = trained("unet")
    one, other = volumes(1), volumes(1, seed=3)

    def features(images: np.ndarray, *seeds: int) -> np.ndarray:
        with sample_seeds(np.array(seeds, np.uint32)):
            return np.asarray(parts_of(model)(images, training=True)[2])

    alone = features(one, 5)
    np.testing.assert_allclose(features(np.concatenate([other, one]), 4, 5)[1:], alone, atol=1e-5)
    assert np.abs(features(one, 6) - alone).mean() > 0.1


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_draws_are_normal_and_those_of_samples_have_nothing_in_common(dtype: str) -> None:
    with sample_seeds(np.arange(500, dtype=np.uint32)):
        drawn = np.asarray(draw_normal(500, (128,), (3, 4), dtype))
    assert drawn.dtype == dtype and np.isfinite(drawn).all()
    # 64,000 numbers: the standard errors of these are 0.004, 0.006 and 0.02
    assert abs(drawn.mean()) < 0.02 and abs(drawn.var() - 1) < 0.03 and abs((drawn**4).mean() - 3) < 0.12
    assert abs(np.corrcoef(drawn[:-1].ravel(), drawn[1:].ravel())[0, 1]) < 0.02
    assert abs(np.corrcoef(drawn[:, :-1].ravel(), drawn[:, 1:].ravel())[0, 1]) < 0.02


def test_what_predicts_and_is_saved_has_no_branch(tmp_path: Path) -> None:
    network, model = trained("residual_unet")
    predicting, images = prediction_network(model), volumes(1)
    predicting.save(tmp_path / "model.keras")
    read = read_network(tmp_path / "model.keras")
    assert not [layer.name for layer in read.layers if "autoencoder" in layer.name]
    assert read.count_params() == prediction_network(network).count_params()
    np.testing.assert_array_equal(np.asarray(read(images)), np.asarray(prediction_network(network)(images)))


def test_it_learns_to_draw_a_volume_again() -> None:
    """A bright box: told from the mean grey, by more than half of its variance."""
    images = np.zeros((1, *SIZE, 2), np.float32)
    images[:, 1:4, 4:12, 6:18] = 2.0
    _, model = trained("unet", kl_weight=0.0, l2_weight=1.0)
    optimizer, variables = keras.optimizers.Adam(0.01), model.trainable_variables

    @tf.function(autograph=False)
    def step() -> tf.Tensor:
        with tf.GradientTape() as tape:
            penalty = tf.reduce_sum(model(images, training=False)[-1])
        gradients = tape.gradient(penalty, [variable.value for variable in variables])
        pairs = [(g, v) for g, v in zip(gradients, variables, strict=True) if g is not None]
        optimizer.apply_gradients(pairs)
        return penalty

    optimizer.build([v for v in variables if not v.path.startswith(("up", "logits"))])
    for _ in range(40):
        last = float(step())
    assert last < 0.5 * images.var()


def test_a_network_without_an_encoder_is_refused() -> None:
    images = keras.Input((None, None, None, 1))
    model = keras.Model(images, keras.layers.Conv3D(2, 1, name="head")(images), name="own")
    with pytest.raises(ConfigurationError, match=r"no layer of own has a name that begins with encoder; name them so"):
        with_autoencoder(model, SIZE, seed=0, kl_weight=0.2, l2_weight=0.3)
