"""What is refused before a run begins."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from dist_training.checkpoints import Checkpoint, TrainingProgress
from dist_training.run.plan import check_epochs, check_workers
from dist_training.settings import TrainingSettings
from r2d2_base.errors import ConfigurationError


def test_a_dataset_without_a_training_slice_is_refused_as_such() -> None:
    empty = SimpleNamespace(folder="work/heart", splits=SimpleNamespace(train=()))
    with pytest.raises(ConfigurationError, match=r"work/heart has no training slice; .* preparation\.slices"):
        check_workers(empty, TrainingSettings(), 1)


def test_a_run_does_not_go_on_with_fewer_epochs_than_it_has() -> None:
    for progress, fewest in ((TrainingProgress(epoch=4), 4), (TrainingProgress(epoch=4, step_in_epoch=1), 5)):
        checkpoint = Checkpoint(Path("step-9.npz"), progress, {}, {}, [], [])
        check_epochs(checkpoint, TrainingSettings(epochs=fewest))
        with pytest.raises(ConfigurationError, match=f"at least {fewest}, which the run of step-9.npz .*; received"):
            check_epochs(checkpoint, TrainingSettings(epochs=fewest - 1))
