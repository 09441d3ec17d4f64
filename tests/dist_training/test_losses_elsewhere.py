"""Losses on Keras's other backends: values and gradients of TensorFlow's, in one process each."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

# Values of all losses at two resolutions, of classes and of regions; their gradients by the finer logits.
COMPUTE = """
import sys
from typing import get_args
import keras
import numpy as np
from dist_training.ranks.communicator import SoloCommunicator
from dist_training.losses import build_loss
from dist_training.settings import LossName

rng = np.random.default_rng(0)
classes = rng.integers(-1, 4, (3, 6, 8)).astype("int32")
regions = np.array([[0, 0], [1, 0], [0, 1], [1, 1]], bool)
found = {}
for name in get_args(LossName):
    for table in (None, regions):
        outputs = 4 if table is None else 2
        fine, coarse = (rng.normal(0, 2, (3, *size, outputs)).astype("float32") for size in ((6, 8), (3, 4)))
        loss = build_loss(name, outputs, regions=table, communicator=SoloCommunicator())
        def value(logits):
            return loss([logits, keras.ops.convert_to_tensor(coarse)], classes, np.ones(3), 1 / 3)
        if keras.backend.backend() == "jax":
            import jax
            result, gradient = jax.jit(jax.value_and_grad(value))(fine)
        elif keras.backend.backend() == "torch":
            import torch
            logits = torch.tensor(fine, requires_grad=True)
            result = value(logits)
            result.backward()
            gradient = logits.grad
        else:
            import tensorflow as tf
            logits = tf.Variable(fine)
            with tf.GradientTape() as tape:
                result = value(logits)
            gradient = tape.gradient(result, logits)
        found[f"{name} {outputs} value"] = keras.ops.convert_to_numpy(result)
        found[f"{name} {outputs} gradient"] = keras.ops.convert_to_numpy(gradient)
np.savez(sys.argv[1], **found)
"""


def computed(backend: str, folder: Path) -> dict[str, np.ndarray]:
    path, environment = folder / f"{backend}.npz", {**os.environ, "KERAS_BACKEND": backend}
    subprocess.run([sys.executable, "-c", COMPUTE, str(path)], env=environment, check=True)
    return dict(np.load(path))


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_another_keras_backend_computes_the_same(backend: str, tmp_path: Path) -> None:
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed; pip install {backend} runs this test")
    ours, theirs = (computed(name, tmp_path) for name in ("tensorflow", backend))
    assert len(ours) == 9 * 2 * 2
    for name, value in ours.items():
        np.testing.assert_allclose(theirs[name], value, rtol=1e-4, atol=1e-6 * np.abs(value).max(), err_msg=name)
