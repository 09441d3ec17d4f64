"""Out of memory: real errors of real processes, and the advice that they turn into."""

import subprocess
import sys

import pytest

from dist_training.errors import OutOfMemoryError
from dist_training.run.memory import GIB, explain_memory, parts_that_fit
from dist_training.settings import TrainingSettings

SETTINGS = TrainingSettings(batch_size_per_worker=12, accumulation_steps=2)

HUGE_TENSOR = """
import sys
import tensorflow as tf
from dist_training.run.memory import explain_memory
from dist_training.settings import TrainingSettings
try:
    tf.zeros((4096, 1024, 1024, 64))  # 1 TiB
except Exception as error:
    told = explain_memory(error, TrainingSettings(), world_size=1, memory_bytes=16 * 2**30)
    print(type(error).__name__, type(told).__name__, told, sep="|")
"""

LIMITED_ARRAY = """
import resource
import numpy as np
from dist_training.run.memory import explain_memory
from r2d2_base.machine import usable_memory
from dist_training.settings import TrainingSettings
resource.setrlimit(resource.RLIMIT_AS, (3 * 2**30, 3 * 2**30))
try:
    np.ones(2**30)  # 8 GiB
except MemoryError as error:
    limit, _ = usable_memory()
    told = explain_memory(error, TrainingSettings(), world_size=1, memory_bytes=limit)
    print(type(error).__name__, type(told).__name__, limit, told, sep="|")
"""


def words_of(script: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().split("|")


def test_a_tensor_that_tensorflow_cannot_allocate() -> None:
    kind, told, text = words_of(HUGE_TENSOR)
    assert (kind, told) == ("ResourceExhaustedError", "OutOfMemoryError")
    assert "it asked for 1024.0 GiB at once" in text  # 4096 x 1024 x 1024 x 64 x 4 bytes
    assert "out of memory with 16 slices at a time" in text
    # Twice 1 TiB in 16 GiB: 128 parts, but 16 slices give only 16.
    assert "training.accumulation_steps=16" in text
    assert "training.batch_size_per_worker=1," in text


def test_an_array_beyond_the_limit_of_the_process() -> None:
    kind, told, limit, text = words_of(LIMITED_ARRAY)
    assert (told, limit) == ("OutOfMemoryError", str(3 * GIB))
    assert "Memory" in kind
    assert "training.accumulation_steps=2 needs less and gives the same result" in text
    assert "training.batch_size_per_worker=8" in text


def test_at_least_half_is_advised_from_what_was_done_at_once() -> None:
    """12 slices in 2 parts are 6 at a time; half of that is 3, which is 4 parts of the 12."""
    error = explain_memory(MemoryError(), SETTINGS, world_size=1, memory_bytes=None)
    assert isinstance(error, OutOfMemoryError)
    assert isinstance(error, MemoryError)
    assert "6 slices at a time" in str(error)
    assert "training.accumulation_steps=4" in str(error)
    assert "training.batch_size_per_worker=3" in str(error)


def test_a_whole_batch_loss_is_not_sent_to_accumulation() -> None:
    settings = TrainingSettings(batch_size_per_worker=8, loss="batch_dice")
    said = str(explain_memory(MemoryError(), settings, world_size=2, memory_bytes=None))
    assert "accumulation_steps" not in said
    assert "more workers" in said
    assert "training.batch_size_per_worker=4" in said


def test_nor_is_batch_normalisation() -> None:
    settings = TrainingSettings(batch_size_per_worker=8)
    said = str(explain_memory(MemoryError(), settings, world_size=1, memory_bytes=None, normalisation="batch"))
    assert "batch normalisation needs the batch at once: use more workers, or train anew with" in said
    assert "accumulation_steps" not in said


def test_one_slice_that_does_not_fit_needs_a_smaller_network() -> None:
    settings = TrainingSettings(global_batch_size=2)
    said = str(explain_memory(MemoryError(), settings, world_size=2, memory_bytes=None))
    assert "one slice at a time" in said
    assert "smaller network" in said


@pytest.mark.parametrize("error", [ValueError("shape [3]"), RuntimeError("lost"), KeyboardInterrupt()])
def test_other_errors_are_left_alone(error: BaseException) -> None:
    assert explain_memory(error, SETTINGS, world_size=1, memory_bytes=None) is None


def test_parts_leave_half_of_the_memory_to_the_rest() -> None:
    for asked in (1, 5, 16, 17, 100):
        parts = parts_that_fit(asked * GIB, 16 * GIB)
        assert parts >= 2
        assert asked / parts <= 8
