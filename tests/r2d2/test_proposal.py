"""Settings proposed for a dataset: by the rule, from sizes alone, and each with its reason."""

from dataclasses import replace
from pathlib import Path
from typing import Literal

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dist_training.architectures import UNetSettings
from dist_training.run.plan import check_class_weights
from dist_training.settings import TrainingSettings
from imgmed import PreparationSettings, PreparedDataset, prepare_dataset
from r2d2.config import commented_yaml, configure, read_layer
from r2d2.proposal import balanced_weights, memory_at_hand, propose
from r2d2.training_memory import FRAMEWORK_BYTES, training_bytes
from r2d2_base.errors import ConfigurationError
from r2d2_base.machine import Machine

pytestmark = pytest.mark.slow


def prepared(folder: Path, shape: tuple[int, int, int], *, names: str = "abc", seed: int = 0) -> PreparedDataset:
    """Cases of one shape, sliced along its last axis; the seed draws the intensities and the labels."""
    rng = np.random.default_rng(seed)
    for part in ("images", "labels"):
        (folder / "study" / part).mkdir(parents=True)
    for name in names:
        image = rng.integers(0, 100 + seed, shape).astype(np.uint8)
        labels = (image > 50).astype(np.uint8)
        nib.save(nib.Nifti1Image(image, np.eye(4)), folder / f"study/images/{name}.nii")
        nib.save(nib.Nifti1Image(labels, np.eye(4)), folder / f"study/labels/{name}.nii")
    return prepare_dataset(folder / "study", folder / "dataset", PreparationSettings(slice_axis=2))


@pytest.mark.parametrize(
    ("shape", "depth", "batch", "epochs"),
    [
        # lowest level: 16 / 4 = 4 pixels; 32 slices of 256 pixels are few, but the most; 20,000 / 4 slices
        ((16, 16, 4), 2, 32, 20),
        # 32 / 8 = 4 pixels (the shorter side decides); 32 x 32 x 160 = 163,840 pixels are too many, 8 are not
        ((32, 160, 4), 3, 8, 20),
        # 48 / 16 = 3 pixels; 16 slices of 48 x 64 are the allowance itself
        ((48, 64, 4), 4, 16, 20),
        # four poolings at most; not even one such slice is within the allowance, two are the fewest
        ((256, 256, 3), 4, 2, 20),
        # 80 x 96 after padding to multiples of 16: 6 slices, so 4
        ((70, 90, 4), 4, 4, 20),
        # one training case of 2000 slices: 20,000 / 2000
        ((16, 16, 2000), 2, 32, 10),
        # 20,000 / 6000 = 3.3 passes are too few
        ((16, 16, 6000), 2, 32, 4),
    ],
)
def test_the_proposal_follows_its_rule(
    tmp_path: Path, shape: tuple[int, int, int], depth: int, batch: int, epochs: int
) -> None:
    dataset = prepared(tmp_path, shape)
    assert len(dataset.splits.train) == 1
    configuration = propose(dataset).configuration
    assert isinstance(configuration.network, UNetSettings)
    assert configuration.network.depth == depth
    assert configuration.training.batch_size_per_worker == batch
    assert configuration.training.epochs == epochs
    assert configuration.dataset == dataset.folder


def test_one_worker_trains_with_the_plain_learning_rate(tmp_path: Path) -> None:
    """The proposed rate belongs to the proposed batch: only more workers scale it."""
    training = propose(prepared(tmp_path, (48, 64, 4))).configuration.training
    assert training.reference_batch_size == training.batch_size_per_worker


def test_sizes_alone_decide(tmp_path: Path) -> None:
    one = prepared(tmp_path / "one", (32, 48, 5))
    other = prepared(tmp_path / "other", (32, 48, 5), names="xyz", seed=9)
    assert one.case_statistics("a") != other.case_statistics("x")
    first, second = (propose(dataset).configuration.model_copy(update={"dataset": None}) for dataset in (one, other))
    assert first == second


def test_every_choice_has_a_reason_that_stands_in_the_file(tmp_path: Path) -> None:
    proposal = propose(prepared(tmp_path, (32, 48, 5)))
    assert proposal.reasons.keys() >= {
        *(f"preparation.{name}" for name in ("slice_axis", "spacing_mm", "slice_size", "normalisation")),
        *("network.depth", "training.epochs", "training.batch_size_per_worker", "training.class_weights"),
    }
    text = commented_yaml(proposal.configuration, "Title", {**proposal.reasons, "network.depth": "a name\nwith: lines"})
    assert "  # why: a name with: lines\n  depth: 3" in text
    for key in ("training.epochs", "preparation.slice_axis"):
        assert f"  # why: {proposal.reasons[key]}\n  {key.partition('.')[2]}: " in text
    (tmp_path / "r2d2.yaml").write_text(text)
    assert configure(read_layer(tmp_path / "r2d2.yaml")) == proposal.configuration


