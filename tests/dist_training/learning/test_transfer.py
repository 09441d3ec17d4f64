"""Which layers take another network's weights, rest, or learn at a rate of their own; networks within networks, too."""

import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers

from dist_training.architectures import CustomSettings, FCNSettings, build_network, read_network, stages
from dist_training.errors import ModelError
from dist_training.learning.transfer import copy_weights, rate_factors, stage_layers
from r2d2_base.errors import ConfigurationError

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"


def branch(name: str) -> keras.Model:
    images = keras.Input((None, None, 1))
    return keras.Model(images, layers.Conv2D(2, 3, padding="same", name="first")(images), name=name)


def two_branches() -> keras.Model:
    """Two networks within one, whose layers are called alike."""
    images = keras.Input((None, None, 1))
    maps = layers.Concatenate(name="join")([branch("encoder_a")(images), branch("encoder_b")(images)])
    return keras.Model(images, layers.Conv2D(2, 1, name="head_logits")(maps))


def assert_taken_over(model: keras.Model, source: keras.Model) -> None:
    assert any(np.abs(a - b).max() > 0 for a, b in zip(model.get_weights(), source.get_weights(), strict=True))
    taken = copy_weights(model, source, has_new_head=False)
    assert (len(taken.copied), taken.fresh) == (len(model.weights), ())
    for ours, theirs in zip(model.get_weights(), source.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_layers_that_are_called_alike_in_two_networks_within_one_keep_apart() -> None:
    assert_taken_over(two_branches(), two_branches())


def test_layers_that_a_layer_makes_for_itself_are_taken_over(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keras numbers them anew whenever the network is built or read."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    settings = CustomSettings(build="own_network:build_network", options={"filters": 4})
    try:
        build_network(settings, 1, 2, seed=1).save(tmp_path / "source.keras")
        assert_taken_over(build_network(settings, 1, 2, seed=2), read_network(tmp_path / "source.keras", settings))
    finally:
        sys.modules.pop("own_network", None)


def test_a_layer_of_other_weights_is_refused() -> None:
    images = keras.Input((None, None, 1))
    other = keras.Model(images, layers.Conv2D(2, 1, use_bias=False, name="head_logits")(images))
    message = r"head_logits \[\(1, 1, 1, 2\)\] for \[\(1, 1, 4, 2\), \(2,\)\]; start from"
    with pytest.raises(ModelError, match=message):
        copy_weights(two_branches(), other, has_new_head=False)


def test_a_stage_that_is_a_network_of_its_own_has_its_rate() -> None:
    model = two_branches()
    assert rate_factors({"encoder": 0.1}, model, stages(model)) == {"first/kernel": 0.1, "first/bias": 0.1}


def test_a_stage_without_layers_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"names decoder, which .* its stages are encoder, head; its layers"):
        stage_layers(["decoder"], stages(build_network(FCNSettings(width=0.02), 1, 2)))
