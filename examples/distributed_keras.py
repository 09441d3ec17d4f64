"""Train any Keras 3 model on several workers; interrupted, run it again and it goes on.

python examples/distributed_keras.py
horovodrun -np 2 python examples/distributed_keras.py
"""

import argparse
from pathlib import Path

import keras
import numpy as np

from dist_training import (
    BroadcastCallback,
    CheckpointCallback,
    DistributedOptimizer,
    LearningRateWarmupCallback,
    MetricReductionCallback,
    StopCallback,
    SyncBatchNormalisation,
    configure_devices,
    join_job,
)

GLOBAL_BATCH = 32


def two_moons(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Two interleaved half circles: points (count, 2) and classes (count,)."""
    generator = np.random.default_rng(0)
    classes = generator.integers(0, 2, count)
    angle = generator.uniform(0, np.pi, count)
    points = np.stack([np.cos(angle) + classes, np.sin(angle) * (1 - 2 * classes) + classes / 2], axis=1)
    return points + generator.normal(0, 0.1, points.shape), classes


class Share(keras.utils.PyDataset):
    """This rank's part of every global batch, shuffled alike on all ranks from the number of the epoch."""

    def __init__(self, x: np.ndarray, y: np.ndarray, rank: int, world_size: int, first_epoch: int) -> None:
        super().__init__()
        self.x, self.y, self.epoch, self.rank, self.world_size = x, y, first_epoch, rank, world_size

    def __len__(self) -> int:
        return len(self.x) // GLOBAL_BATCH  # the same on all ranks: one with more steps would wait for ever

    def __getitem__(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        order = np.random.default_rng(self.epoch).permutation(len(self.x))
        batch = order[step * GLOBAL_BATCH : (step + 1) * GLOBAL_BATCH]
        mine = batch[self.rank :: self.world_size]
        return self.x[mine], self.y[mine]

    def on_epoch_end(self) -> None:
        """Shuffle anew; Keras calls it."""
        self.epoch += 1


def main() -> None:
    """Train, report from rank 0, save there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("moons"))
    parser.add_argument("--epochs", type=int, default=8)
    arguments = parser.parse_args()

    job = join_job()  # rank and number of workers; one worker without horovodrun
    configure_devices(job)
    points, classes = two_moons(1280)
    x, y, x_test, y_test = points[:1024], classes[:1024], points[1024:], classes[1024:]

    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((2,)),
            keras.layers.Dense(16, use_bias=False),  # the normalisation would cancel it
            SyncBatchNormalisation(communicator=job),
            keras.layers.Activation("relu"),
            keras.layers.Dense(2),
        ]
    )
    model.compile(
        DistributedOptimizer(keras.optimizers.Adam(0.02), communicator=job),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        jit_compile=False,
    )
    checkpoint, stop = CheckpointCallback(arguments.out / "last.npz", communicator=job), StopCallback(communicator=job)
    first_epoch = checkpoint.restore(model)
    history = model.fit(
        Share(x, y, job.rank, job.world_size, first_epoch),
        validation_data=(x_test[job.rank :: job.world_size], y_test[job.rank :: job.world_size]),
        initial_epoch=first_epoch,
        shuffle=False,  # else Keras shuffles the batches of a PyDataset, with each process's own generator
        epochs=arguments.epochs,
        verbose=0,
        callbacks=[
            BroadcastCallback(job),
            MetricReductionCallback(job),
            LearningRateWarmupCallback(0.02, base=0.002, warmup_epochs=1, communicator=job),
            stop,
            checkpoint,
        ],
    )
    if job.rank == 0:
        model.save(arguments.out / "model.keras")
        last = {name: round(values[-1], 4) for name, values in history.history.items() if values}
        print(f"{job.world_size} workers, from epoch {first_epoch}: {stop.reason or 'completed'} {last}")


if __name__ == "__main__":
    main()
