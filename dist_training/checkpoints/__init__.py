"""Checkpoints: everything a run needs to go on exactly where it was, and when and how that reaches the disk."""

from dist_training.checkpoints.archive import Checkpoint, read_checkpoint
from dist_training.checkpoints.folder import read_latest_checkpoint, write_checkpoint
from dist_training.checkpoints.policy import CheckpointPolicy, LastCheckpoint
from dist_training.checkpoints.progress import TrainingProgress
from dist_training.checkpoints.store import CheckpointStore

__all__ = [
    "Checkpoint",
    "CheckpointPolicy",
    "CheckpointStore",
    "LastCheckpoint",
    "TrainingProgress",
    "read_checkpoint",
    "read_latest_checkpoint",
    "write_checkpoint",
]
