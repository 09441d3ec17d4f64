"""Estimates of the memory that networks of volumes take, against what was measured; of slices see test_proposal."""

import pytest

from dist_training.architectures import ResidualUNetSettings, UNetSettings
from r2d2.training_memory import FRAMEWORK_BYTES, training_bytes


@pytest.mark.parametrize(
    ("depth", "base_filters", "size", "patches", "peak_mib"),
    [
        (2, 8, (32, 32, 32), 2, 631),
        (3, 16, (40, 40, 56), 2, 1001),
        (4, 16, (64, 64, 64), 1, 1615),
        (4, 16, (64, 64, 64), 2, 2036),
        (4, 8, (64, 64, 64), 2, 1235),
    ],
)
def test_the_estimate_of_memory_is_near_what_was_measured(depth, base_filters, size, patches, peak_mib) -> None:
    """Peak resident memory of two steps of TrainingStep with Adam, 3 classes, each in a process of its own (CPU)."""
    network = UNetSettings(dimensions=3, depth=depth, base_filters=base_filters)
    assert training_bytes(network, size, 1, 3, patches) / 2**20 == pytest.approx(peak_mib, rel=0.25)


def test_so_is_that_of_a_residual_network() -> None:
    network = ResidualUNetSettings(dimensions=3)
    assert training_bytes(network, (64, 64, 64), 1, 3, 1) / 2**20 == pytest.approx(1164, rel=0.1)


@pytest.mark.tensorflow
@pytest.mark.parametrize(
    "network",
    [
        UNetSettings(dimensions=3, depth=2, base_filters=8, strides=((1, 2, 2), (2, 2, 2))),
        UNetSettings(dimensions=3, depth=1, kernels=((1, 3, 3), (3, 3, 3))),
        ResidualUNetSettings(dimensions=3, blocks=(1, 2, 2), kernels=((1, 3, 3), (3, 3, 3), (3, 3, 3))),
    ],
)
def test_the_estimate_counts_the_weights(network: UNetSettings | ResidualUNetSettings) -> None:
    from dist_training.architectures import build_network

    size = network.size_multiples
    one, two = (training_bytes(network, size, 1, 1, patches) for patches in (1, 2))
    weights = (2 * one - two - FRAMEWORK_BYTES) / (5 * 4)
    assert weights == pytest.approx(build_network(network, 1, 1, seed=0).count_params(), rel=0.02)
