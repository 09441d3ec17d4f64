"""The logs of an epoch over all ranks, in place of those of each."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dist_training.keras_kit.lockstep import RankCallback
from dist_training.keras_kit.metric_states import (
    Results,
    Share,
    loss_trackers,
    numbers_in,
    results_of_all,
    share_of,
    weighted_means,
)
from dist_training.keras_kit.model_state import optimizers_of, values
from dist_training.ranks.communicator import Communicator
from dist_training.ranks.distributed_optimizer import sums_over_ranks

__all__ = ["MetricReductionCallback"]

PARTS = {"training": "", "validation": "val_"}
"""What an epoch has, and what the names in its logs begin with."""


class MetricReductionCallback(RankCallback):
    """Replaces an epoch's logs by those over all ranks, as one worker with all samples would have them.

    Put it before callbacks that act on the logs (``ModelCheckpoint``, ``EarlyStopping``, ``ReduceLROnPlateau``), which
    then decide alike on all ranks. What a metric keeps is summed over the ranks before it is divided: exact for the
    loss, ``SegmentationScores`` and all of Keras's metrics (``MeanIoU``, ``Precision``, ``AUC``, ``F1Score`` ...), and
    for a metric of the user's own whose variables are sums, as Keras takes them to be on several devices too. Make
    others with ``add_variable(aggregation="none")``: their results are averaged, weighted by samples, and so are
    numbers of the logs that no metric of the model gives. With ``DistributedOptimizer(reduction="sum")`` the loss is
    the sum over the ranks.

    Args:
        communicator: the ranks; None joins the job that this process was started in.
    """

    def __init__(self, communicator: Communicator | None = None) -> None:
        super().__init__(communicator)
        self._shares: dict[str, Share] = {}
        self._totals: list[np.ndarray] = []
        self._has_summed_loss = False

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Forget the epoch before."""
        super().on_epoch_begin(epoch, logs)
        self._shares, self._totals = {}, []
        self._has_summed_loss = any(map(sums_over_ranks, optimizers_of(self.model).values()))

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Note the loss of the step, where the ranks' losses add up."""
        super().on_train_batch_end(batch, logs)
        self._note_step()

    def on_test_begin(self, logs: Any = None) -> None:
        """Note what this rank has trained on: validation resets the metrics that know."""
        super().on_test_begin(logs)
        self._note("training")

    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
        """Note the loss of the step, where the ranks' losses add up."""
        self._note_step()

    def on_test_end(self, logs: Any = None) -> None:
        """Note what this rank has validated on."""
        self._note("validation")

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Write the results of all into the logs, which Keras hands to the callbacks that follow."""
        self.lockstep.after_steps(self)
        if "training" not in self._shares:
            self._note("training")
        if logs is not None and self._communicator.world_size > 1:
            logs.update(self._over_all(self._communicator.gather_objects((numbers_in(logs), self._shares))))
        self.lockstep.after_epoch(self)

    def _note_step(self) -> None:
        if self._has_summed_loss:
            self._totals.append(np.array([values([one.count, one.total]) for one in loss_trackers(self.model)]))

    def _note(self, part: str) -> None:
        totals = np.array(self._totals).astype(np.float64)
        steps = np.diff(totals, axis=0, prepend=0) if self._totals else np.zeros((0, 0, 2))
        with np.errstate(divide="ignore", invalid="ignore"):
            steps = np.stack([steps[..., 0], steps[..., 1] / steps[..., 0]], axis=-1)
        self._shares[part], self._totals = share_of(self.model, steps), []

    def _over_all(self, ranks: Sequence[tuple[Results, Mapping[str, Share]]]) -> Results:
        found: Results = {}
        for part, prefix in PARTS.items():
            reports = [
                (
                    {name: value for name, value in numbers.items() if name.startswith("val_") is bool(prefix)},
                    shares[part],
                )
                for numbers, shares in ranks
                if part in shares
            ]
            if reports:
                found |= self._over_reports(prefix, [logs for logs, _ in reports], [share for _, share in reports])
        return found

    def _over_reports(self, prefix: str, logs: Sequence[Results], shares: Sequence[Share]) -> Results:
        """Give the numbers of a part of the epoch over the ranks that had one."""
        means = weighted_means(logs, [share.samples for share in shares])
        if self._has_summed_loss:
            losses = [name for name in means if name.removeprefix(prefix).endswith("loss")]
            means |= {name: math.fsum(one[name] for one in logs if name in one) for name in losses}
        results = results_of_all(self.model, shares, is_loss_summed=self._has_summed_loss)
        return means | {
            f"{prefix}{name}": value for name, value in results.items() if _is_given(name, prefix, logs, shares)
        }


def _is_given(name: str, prefix: str, logs: Sequence[Results], shares: Sequence[Share]) -> bool:
    """Tell whether a number in the logs is a metric's result on every rank: a step of the user's own may log others."""
    logged = [(one.get(f"{prefix}{name}"), share.logged.get(name)) for one, share in zip(logs, shares, strict=True)]
    return all(
        given is not None and result is not None and np.allclose(given, result, rtol=1e-5, equal_nan=True)
        for given, result in logged
    )
