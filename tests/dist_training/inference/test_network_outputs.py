"""From logits to classes: softmax, one sigmoid, or one sigmoid a region; and back from regions to composite labels."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from dist_training.inference.outputs import NetworkOutputs, outputs_of
from r2d2_base.errors import ConfigurationError

BRAIN = {"background": 0, "oedema": 1, "necrosis": 2, "enhancing": 4}
BRAIN_REGIONS = {"whole": (1, 2, 4), "core": (2, 4), "enhancing": (4,)}
MASKS = {"background": 0, "liver": 1, "tumour": 2, "vessel": 3, "liver+tumour": 4}
MASK_REGIONS = {"liver": (1, 4), "tumour": (2, 4), "vessel": (3,)}


def decoded(outputs: NetworkOutputs, logits: np.ndarray) -> np.ndarray:
    return np.asarray(outputs.decode(logits))


def nearest_class(sets: list[set[int]], wanted: set[int]) -> int:
    """By counting the regions that differ, class by class; the first of the least."""
    return int(np.argmin([len(own ^ wanted) for own in sets]))


def test_classes_are_decided_as_softmax_and_sigmoid_do():
    logits = np.random.default_rng(0).normal(size=(2, 3, 4, 5))
    outputs = NetworkOutputs.of_classes(5)
    assert (outputs.num_outputs, outputs.loss_regions) == (5, None)
    np.testing.assert_array_equal(decoded(outputs, logits), logits.argmax(axis=-1))
    binary = NetworkOutputs.of_classes(2)
    assert binary.num_outputs == 1
    np.testing.assert_array_equal(decoded(binary, logits[..., :1]), logits[..., 0] > 0)


@pytest.mark.parametrize(("labels", "regions"), [(BRAIN, BRAIN_REGIONS), (MASKS, MASK_REGIONS)])
def test_every_class_is_found_again_from_its_own_regions(labels, regions):
    outputs = NetworkOutputs.of_regions(labels, regions)
    logits = np.where(outputs.table, 0.1, -3.0)
    np.testing.assert_array_equal(decoded(outputs, logits), np.arange(len(labels)))


@pytest.mark.parametrize(("labels", "regions"), [(BRAIN, BRAIN_REGIONS), (MASKS, MASK_REGIONS)])
def test_any_set_of_regions_becomes_the_nearest_class(labels, regions):
    outputs = NetworkOutputs.of_regions(labels, regions)
    sets = [{r for r, part in enumerate(regions.values()) if value in part} for value in sorted(labels.values())]
    patterns = list(itertools.product([False, True], repeat=len(regions)))
    expected = [nearest_class(sets, {r for r, inside in enumerate(pattern) if inside}) for pattern in patterns]
    np.testing.assert_array_equal(decoded(outputs, np.where(patterns, 2.0, -2.0)), expected)
    assert len(set(expected)) == len(labels)


def test_core_without_whole_by_hand():
    # Only "core": one region away from the background {} and from necrosis {whole, core}; the smaller label wins.
    # "whole" and "enhancing": one away from oedema {whole} and from enhancing {whole, core, enhancing}.
    outputs = NetworkOutputs.of_regions(BRAIN, BRAIN_REGIONS)
    np.testing.assert_array_equal(decoded(outputs, np.array([[-1, 1, -1], [1, -1, 1.0]])), [0, 1])


def test_a_label_in_no_region_gets_an_output_of_its_own():
    outputs = outputs_of({"background": 0, "a": 3, "b": 7, "c": 9}, {"ab": (3, 7), "b": (7,)}, has_regions=True)
    assert list(outputs.regions) == ["ab", "b", "c"]
    assert outputs.region_values((0, 3, 7, 9)) == {"ab": (3, 7), "b": (7,), "c": (9,)}
    np.testing.assert_array_equal(outputs.table, [[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 0, 1]])


def test_labels_that_no_region_tells_apart_are_refused():
    with pytest.raises(ConfigurationError, match=r"labels oedema and necrosis belong to the same regions \(whole\)"):
        NetworkOutputs.of_regions(BRAIN, {"whole": (1, 2)})


def test_outputs_for_regions_need_regions():
    with pytest.raises(ConfigurationError, match="needs a dataset whose labels overlap"):
        outputs_of(BRAIN, {}, has_regions=True)
    assert outputs_of(BRAIN, BRAIN_REGIONS, has_regions=False) == NetworkOutputs.of_classes(4)


@pytest.mark.parametrize(
    "outputs",
    [NetworkOutputs.of_classes(2), NetworkOutputs.of_classes(3), NetworkOutputs.of_regions(BRAIN, BRAIN_REGIONS)],
    ids=["binary", "softmax", "regions"],
)
def test_probabilities_decide_as_logits_do(outputs):
    logits = np.random.default_rng(1).normal(0, 3, (40, outputs.num_outputs)).astype(np.float32)
    probabilities = outputs.probabilities(logits)
    assert probabilities.dtype == np.float32
    expected = 1 / (1 + np.exp(-logits.astype(np.float64)))
    if outputs == NetworkOutputs.of_classes(3):
        expected = np.exp(logits.astype(np.float64))
        expected /= expected.sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(probabilities, expected, rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(outputs.decode_probabilities(probabilities), decoded(outputs, logits))


def test_decoding_compiles():
    outputs = NetworkOutputs.of_regions(BRAIN, BRAIN_REGIONS)
    logits = np.random.default_rng(2).normal(size=(2, 5, 6, 3)).astype(np.float32)
    compiled = tf.function(outputs.decode, input_signature=[tf.TensorSpec((None, None, None, 3))])
    np.testing.assert_array_equal(compiled(logits).numpy(), decoded(outputs, logits))
