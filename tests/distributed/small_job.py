"""One rank of a small job: a step of a network of another width and precision each time, without compiling anything."""

import keras
import numpy as np
import tensorflow as tf

from dist_training.ranks.communicator import Communicator
from dist_training.ranks.distributed_optimizer import DistributedOptimizer


def main(communicator: Communicator, number: int) -> float:
    keras.config.set_dtype_policy(("float64", "float32")[number % 2])
    layer = keras.layers.Dense(1 + number % 5)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer(np.full((2, 3), communicator.rank)) ** 2)
    gradients = tape.gradient(loss, layer.trainable_variables)
    optimizer = DistributedOptimizer(keras.optimizers.Adam(0.1), communicator=communicator)
    optimizer.apply(gradients, layer.trainable_variables)
    return float(communicator.sum_array(np.ones(number + 1)).sum())
