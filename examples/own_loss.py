"""A loss of your own for R2D2: any function that gives one number a sample.

r2d2 train --dataset work/liver training.loss=own_loss:focal_tversky training.loss_options.gamma=0.75
"""

from typing import Any

from keras import ops


def focal_tversky(
    y_true: Any, y_pred: Any, real: Any, alpha: float = 0.3, beta: float = 0.7, gamma: float = 0.75
) -> Any:
    """Tversky's index of each foreground output, (1 - index)^gamma averaged over them (Abraham and Khan 2019).

    Args:
        y_true: (N, H, W, outputs), 1 where an output should be on, 0 where a pixel counts nowhere.
        y_pred: (N, H, W, outputs), logits.
        real: (N, H, W, 1), 1, or 0 where a pixel counts nowhere.
        alpha: weight of false positives.
        beta: weight of false negatives.
        gamma: below 1, badly segmented structures count more.

    Returns:
        (N,): one number a sample, so that it does not matter how a batch is spread over workers.
    """
    is_softmax = y_pred.shape[-1] > 1
    probability = (ops.softmax(y_pred) if is_softmax else ops.sigmoid(y_pred)) * real
    if is_softmax:  # the first class is the background
        y_true, probability = y_true[..., 1:], probability[..., 1:]
    both, missed, false = (
        ops.sum(product, axis=(1, 2))
        for product in (y_true * probability, y_true * (1 - probability), (1 - y_true) * probability)
    )
    index = (both + 1) / (both + alpha * false + beta * missed + 1)
    return ops.mean((1 - index + 1e-7) ** gamma, axis=-1)
