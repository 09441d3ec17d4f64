"""Losses on Keras's other backends: values and gradients of TensorFlow's, in a process of its own."""

import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import keras
import numpy as np
import pytest

from dist_training.losses import build_loss
from dist_training.ranks.communicator import SoloCommunicator
from dist_training.settings import LossName
from tests.keras_backends import environment_of


def compute() -> dict[str, np.ndarray]:
    """Values of all losses at two resolutions, of classes and of regions; their gradients by the finer logits."""
    rng = np.random.default_rng(0)
    classes = rng.integers(-1, 4, (3, 6, 8)).astype("int32")
    regions = np.array([[0, 0], [1, 0], [0, 1], [1, 1]], bool)
    found = {}
    for name in get_args(LossName):
        for table in (None, regions):
            outputs = 4 if table is None else 2
            fine, coarse = (rng.normal(0, 2, (3, *size, outputs)).astype("float32") for size in ((6, 8), (3, 4)))
            loss = build_loss(name, outputs, regions=table, communicator=SoloCommunicator())

            def value(logits: Any, loss: Any = loss, coarse: np.ndarray = coarse) -> Any:
                return loss([logits, keras.ops.convert_to_tensor(coarse)], classes, np.ones(3), 1 / 3)

            result, gradient = differentiated(value, fine)
            found[f"{name} {outputs} value"] = keras.ops.convert_to_numpy(result)
            found[f"{name} {outputs} gradient"] = keras.ops.convert_to_numpy(gradient)
    return found


def differentiated(value: Any, logits: np.ndarray) -> tuple[Any, Any]:
    """The value and its gradient, as the backend in use computes them."""
    if keras.backend.backend() == "jax":
        import jax

        return jax.jit(jax.value_and_grad(value))(logits)
    if keras.backend.backend() == "torch":
        import torch

        tensor = torch.tensor(logits, requires_grad=True)
        result = value(tensor)
        result.backward()
        return result, tensor.grad
    import tensorflow as tf

    variable = tf.Variable(logits)
    with tf.GradientTape() as tape:
        result = value(variable)
    return result, tape.gradient(result, variable)


ELSEWHERE = """
import sys
import numpy as np
from tests.dist_training.losses.test_losses_elsewhere import compute
np.savez(sys.argv[1], **compute())
"""


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_another_keras_backend_computes_the_same(backend: str, tmp_path: Path) -> None:
    command = [sys.executable, "-c", ELSEWHERE, str(tmp_path / "found.npz")]
    subprocess.run(command, env=environment_of(backend), check=True)
    ours, theirs = compute(), dict(np.load(tmp_path / "found.npz"))
    assert len(ours) == 9 * 2 * 2
    for name, value in ours.items():
        np.testing.assert_allclose(theirs[name], value, rtol=1e-4, atol=1e-6 * np.abs(value).max(), err_msg=name)
