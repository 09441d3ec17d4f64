"""Metrics of several ranks as one: the sums that a metric keeps are summed over the ranks, then it is asked again."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from dist_training.keras_kit.model_state import values

__all__ = ["Results", "Share", "loss_trackers", "numbers_in", "results_of_all", "share_of", "weighted_means"]


Results = dict[str, Any]
"""{name: number, or array of numbers}."""


@dataclass(frozen=True)
class Share:
    """What one rank has seen of an epoch's training, or of its validation.

    Attributes:
        samples: how many.
        states: of each metric of the model, the arrays that it keeps.
        results: of each metric that keeps no sums, its results by name; those of others do not matter.
        logged: {name: value} of all metrics, as Keras has them in its logs; some, as F1Score, give an array.
        steps: float64 (steps, trackers, 2), samples and loss of each step by each tracker of a loss.
    """

    samples: float
    states: list[list[np.ndarray]]
    results: list[Results]
    logged: Results
    steps: np.ndarray


def share_of(model: Any, steps: np.ndarray) -> Share:
    """Read what a model's metrics hold at present, on this rank.

    Args:
        model: a Keras model in the middle of ``fit``.
        steps: see ``Share``.
    """
    metrics = _metrics_of(model)
    return Share(
        _sample_count(metrics),
        [values(metric.variables) for metric in metrics],
        [{} if _keeps_sums(metric) else numbers_in({metric.name: metric.result()}) for metric in metrics],
        numbers_in(model.get_metrics_result()),
        steps,
    )


def results_of_all(model: Any, shares: Sequence[Share], *, is_loss_summed: bool) -> Results:
    """Ask a model's metrics for their results over what several ranks have seen; they are left as they were.

    Exact for a metric whose variables are sums over samples, as Keras declares them (``aggregation="sum"`` is the
    default of ``add_variable``); the results of others are averaged, weighted by samples.

    Args:
        model: of this rank; the same on all.
        shares: of the ranks that have one.
        is_loss_summed: whether the loss of a step is the sum over the ranks, not the mean over their samples.

    Returns:
        {name: value} as Keras has them in its logs.
    """
    metrics, trackers = _metrics_of(model), loss_trackers(model)
    before = [values(metric.variables) for metric in metrics]
    answers: list[tuple[Any, Any]] = []
    try:
        for number, metric in enumerate(metrics):
            states = [share.states[number] for share in shares]
            place = next((i for i, tracker in enumerate(trackers) if tracker is metric), None)
            if place is not None and is_loss_summed:
                answers.append((metric, _summed_loss([share.steps[:, place] for share in shares])))
            elif _keeps_sums(metric):
                _put_sum(metric, states)
            else:
                results = [share.results[number] for share in shares]
                means = weighted_means(results, [share.samples for share in shares])
                answers.append((metric, means[metric.name] if [*means] == [metric.name] else means))
        with _answering(answers):
            return numbers_in(model.get_metrics_result())
    finally:
        for metric, arrays in zip(metrics, before, strict=True):
            _put(metric, arrays)


def loss_trackers(model: Any) -> list[Any]:
    """Give the metrics of a model that track its loss, and those of its outputs where there are several."""
    own = [metric for metric in _metrics_of(model) if isinstance(metric, keras.metrics.Mean) and metric.name == "loss"]
    parts = getattr(getattr(model, "_compile_loss", None), "metrics", None) or []
    return [*own, *(metric for metric in parts if all(metric is not one for one in own))]


def weighted_means(results: Sequence[Mapping[str, Any]], samples: Sequence[float]) -> Results:
    """Average what ranks report, weighted by their numbers of samples.

    Args:
        results: of each rank, by name.
        samples: of each rank.

    Returns:
        The mean over the ranks that report a name and have samples; the plain one where no rank has any.

    >>> weighted_means([{"loss": 1.0}, {"loss": 4.0}], [2, 1])
    {'loss': 2.0}
    """
    means: Results = {}
    for name in {name: None for one in results for name in one}:
        pairs = [(one[name], weight) for one, weight in zip(results, samples, strict=True) if name in one]
        counted = [(value, weight) for value, weight in pairs if weight] or [(value, 1) for value, _ in pairs]
        found, weights = zip(*counted, strict=True)
        means[name] = _number_or_array(np.average(found, axis=0, weights=weights))
    return means


def _metrics_of(model: Any) -> list[Any]:
    """Give the metrics that a user thinks of: Keras has those that were compiled in one of its own."""
    found: list[Any] = []
    for metric in model.metrics:
        is_container = type(metric).__module__.startswith("keras.") and hasattr(metric, "metrics")
        found += metric.metrics if is_container else [metric]
    return found


def _keeps_sums(metric: Any) -> bool:
    return all(variable.aggregation == "sum" for variable in metric.variables)


def _put_sum(metric: Any, states: Sequence[Sequence[np.ndarray]]) -> None:
    """Give a metric the sums of what those of several ranks hold."""
    wide = [np.int64 if array.dtype.kind in "iu" else np.float64 for array in states[0]]
    columns = zip(*states, strict=True)
    _put(metric, [np.sum(arrays, axis=0, dtype=dtype) for arrays, dtype in zip(columns, wide, strict=True)])


def _put(metric: Any, arrays: Sequence[np.ndarray]) -> None:
    if hasattr(metric, "assign_state"):
        metric.assign_state(arrays)
        return
    for variable, array in zip(metric.variables, arrays, strict=True):
        variable.assign(keras.ops.cast(array, variable.dtype))


def _summed_loss(steps: Sequence[np.ndarray]) -> float:
    """Give the mean over an epoch's steps, weighted by their samples, of the sum of the ranks' losses.

    Args:
        steps: of each rank, (steps, 2): samples and loss; a rank with fewer steps adds nothing to the last.
    """
    longest = max(len(one) for one in steps)
    padded = np.array([np.pad(one, [(0, longest - len(one)), (0, 0)]) for one in steps])
    samples, losses = padded.sum(axis=0).T
    return float(np.average(losses, weights=samples)) if samples.sum() else math.nan


@contextmanager
def _answering(answers: Sequence[tuple[Any, Any]]) -> Iterator[None]:
    """Let metrics answer with given results for a while."""
    for metric, answer in answers:
        metric.result = lambda answer=answer: answer
    try:
        yield
    finally:
        for metric, _ in answers:
            del metric.result


def _sample_count(metrics: Sequence[Any]) -> float:
    """Give the samples since the metrics were reset: the weight of Keras's mean of the loss."""
    means = (metric for metric in metrics if metric.name == "loss" and isinstance(metric, keras.metrics.Mean))
    return next((float(keras.ops.convert_to_numpy(metric.count)) for metric in means), 0.0)


def _number_or_array(value: Any) -> Any:
    """Give a float, or an array where a metric gives several numbers; None for what is none."""
    array = np.asarray(keras.ops.convert_to_numpy(value) if keras.ops.is_tensor(value) else value)
    if array.dtype.kind not in "biuf":
        return None
    return float(array) if array.ndim == 0 else array.astype(np.float64)


def numbers_in(results: Mapping[str, Any]) -> Results:
    """Flatten results as Keras does for its logs; what is no number is left out."""
    found: Results = {}
    for name, value in results.items():
        if isinstance(value, Mapping):
            found.update(numbers_in(value))
        elif (number := _number_or_array(value)) is not None:
            found[name] = number
    return found
