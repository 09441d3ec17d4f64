"""The Keras layer under real horovodrun: what several ranks train is what one would on the whole batch."""

import inspect
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import psutil
import pytest
import tensorflow as tf

from tests.distributed.jobs import PATIENCE_S, Start, horovodrun, run, said, wait_for
from tests.distributed.keras_jobs import OPTIMIZERS, normalisation_inputs
from tests.distributed.pool import WorkerPool

pytestmark = pytest.mark.distributed

EXAMPLE = Path(__file__).parents[2] / "examples" / "distributed_keras.py"
COMPARED = ("optimizers", "fit")
ONLY_SEVERAL = ("uneven", "overflow", "refusals", "stop", "stopped_alone", "gather", "compression", "normalisation")
SCENARIOS_ON = {
    1: (*COMPARED, "normalisation"),
    2: (*COMPARED, *ONLY_SEVERAL),
    3: ("normalisation", "gather"),
}
Arrays = dict[str, np.ndarray]


class Results:
    """What the ranks of the jobs wrote."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def ranks(self, name: str, workers: int) -> list[Arrays]:
        return [dict(np.load(self.folder / f"{name}-{workers}-{rank}.npz")) for rank in range(workers)]

    def alike(self, name: str, workers: int = 2) -> Arrays:
        """What all ranks wrote, bit for bit."""
        first, *others = self.ranks(name, workers)
        for other in others:
            assert first.keys() == other.keys()
            for key, array in first.items():
                np.testing.assert_array_equal(array, other[key], err_msg=f"{name}: {key}")
        return first


@pytest.fixture(scope="module")
def results(pool_of: Callable[[int], WorkerPool], tmp_path_factory: pytest.TempPathFactory) -> Results:
    """Two ranks for all scenarios, and one process for what they must equal."""
    folder = tmp_path_factory.mktemp("keras")
    for workers, scenarios in SCENARIOS_ON.items():
        pool_of(workers).run("tests.distributed.keras_jobs", str(folder), *scenarios)
    return Results(folder)


def assert_close(found: Arrays, expected: Arrays, tolerance: float) -> None:
    assert found.keys() == expected.keys()
    for key, array in expected.items():
        np.testing.assert_allclose(found[key], array, rtol=tolerance, atol=tolerance, err_msg=key)


def test_every_keras_optimizer_is_tried() -> None:
    classes = {
        name
        for name, value in vars(keras.optimizers).items()
        if inspect.isclass(value) and issubclass(value, keras.optimizers.Optimizer) and name != "Optimizer"
    }
    assert classes >= {"Adam", "Muon", "MultiOptimizer"}
    assert classes <= {name.split()[0] for name in OPTIMIZERS}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_two_ranks_are_one_with_the_whole_batch(results: Results, name: str) -> None:
    """Weights and slots, after steps on other data on every rank, with rows of an embedding among the gradients."""
    (expected,) = results.ranks(f"optimizer {name}", 1)
    assert_close(results.alike(f"optimizer {name}"), expected, 1e-9)


@pytest.mark.parametrize("name", ["compiled", "eager", "passes"])
def test_fit_on_two_ranks_is_fit_on_the_whole_batch(results: Results, name: str) -> None:
    """Weights that differed before the broadcast, and logs: losses and errors over all samples, validation 7 and 3."""
    found, (expected,) = results.alike(f"fit {name}"), results.ranks(f"fit {name}", 1)
    assert found["steps"] == 8
    assert_close(found, expected, 1e-6 if name == "compiled" else 1e-9)


def test_compressed_gradients_are_near_and_alike_on_all_ranks(results: Results) -> None:
    found, (expected,) = results.alike("fit fp16"), results.ranks("fit fp16", 1)
    assert_close(found, expected, 5e-3)
    assert any(not np.array_equal(found[key], expected[key]) for key in expected)


def test_compression_neither_overflows_nor_loses_small_numbers(results: Results) -> None:
    """Half precision ends at 65504 below, and at 6e-8: the sums of both ranks, 1 + 2 times the first one's."""
    found = results.alike("compression")
    np.testing.assert_allclose(found["large"], [3e6, -9e5, 3e2], rtol=2e-3)
    np.testing.assert_allclose(found["small"], [6e-9, 2e-10], rtol=2e-3)
    np.testing.assert_array_equal(found["zero"], [0, 0])
    np.testing.assert_allclose(found["scalars"], [1.2], rtol=1e-15)  # not compressed
    assert found["is_none"]
    assert not np.isfinite(found["lost"])


def test_a_last_batch_of_another_size_on_one_rank_holds_up_nobody(results: Results) -> None:
    results.alike("uneven")


def test_an_overflow_on_one_rank_skips_the_step_on_all(results: Results) -> None:
    """Scale 8; gradients 4 and 8, scaled, average 6, so 6/8 of a step; skipped; scale 4, so 6/4 of a step."""
    found = results.alike("overflow")
    np.testing.assert_allclose(found["values"], [[0.25, 1.25], [0.25, 1.25], [-1.25, -0.25]])
    np.testing.assert_array_equal(found["scales"], [8, 4, 4])


