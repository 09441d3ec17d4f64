"""The update rules of five optimizers written from their papers, in NumPy and float64."""

from collections.abc import Sequence

import numpy as np

BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-7
Arrays = list[np.ndarray]


class Reference:
    """Weights and their optimizer; matrices decay and have trust ratios, vectors neither.

    ``factors`` multiply the rate of each array; ``clip`` bounds the norm of the whole gradient.
    """

    def __init__(
        self,
        name: str,
        weights: Arrays,
        *,
        momentum: float = 0.0,
        nesterov: bool = False,
        decay: float = 0.0,
        trust: float = 1.0,
        clip: float = np.inf,
        factors: Sequence[float] = (),
    ) -> None:
        self.name, self.weights = name, [w.astype(np.float64) for w in weights]
        self.momentum, self.nesterov, self.decay, self.trust, self.clip = momentum, nesterov, decay, trust, clip
        self.factors = list(factors) or [1.0] * len(weights)
        self.first = [np.zeros_like(w) for w in self.weights]
        self.second = [np.zeros_like(w) for w in self.weights]
        self.steps = 0

    def apply(self, gradients: Arrays, rate: float) -> None:
        self.steps += 1
        norm = np.sqrt(sum(float(np.sum(g**2)) for g in gradients))
        scale = min(1.0, self.clip / norm)
        for i, g in enumerate(gradients):
            rule = {"sgd": self._sgd, "lars": self._lars, "lamb": self._lamb}.get(self.name, self._adam)
            self.weights[i] = rule(i, self.weights[i], g * scale, rate * self.factors[i])

    def _decoupled(self, w: np.ndarray, rate: float) -> np.ndarray:
        # Loshchilov and Hutter 2019: the decay beside the gradient's step, not within the gradient
        return w - rate * self.decay * w if w.ndim > 1 else w

    def _sgd(self, i: int, w: np.ndarray, g: np.ndarray, rate: float) -> np.ndarray:
        w, self.first[i] = self._decoupled(w, rate), self.momentum * self.first[i] + rate * g
        # Sutskever et al. 2013, with the velocity's sign turned
        return w - (self.momentum * self.first[i] + rate * g if self.nesterov else self.first[i])

    def _direction(self, i: int, g: np.ndarray, epsilon_within: bool) -> np.ndarray:
        # Kingma and Ba 2015, algorithm 1 (epsilon_within: their epsilon hat, before both corrections are applied)
        self.first[i] = BETA_1 * self.first[i] + (1 - BETA_1) * g
        self.second[i] = BETA_2 * self.second[i] + (1 - BETA_2) * g**2
        m = self.first[i] / (1 - BETA_1**self.steps)
        correction = np.sqrt(1 - BETA_2**self.steps)
        v = np.sqrt(self.second[i]) / correction
        return m / (v + EPSILON / correction if epsilon_within else v + EPSILON)

    def _adam(self, i: int, w: np.ndarray, g: np.ndarray, rate: float) -> np.ndarray:
        return self._decoupled(w, rate) - rate * self._direction(i, g, epsilon_within=True)

    def _lamb(self, i: int, w: np.ndarray, g: np.ndarray, rate: float) -> np.ndarray:
        # You et al. 2020, algorithm 2
        direction = self._direction(i, g, epsilon_within=False)
        if w.ndim < 2:
            return w - rate * direction
        update = direction + self.decay * w
        return w - rate * np.linalg.norm(w) / np.linalg.norm(update) * update

    def _lars(self, i: int, w: np.ndarray, g: np.ndarray, rate: float) -> np.ndarray:
        # You, Gitman and Ginsburg 2017, equation 6 and algorithm 1
        trust, decay = 1.0, 0.0
        if w.ndim > 1:
            decay = self.decay
            trust = self.trust * np.linalg.norm(w) / (np.linalg.norm(g) + decay * np.linalg.norm(w))
        self.first[i] = self.momentum * self.first[i] + rate * trust * (g + decay * w)
        return w - self.first[i]
