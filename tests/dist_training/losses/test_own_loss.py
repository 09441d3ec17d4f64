"""A loss of the user's own: what it is given, what is refused, and that it is spread like ours."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from dist_training.losses import build_loss
from dist_training.settings import TrainingSettings
from r2d2_base.errors import ConfigurationError
from tests.dist_training.losses.numpy_losses import sample_losses

MODULE = """
from keras import ops

no_function = 3

def cross_entropy(y_true, y_pred, real, factor=1.0):
    log_p = y_pred - ops.logsumexp(y_pred, axis=-1, keepdims=True)
    return -factor * ops.sum(y_true * log_p, axis=(1, 2, 3)) / ops.maximum(ops.sum(real, axis=(1, 2, 3)), 1)

def binary(y_true, y_pred, real):
    wrong = ops.mean(ops.softplus(y_pred) - y_true * y_pred, axis=-1, keepdims=True)
    return ops.sum(wrong * real, axis=(1, 2, 3)) / (ops.sum(real, axis=(1, 2, 3)) + 1e-9)

def mean_of_all(y_true, y_pred, real):
    return ops.mean(cross_entropy(y_true, y_pred, real))

def of_each_pixel(y_true, y_pred, real):
    return ops.abs(y_true - y_pred)

def a_number(y_true, y_pred, real):
    return 3.0

def counts_padding(y_true, y_pred, real):
    return ops.mean((y_true - y_pred) ** 2, axis=(1, 2, 3))

def by_its_batch(y_true, y_pred, real):
    each = cross_entropy(y_true, y_pred, real)
    return each / ops.max(each)

def divides_by_nothing(y_true, y_pred, real):
    return cross_entropy(y_true, y_pred, real) / ops.sum(real, axis=(1, 2, 3))

def the_wrong_way(y_true, y_pred, real):
    return -cross_entropy(y_true, y_pred, real)

def fails(y_true, y_pred, real):
    return 1 / 0
"""


@pytest.fixture(autouse=True)
def working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A working folder with a module, which the Python path does not name."""
    (tmp_path / "my_losses.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    sys.modules.pop("my_losses", None)
    importlib.invalidate_caches()


def batch(outputs: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    classes = rng.integers(-1, max(2, outputs), (4, 5, 7)).astype(np.int32)
    return rng.normal(0, 3, (4, 5, 7, outputs)), classes


def test_it_is_spread_like_ours() -> None:
    """Weights 1, 1, 0, 1 of a step of 8 samples on all ranks; twice the cross-entropy, by the independent NumPy."""
    logits, classes = batch(3)
    loss = build_loss("my_losses:cross_entropy", 3, options={"factor": 2.0})
    found = loss(logits, classes, np.array([1.0, 1, 0, 1]), 1 / 8)
    each = sample_losses("cross_entropy", logits, classes)
    assert float(found) == pytest.approx(2 * each[[0, 1, 3]].sum() / 8, rel=1e-12)


def test_one_output_and_regions_are_sigmoids() -> None:
    regions = np.array([[False, False], [True, False], [True, True]])
    for outputs, table, name in ((1, None, "cross_entropy"), (2, regions, "cross_entropy")):
        logits, classes = batch(outputs if table is None else 3)
        logits = logits[..., :outputs]
        ours = build_loss(name, outputs, regions=table)(logits, classes, np.ones(4), 0.25)
        own = build_loss("my_losses:binary", outputs, regions=table)(logits, classes, np.ones(4), 0.25)
        assert float(own) == pytest.approx(float(ours), rel=1e-8)


def test_coarser_logits_count_as_in_ours() -> None:
    """Deep supervision: weights 2/3 and 1/3."""
    logits, classes = batch(3)
    coarse = np.random.default_rng(2).normal(size=(4, 3, 4, 3))
    given = [logits, coarse], classes, np.ones(4), 0.25
    found = build_loss("my_losses:cross_entropy", 3)(*given)
    assert float(found) == pytest.approx(float(build_loss("cross_entropy", 3)(*given)), rel=1e-12)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere:loss", "the loss nowhere:loss is in the module nowhere, which is neither in the working folder"),
        ("my_losses:missing", r"my_losses\.py has no function missing; its functions: cross_entropy, binary"),
        ("my_losses:no_function", "has no function no_function"),
        ("my_losses:mean_of_all", r"must give one number a sample, shape \(N,\); received shape \(\) for N=3"),
        ("my_losses:of_each_pixel", r"received shape \(3, 4, 6, 3\) for N=3; average over rows, columns and outputs"),
        ("my_losses:a_number", "received no tensor for N=3"),
        ("my_losses:counts_padding", "must leave out the pixels where real is 0"),
        ("my_losses:by_its_batch", "that does not depend on the others of its batch"),
        ("my_losses:divides_by_nothing", "must be finite, and is not for a sample without a real pixel"),
        ("my_losses:the_wrong_way", "must be smaller the better the prediction is"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_reason(name: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        build_loss(name, 3)


def test_options_that_it_does_not_take_are_refused_and_its_own_faults_keep_their_traceback() -> None:
    with pytest.raises(ConfigurationError, match=r"called as cross_entropy\(y_true, y_pred, real, \*\*options\) with"):
        build_loss("my_losses:cross_entropy", 3, options={"alpha": 1})
    with pytest.raises(ZeroDivisionError):
        build_loss("my_losses:fails", 3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"loss": "dise"}, r"loss must be one of dice_cross_entropy, .*, or module:function .*; received 'dise'"),
        ({"loss": "folder/my_losses.py:tversky"}, "or module:function like my_losses:tversky"),
        ({"loss_options": {"alpha": 1}}, "loss_options are those of a loss of your own"),
        ({"loss": "my_losses:focal", "class_weights": (1, 2)}, "class_weights weigh the cross-entropy, which loss"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        TrainingSettings(**settings)


def test_the_example_is_a_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one sample: 2 of 3 pixels found and 1 false one at alpha = beta = 1/2, gamma = 1: 1 - (2 + 1) / (3 + 1)."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[3] / "examples"))
    truth, found = np.array([[1, 1, 1, 0, 0]]), np.array([[1, 1, 0, 1, 0]])
    options = {"alpha": 0.5, "beta": 0.5, "gamma": 1.0}
    loss = build_loss("own_loss:focal_tversky", 1, options=options)
    value = loss(60.0 * (2 * found - 1)[..., None, None], truth[..., None].astype(np.int32), np.ones(1), 1.0)
    assert float(value) == pytest.approx(1 / 4, abs=1e-6)
