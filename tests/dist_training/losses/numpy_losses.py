"""The losses' published formulas in NumPy, sample by sample and class by class, in float64.

Cross-entropy; focal: Lin et al. 2017, equation 5; soft Dice: Milletari et al. 2016 without squares; Tversky: Salehi et
al. 2017, equation 3. Dice has one pixel of smoothing above and below, Tversky half a pixel.
"""

import numpy as np

TERMS = {
    "cross_entropy": ("cross_entropy",),
    "focal": ("focal",),
    "dice": ("dice",),
    "batch_dice": ("dice",),
    "tversky": ("tversky",),
    "dice_cross_entropy": ("dice", "cross_entropy"),
    "batch_dice_cross_entropy": ("dice", "cross_entropy"),
    "dice_focal": ("dice", "focal"),
    "tversky_cross_entropy": ("tversky", "cross_entropy"),
}
PIXELWISE = ("cross_entropy", "focal")
GAMMA, ALPHA, BETA = 1.5, 0.2, 0.9


def softmax(z: np.ndarray) -> np.ndarray:
    if z.shape[-1] == 1:
        foreground = 1 / (1 + np.exp(-z))
        return np.concatenate([1 - foreground, foreground], axis=-1)
    exponentials = np.exp(z - z.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


def decisions(z: np.ndarray, y: np.ndarray, regions: np.ndarray | None) -> list[tuple[np.ndarray, np.ndarray]]:
    """Probabilities (P, A) and right alternatives (P,): one pair of a softmax, one for each region's sigmoid."""
    if regions is None:
        return [(softmax(z), y)]
    return [(softmax(z[:, [r]]), regions[y, r].astype(int)) for r in range(regions.shape[1])]


def pixel_term(term: str, z: np.ndarray, y: np.ndarray, weights, regions=None, gamma: float = GAMMA) -> float:
    """Of one sample's real pixels: logits (P, K), classes (P,)."""
    means = []
    for p, right in decisions(z, y, regions):
        likelihood = p[np.arange(len(y)), right]
        losses = -np.log(likelihood) if term == "cross_entropy" else -((1 - likelihood) ** gamma) * np.log(likelihood)
        means.append(np.mean(weights[y] * losses))
    return float(np.mean(means))


def area_term(term: str, z: np.ndarray, y: np.ndarray, regions=None, alpha: float = ALPHA, beta: float = BETA) -> float:
    """Of any number of pixels: logits (P, K), classes (P,)."""
    scores = []
    for p, right in decisions(z, y, regions):
        for k in range(1, p.shape[1]):
            inside, found = right == k, p[:, k]
            both = found[inside].sum()
            if term == "dice":
                scores.append((2 * both + 1) / (found.sum() + inside.sum() + 1))
            else:
                wrong, missed = found[~inside].sum(), (1 - found[inside]).sum()
                scores.append((both + 0.5) / (both + alpha * wrong + beta * missed + 0.5))
    return float(1 - np.mean(scores))


def sample_losses(
    name: str, logits: np.ndarray, classes: np.ndarray, weights=None, regions=None, gamma=GAMMA, alpha=ALPHA, beta=BETA
) -> np.ndarray:
    """One loss a sample, logits (N, H, W, K) and classes (N, H, W); 0 where a sample has no real pixel."""
    weights = np.ones(100) if weights is None else np.asarray(weights)
    found = []
    for z, y in zip(logits.astype(np.float64), classes, strict=True):
        z, y = z[y >= 0], y[y >= 0]
        terms = [
            pixel_term(term, z, y, weights, regions, gamma)
            if term in PIXELWISE
            else area_term(term, z, y, regions, alpha, beta)
            for term in (TERMS[name] if len(y) else ())
        ]
        found.append(sum(terms))
    return np.array(found)


def step_loss(name: str, logits: np.ndarray, classes: np.ndarray, weights=None, regions=None) -> float:
    """The loss of a step of N real samples; a batch's Dice is that of all its pixels put together."""
    if not name.startswith("batch_"):
        return float(sample_losses(name, logits, classes, weights, regions).mean())
    real = classes >= 0
    loss = area_term("dice", logits.astype(np.float64)[real], classes[real], regions) if real.any() else 0.0
    if "cross_entropy" in TERMS[name]:
        loss += float(sample_losses("cross_entropy", logits, classes, weights, regions).mean())
    return loss
