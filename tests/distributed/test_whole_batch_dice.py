"""A loss that divides sums over the batch is the same on any number of workers, forward and backward."""

from collections.abc import Callable

import numpy as np
import pytest

from tests.distributed.pool import WorkerPool
from tests.distributed.whole_batch_worker import LOSSES, start_weights, step_data

pytestmark = pytest.mark.distributed

Parts = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def parts(
    pool_of: Callable[[int], WorkerPool], tmp_path_factory: pytest.TempPathFactory
) -> dict[int, list[dict[str, np.ndarray]]]:
    """For 1 and 3 workers, the parts of each rank."""
    found = {}
    for workers in (1, 3):
        out = tmp_path_factory.mktemp(f"workers-{workers}")
        pool_of(workers).run("tests.distributed.whole_batch_worker", str(out))
        found[workers] = [dict(np.load(out / f"rank-{rank}.npz")) for rank in range(workers)]
    return found


def summed(ranks: list[Parts]) -> Parts:
    return {name: sum(rank[name] for rank in ranks) for name in ranks[0]}


def dice_of_all_pixels(logits: np.ndarray, classes: np.ndarray) -> float:
    """One minus the soft Dice of each foreground class, over all pixels of all samples, with one pixel of smoothing."""
    z, y = logits[classes >= 0], classes[classes >= 0]
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    scores = [(2 * p[y == k, k].sum() + 1) / (p[:, k].sum() + (y == k).sum() + 1) for k in range(1, p.shape[1])]
    return float(1 - np.mean(scores))


def test_loss_and_gradients_are_those_of_one_worker(parts) -> None:
    """Shares of 2, 2 and 1, and of 1, 1 and none."""
    (alone,), spread = parts[1], summed(parts[3])
    assert len(alone) == len(LOSSES) * 2 * 3
    for name, value in alone.items():
        assert value.dtype == np.float64
        assert np.abs(value).max() > 1e-3, name
        np.testing.assert_allclose(spread[name], value, rtol=0, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("samples", [5, 2])
@pytest.mark.parametrize("workers", [1, 3])
def test_the_parts_add_up_to_the_dice_of_all_pixels(parts, workers: int, samples: int) -> None:
    images, classes = step_data(samples)
    fine, coarse = (images @ weights for weights in start_weights(4))
    levels = [(fine, classes), (coarse[:, ::2, ::2], classes[:, 1::2, 1::2])]
    expected = np.dot([dice_of_all_pixels(*level) for level in levels], [2 / 3, 1 / 3])
    found = summed(parts[workers])[f"batch_dice {samples} loss"]
    assert float(found) == pytest.approx(expected, abs=1e-12)


def test_it_is_not_the_mean_of_the_workers_own_dice(parts) -> None:
    """Guards the tests above: here it matters that the sums travel."""
    images, classes = step_data(5)
    fine, coarse = (images @ weights for weights in start_weights(4))
    own = []
    for part in (slice(0, 3), slice(3, 5)):
        levels = [(fine[part], classes[part]), (coarse[part, ::2, ::2], classes[part, 1::2, 1::2])]
        own.append(np.dot([dice_of_all_pixels(*level) for level in levels], [2 / 3, 1 / 3]))
    whole = float(parts[1][0]["batch_dice 5 loss"])
    assert abs(np.dot(own, [0.6, 0.4]) - whole) > 1e-4
