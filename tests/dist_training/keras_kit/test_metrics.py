import subprocess
import sys

import numpy as np
import pytest

import segeval
from r2d2_base.errors import ConfigurationError
from tests.keras_backends import environment_of

CLASSES = 4


@pytest.fixture
def batches():
    """Three batches of logits (2, 5, 6, 4) and of labels, a quarter of which are to be ignored."""
    rng = np.random.default_rng(3)
    labels = rng.integers(0, CLASSES, (3, 2, 5, 6))
    labels[rng.random(labels.shape) < 0.25] = 255
    return labels, rng.normal(size=(*labels.shape, CLASSES)).astype(np.float32)


def build(**arguments):
    from dist_training.keras_kit.metrics import SegmentationScores

    return SegmentationScores(**{"num_classes": CLASSES, "ignore_label": 255, **arguments})


def expected_scores(confusion):
    return {
        "dice": segeval.mean_over_classes(segeval.dice(confusion)[1:]).mean,
        "pixel_accuracy": segeval.pixel_accuracy(confusion),
        "mean_accuracy": segeval.mean_accuracy(confusion),
        "mean_iou": segeval.mean_iou(confusion),
        "frequency_weighted_iou": segeval.frequency_weighted_iou(confusion),
    }


def assert_scores(metric, confusion):
    result = {name: float(value) for name, value in metric.result().items()}
    assert result == pytest.approx(expected_scores(confusion), rel=1e-6, nan_ok=True)


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float32])
def test_counts_and_scores_are_those_of_segeval(batches, dtype):
    labels, logits = batches
    by_logits, by_classes = build(), build(prediction="classes")
    for truth, scores in zip(labels.astype(dtype), logits, strict=True):
        by_logits.update_state(truth[..., None], scores)
        by_classes.update_state(truth, scores.argmax(-1).astype(np.uint8))
    confusion = segeval.confusion_matrix(labels, logits.argmax(-1), CLASSES, ignore_label=255)
    for metric in (by_logits, by_classes):
        assert metric.confusion().dtype == np.int64
        np.testing.assert_array_equal(metric.confusion(), confusion)
        assert_scores(metric, confusion)
    by_logits.reset_state()
    assert by_logits.confusion().sum() == 0
    assert all(np.isnan(float(value)) for value in by_logits.result().values())


def test_a_class_in_neither_is_left_out_and_a_missed_one_is_zero():
    """Class 1 is found, 2 is missed, 3 is in neither: Dice (1 + 0) / 2."""
    metric = build(prediction="classes")
    metric.update_state([[1, 1, 2]], [[1, 1, 0]])
    assert float(metric.result()["dice"]) == pytest.approx(0.5)
    assert_scores(metric, segeval.confusion_matrix([1, 1, 2], [1, 1, 0], CLASSES))


@pytest.mark.parametrize("start", [2**24, 2**30 - 1, 2**31 - 1, 2**53, 2**60])
def test_one_more_pixel_counts_whatever_has_been_counted(start):
    """float32 would lose it from 2**24 on, int32 would overflow at 2**31, float64 would lose it from 2**53 on."""
    metric = build(num_classes=2, prediction="classes")
    metric.assign_confusion(np.array([[start, 0], [start - 1, 5]]))
    metric.update_state([[0, 0, 1]], [[0, 0, 0]])
    assert metric.confusion().tolist() == [[start + 2, 0], [start, 5]]
    assert_scores(metric, metric.confusion())


def test_pixels_of_weight_zero_are_not_counted():
    metric = build(prediction="classes")
    metric.update_state([[0, 1], [1, 1]], [[0, 1], [0, 0]], sample_weight=[1, 0])
    metric.update_state([[2, 3]], [[2, 2]], sample_weight=[[0.0, 0.5]])
    expected = segeval.confusion_matrix([0, 1, 3], [0, 1, 2], CLASSES)
    np.testing.assert_array_equal(metric.confusion(), expected)


@pytest.mark.parametrize(("truth", "predicted"), [(4, 0), (-1, 0), (0, 4), (0, -7)])
def test_a_class_out_of_range_is_not_dropped_in_silence(truth, predicted):
    """keras#22835: Keras's own metrics drop such pairs, and true [0, 1], predicted [0, 2] scores 1."""
    metric = build(prediction="classes")
    metric.update_state([[0, 1, truth]], [[0, 1, predicted]])
    assert all(np.isnan(float(value)) for value in metric.result().values())
    with pytest.raises(segeval.LabelRangeError, match=r"0 to 3.*received 1 pixels"):
        metric.confusion()
    metric.reset_state()
    assert metric.confusion().sum() == 0


NO_CLASSES = [np.float32(np.nan), np.float32(0.9), np.float32(np.inf), np.int64(2**32), np.float64(2.0**32)]


