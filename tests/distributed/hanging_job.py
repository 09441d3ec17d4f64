"""One rank of a Keras job whose ranks come to wait for each other, for ever.

The time after which a signal ends such a rank is cut short, as no step here takes long.
"""

from typing import Any

import keras
import numpy as np

from dist_training import BroadcastCallback, DistributedOptimizer, StopCallback, join_job
from dist_training.keras_kit import signal_watch


class WaitAlone(keras.callbacks.Callback):
    """Waits for what only this rank gathers."""

    def __init__(self, job: Any) -> None:
        super().__init__()
        self.job = job

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Say so, and wait."""
        if batch == 1:
            print("waits", flush=True)
            if self.job.rank == 1:
                self.job.gather_objects("alone")


if __name__ == "__main__":
    signal_watch.PATIENCE_SECONDS = signal_watch.LONGEST_STEPS = 0.2
    job = join_job()
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile(DistributedOptimizer(keras.optimizers.SGD(0.01), communicator=job), loss="mse", jit_compile=False)
    callbacks = [BroadcastCallback(job), StopCallback(communicator=job), WaitAlone(job)]
    model.fit(np.ones((20, 4)), np.ones((20, 1)), batch_size=4, verbose=0, callbacks=callbacks)
