"""Softmax and likeliest class, a part of the pixels at a time."""

import numpy as np
import pytest

from dist_training.inference import pixels
from dist_training.inference.pixels import likeliest, softmax


@pytest.mark.parametrize("classes", [2, 3, 20, 300])
def test_parts_give_what_all_pixels_at_once_give(classes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pixels, "PIXELS", 7)
    logits = np.random.default_rng(0).normal(0, 30, (2, 5, 6, classes)).astype(np.float32)
    wide = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    found = softmax(logits)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, wide / wide.sum(axis=-1, keepdims=True), rtol=1e-5, atol=1e-12)
    np.testing.assert_array_equal(likeliest(found), found.argmax(axis=-1))


def test_of_equal_scores_the_first_is_taken() -> None:
    scores = np.random.default_rng(0).integers(0, 3, (4, 9, 5)).astype(np.float32)
    np.testing.assert_array_equal(likeliest(scores), scores.argmax(axis=-1))


def test_views_of_arrays_are_read_in_their_order() -> None:
    scores = np.random.default_rng(0).normal(size=(3, 8, 7, 4)).astype(np.float32)
    turned = np.flip(scores, (1, 2))[:, 1:6, 2:5]
    np.testing.assert_array_equal(likeliest(turned), turned.argmax(axis=-1))
    np.testing.assert_array_equal(softmax(turned), np.flip(softmax(scores), (1, 2))[:, 1:6, 2:5])