def update_with_xla(metric, *maps):
    import tensorflow as tf

    tf.function(metric.update_state, jit_compile=True)(*map(tf.constant, maps))


@pytest.mark.parametrize("update", [lambda metric, *maps: metric.update_state(*maps), update_with_xla])
@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize("value", NO_CLASSES, ids=str)
def test_what_is_no_class_is_not_made_one(value, side, update):
    """Cast to int32, 0.9 and 2**32 are 0, and so is NaN where XLA casts it."""
    maps = [np.array([[0, 1, 1]], value.dtype), np.array([[0, 1, 1]], value.dtype)]
    maps[side][0, 1] = value
    metric = build(prediction="classes", ignore_label=0)
    update(metric, *maps)
    assert all(np.isnan(float(value)) for value in metric.result().values())
    with pytest.raises(segeval.LabelRangeError, match="received 1 pixels"):
        metric.confusion()


def test_keras_can_save_it():
    import keras

    metric = build(scores=("mean_iou", "dice"), name="overlap")
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(metric))
    assert copy.get_config() == metric.get_config()
    assert list(copy.result()) == ["mean_iou", "dice"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_classes": 0}, "at least 1; received 0"),
        ({"prediction": "softmax"}, "logits or classes; received 'softmax'"),
        ({"scores": ("dice", "hd95")}, "scores must be some of dice, .*'hd95'"),
        ({"scores": ()}, "scores must be some of"),
    ],
)
def test_arguments_are_checked(arguments, message):
    with pytest.raises(ConfigurationError, match=message):
        build(**arguments)


def test_shapes_are_checked():
    with pytest.raises(ConfigurationError, match=r'num_classes=4 logits.*\(1, 3\); use prediction="classes"'):
        build().update_state([[0, 1, 2]], [[0, 1, 2]])
    with pytest.raises(ConfigurationError, match=r"received shapes \(3,\) and \(1, 3\)"):
        build(prediction="classes").update_state([0, 1, 2], [[0, 1, 2]])
    for shapes in (((8, 3), (1, 3)), ((2, 1), (2, 3))):
        truth, predicted = (np.zeros(shape, int) for shape in shapes)
        with pytest.raises(ConfigurationError, match=r"shape of the predicted classes; received shapes \(\d, \d\)"):
            build(prediction="classes").update_state(truth, predicted)
    with pytest.raises(ConfigurationError, match=r"sample_weight must have as many axes"):
        build(prediction="classes").update_state(np.zeros((2, 3, 3)), np.zeros((2, 3, 3)), np.ones((2, 1)))
    with pytest.raises(ConfigurationError, match=r"shape \(4, 4\); received \(2, 2\)"):
        build().assign_confusion(np.eye(2))


def fit_and_compare(compiled):
    """Train a tiny network with the metric, and compare what Keras logs with segeval on the network's output."""
    import keras

    rng = np.random.default_rng(0)
    images = rng.normal(size=(7, 8, 9, 1)).astype("float32")
    labels = (images[..., 0] > 0).astype("int32") + (images[..., 0] > 1)
    labels[:, 0] = -1
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((8, 9, 1)), keras.layers.Conv2D(3, 3, padding="same")])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=-1)
    metric = build(num_classes=3, ignore_label=-1)
    model.compile("adam", loss, metrics=[metric], jit_compile=compiled)
    logs = model.fit(images, labels, batch_size=3, validation_data=(images, labels), verbose=0).history
    counts = segeval.confusion_matrix(labels, np.argmax(model(images), axis=-1), 3, ignore_label=-1)
    np.testing.assert_array_equal(metric.confusion(), counts)
    for name, value in expected_scores(counts).items():
        assert logs[f"val_{name}"] == pytest.approx([value], rel=1e-6)
        assert 0 < logs[name][0] < 1
    metric.assign_confusion(np.array([[2**31 - 1, 0, 0], [0, 0, 0], [0, 0, 2**53]]))
    metric.update_state(np.zeros((1, 2, 2), "uint8"), np.zeros((1, 2, 2, 3), "float32"))
    assert metric.confusion().tolist() == [[2**31 + 3, 0, 0], [0, 0, 0], [0, 0, 2**53]]


@pytest.mark.parametrize("compiled", [False, True])
def test_in_fit_compiled_by_xla_or_not(compiled):
    fit_and_compare(compiled)


def test_in_fit_on_jax():
    test = "from tests.dist_training.keras_kit.test_metrics import fit_and_compare; fit_and_compare(True)"
    code = f"import keras; assert keras.backend.backend() == 'jax'; {test}"
    subprocess.run([sys.executable, "-c", code], env=environment_of("jax"), check=True)
