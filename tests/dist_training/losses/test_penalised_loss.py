"""What a network adds to the loss of each sample, beside any loss of its logits."""

import numpy as np
import pytest

from dist_training.losses import PenalisedLoss, build_loss


@pytest.mark.parametrize("levels", [1, 2])
@pytest.mark.parametrize("name", ["dice_cross_entropy", "batch_dice"])
def test_the_mean_over_the_real_samples_of_all_ranks_is_added(name: str, levels: int) -> None:
    rng = np.random.default_rng(0)
    logits = [rng.normal(size=(3, 8 // 2**level, 8 // 2**level, 2)) for level in range(levels)]
    classes = rng.integers(0, 2, (3, 8, 8)).astype(np.int32)
    weights, penalties = np.array([1.0, 1.0, 0.0]), np.array([0.3, 0.7, 1e9])
    loss = build_loss(name, 2)
    alone = float(loss(logits, classes, weights, 1 / 5))
    found = float(PenalisedLoss(loss)([*logits, penalties], classes, weights, 1 / 5))
    assert found - alone == pytest.approx((0.3 + 0.7) / 5, rel=1e-9)