def test_memory_changes_the_batch_but_not_what_the_rate_means(tmp_path: Path) -> None:
    """16 slices of 48 x 64; half of the activations' memory holds 8, so the rate is halved with them."""
    dataset = prepared(tmp_path, (48, 64, 4))
    network = UNetSettings(depth=4)
    needed = {slices: training_bytes(network, (48, 64), 1, 1, slices) for slices in (1, 8, 16)}
    plenty, enough, less, none = (propose(dataset, memory) for memory in (2**40, needed[16], needed[8], needed[1] - 1))
    assert plenty.configuration == enough.configuration == propose(dataset).configuration
    assert plenty.reasons == enough.reasons  # the machine does not show where it does not matter
    for proposal, batch in ((less, 8), (none, 1)):
        training = proposal.configuration.training
        assert (training.batch_size_per_worker, training.reference_batch_size) == (batch, 16)
        assert "at hand" in proposal.reasons["training.batch_size_per_worker"]
    assert "more than there is" in none.reasons["training.batch_size_per_worker"]


@pytest.mark.parametrize(
    ("normalisation", "size", "slices", "outputs", "peak_mib"),
    [
        ("group", (48, 64), 1, 3, 721),
        ("group", (256, 256), 4, 3, 1068),
        ("group", (256, 256), 8, 3, 1412),
        ("group", (512, 512), 2, 3, 1465),
        ("group", (256, 256), 8, 12, 1528),
        ("none", (256, 256), 8, 3, 1161),
        ("none", (256, 256), 4, 3, 929),
        ("batch", (256, 256), 8, 3, 1561),
    ],
)
def test_the_estimate_of_memory_is_near_what_was_measured(
    normalisation: Literal["group", "none", "batch"],
    size: tuple[int, int],
    slices: int,
    outputs: int,
    peak_mib: float,
) -> None:
    """Peak resident memory of two steps of TrainingStep with Adam, each in a process of its own (CPU, 1 thread)."""
    estimate = training_bytes(UNetSettings(normalisation=normalisation), size, 1, outputs, slices) / 2**20
    assert estimate == pytest.approx(peak_mib, rel=0.05)


@pytest.mark.tensorflow
@pytest.mark.parametrize("network", [UNetSettings(), UNetSettings(depth=2, base_filters=24)])
def test_the_estimate_counts_the_weights(network: UNetSettings) -> None:
    # One slice of the smallest size leaves the weights: 5 copies of 4 bytes, checked against the built network.
    from dist_training.architectures import build_network

    count = build_network(network, 1, 1, seed=0).count_params()
    size = network.size_multiples
    activations = training_bytes(network, size, 1, 1, 2) - training_bytes(network, size, 1, 1, 1)
    weights = (training_bytes(network, size, 1, 1, 1) - activations - FRAMEWORK_BYTES) / (5 * 4)
    assert weights == pytest.approx(count, rel=0.01)


def test_memory_at_hand_is_half_of_the_machine_or_the_smallest_gpu() -> None:
    machine = Machine("Linux", 2, 2, 16 * 2**30, 2**30, ".", None, ())
    assert memory_at_hand(machine) == 8 * 2**30
    gpus = ("NVIDIA A10, 23028 MiB, 550.54", "NVIDIA T400, 2048 MiB, 550.54")
    assert memory_at_hand(replace(machine, gpus=gpus)) == 2 * 2**30
    assert memory_at_hand(replace(machine, memory_bytes=None)) is None


@given(st.lists(st.floats(1e-6, 1), min_size=2, max_size=8))
def test_balanced_weights_weigh_the_average_pixel_with_one(parts: list[float]) -> None:
    shares = {str(number): part / sum(parts) for number, part in enumerate(parts)}
    weights = balanced_weights(shares)
    assert sum(shares[name] * weights[name] for name in shares) == pytest.approx(1, rel=0.005)
    rare, common = min(shares, key=shares.__getitem__), max(shares, key=shares.__getitem__)
    assert weights[rare] / weights[common] == pytest.approx((shares[common] / shares[rare]) ** 0.5, rel=0.01)


def test_class_weights_are_proposed_for_extreme_imbalance_alone(tmp_path: Path) -> None:
    dataset = prepared(tmp_path, (16, 16, 4))
    reason = propose(dataset).reasons["training.class_weights"]
    assert propose(dataset).configuration.training.class_weights is None
    assert "the Dice in the loss makes up for that" in reason
    # One labelled voxel in 65,536: shares 1 - f and f, of which the square roots are nearly 1 and 1/256.
    counts = {"background": 65535, "label_1": 1}
    cases = {name: case.model_copy(update={"label_counts": counts}) for name, case in dataset.cases.items()}
    extreme = propose(replace(dataset, cases=cases))
    assert extreme.configuration.training.class_weights == pytest.approx((256 / 257, 256 * 256 / 257), rel=0.005)
    assert "under 0.01 %" in extreme.reasons["training.class_weights"]


def test_class_weights_of_another_number_are_refused_before_a_run(tmp_path: Path) -> None:
    dataset = prepared(tmp_path, (16, 16, 4))
    check_class_weights(dataset, TrainingSettings(class_weights=(1.0, 2.0)))
    with pytest.raises(ConfigurationError, match=r"each of 2 classes \(background, label_1\); received 3"):
        check_class_weights(dataset, TrainingSettings(class_weights=(1.0, 2.0, 3.0)))
