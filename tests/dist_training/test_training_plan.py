"""What is refused before a run begins."""

from types import SimpleNamespace

import pytest

from dist_training.errors import ConfigurationError
from dist_training.plan import check_workers
from dist_training.settings import TrainingSettings


def test_a_dataset_without_a_training_slice_is_refused_as_such() -> None:
    empty = SimpleNamespace(folder="work/heart", splits=SimpleNamespace(train=()))
    with pytest.raises(ConfigurationError, match=r"work/heart has no training slice; .* preparation\.slices"):
        check_workers(empty, TrainingSettings(), 1)
