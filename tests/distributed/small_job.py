"""One rank of a small job: a network of another width each time is trained for two steps, and reduces once more."""

import keras
import numpy as np

from dist_training.ranks.communicator import Communicator
from dist_training.ranks.distributed_optimizer import DistributedOptimizer


def main(communicator: Communicator, number: int) -> float:
    keras.config.set_dtype_policy(("float64", "float32")[number % 2])
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1 + number % 5), keras.layers.Dense(1)])
    optimizer = DistributedOptimizer(keras.optimizers.Adam(0.1), communicator=communicator)
    model.compile(optimizer, loss="mse", jit_compile=False)
    model.fit(np.ones((2, 3)), np.full((2, 1), communicator.rank), epochs=2, verbose=0)
    return float(communicator.sum_array(np.ones(number + 1)).sum())