def test_what_cannot_work_is_refused_on_all_ranks(results: Results) -> None:
    plain, shapes, xla = results.alike("refusals")["messages"]
    assert "rank 0: the model's optimizer is SGD, which leaves the gradients local" in plain
    assert "rank 1: the model's optimizer is SGD" in plain
    assert "rank 1 has variable 0 of shape (3, 2)" in shapes
    assert "rank 1: XLA" in xla
    assert "rank 0" not in xla


def test_a_signal_to_one_rank_stops_all_after_the_same_step(results: Results) -> None:
    """Asked before the sixth step: it is taken, as what is under way always is."""
    stopped = results.alike("stopped")
    assert (stopped["reason"], stopped["steps"]) == ("rank 1: SIGUSR1", 6)


def test_a_callback_that_stops_one_rank_stops_all_after_the_same_step(results: Results) -> None:
    stopped = results.alike("stopped_alone")
    assert (stopped["reason"], stopped["steps"]) == ("rank 1: a callback of its own", 3)


def test_a_signal_ends_ranks_that_wait_for_ever(start_job: Start, tmp_path: Path) -> None:
    """Rank 1 waits in an exchange of its own, rank 0 for the gradients of rank 1; no Python runs in either."""
    job = start_job(horovodrun(2, sys.executable, "-m", "tests.distributed.hanging_job"))
    wait_for(lambda: said(tmp_path).count("waits") == 2, "both ranks to wait")
    workers = [one for one in psutil.Process(job.pid).children(recursive=True) if "HOROVOD_RANK" in one.environ()]
    pythons = [one for one in workers if "python" in Path(one.exe()).name]
    assert len(pythons) == 2
    for worker in pythons:
        worker.send_signal(signal.SIGTERM)
    job.wait(PATIENCE_S)
    assert said(tmp_path).count("SIGTERM came, but training waits for other ranks") == 2
    assert "exit with status code 143" in said(tmp_path)


def test_a_run_in_two_parts_ends_as_one_in_one_part(results: Results) -> None:
    resumed, whole = results.alike("resumed"), results.alike("in one part")
    for key, array in whole.items():
        np.testing.assert_array_equal(resumed[key], array, err_msg=key)


@pytest.mark.parametrize("workers", [2, 3])
def test_objects_are_gathered_by_rank(results: Results, workers: int) -> None:
    assert results.alike("gather", workers)["is_right"]


@pytest.mark.parametrize("case", ["shares", "padding"])
@pytest.mark.parametrize("workers", [1, 2, 3])
def test_batch_normalisation_is_that_of_the_whole_batch(results: Results, workers: int, case: str) -> None:
    """Two layers of Keras's own in a row; in the case "padding" all ranks but the first have none of the samples."""
    x, slope, (gamma, beta) = normalisation_inputs()
    layers = [keras.layers.BatchNormalization(momentum=0.7, dtype="float64") for _ in range(2)]
    for layer in layers:
        layer.build(x.shape)
        layer.gamma.assign(gamma)
        layer.beta.assign(beta)
    with tf.GradientTape() as tape:
        images = tf.constant(x)
        tape.watch(images)
        outputs = layers[1](keras.ops.tanh(layers[0](images, training=True)), training=True)
        loss = tf.reduce_sum(outputs * slope)
    parameters = [v.value for layer in layers for v in layer.trainable_variables]
    expected_images, *expected = tape.gradient(loss, [images, *parameters])
    ranks = results.ranks(f"normalisation {case}", workers)
    for key, whole in (("outputs", outputs), ("images", expected_images)):
        np.testing.assert_allclose(np.concatenate([rank[key] for rank in ranks]), whole, rtol=1e-9, atol=1e-9)
    for rank in ranks:
        for number, whole in enumerate(expected):
            np.testing.assert_allclose(rank[f"sum {number}"], whole, rtol=1e-9, atol=1e-9)
        for number, whole in enumerate(w for layer in layers for w in layer.non_trainable_variables):
            np.testing.assert_allclose(rank[f"statistic {number}"], whole, rtol=1e-9, atol=1e-9)


def test_the_example_runs_and_goes_on(tmp_path: Path) -> None:
    """Two workers interrupted after an epoch, then one; that they train what one would is shown above."""
    example = [sys.executable, str(EXAMPLE), "--out", str(tmp_path)]
    for epochs, workers, command in ((1, 2, horovodrun(2, *example)), (2, 1, example)):
        done = run([*command, "--epochs", str(epochs)], tmp_path)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        assert f"{workers} workers, from epoch {epochs - 1}: completed" in done.stdout
    assert keras.models.load_model(tmp_path / "model.keras").output_shape == (None, 2)
