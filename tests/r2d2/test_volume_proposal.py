"""What is proposed for networks of volumes: by the published rule, from sizes, spacings and memory."""

from math import prod
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dist_training.architectures import ResidualUNetSettings, UNetSettings
from imgmed import PreparationSettings, PreparedDataset, prepare_dataset
from r2d2.config import commented_yaml, configure, read_layer
from r2d2.proposal import propose
from r2d2.tasks.resolution import resolve
from r2d2.training_memory import training_bytes
from r2d2.volume_proposal import VOXELS, levels_for, patch_size_for, propose_for_volumes
from r2d2_base.errors import ConfigurationError

edges = st.tuples(*[st.integers(1, 300)] * 3)
spacings = st.tuples(*[st.floats(0.3, 8.0)] * 3)


def study(folder: Path, shape: tuple[int, int, int], spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> Path:
    rng = np.random.default_rng(0)
    for part in ("images", "labels"):
        (folder / part).mkdir(parents=True)
    for name in "abc":
        image = rng.integers(1, 100, shape).astype(np.uint8)
        affine = np.diag([*spacing, 1.0])
        nib.save(nib.Nifti1Image(image, affine), folder / f"images/{name}.nii")
        nib.save(nib.Nifti1Image((image > 50).astype(np.uint8), affine), folder / f"labels/{name}.nii")
    return folder


def prepared(folder: Path, shape, spacing=(1.0, 1.0, 1.0), **settings) -> PreparedDataset:
    settings = {"slice_axis": 2, "kind": "volumes"} | settings
    return prepare_dataset(study(folder / "study", shape, spacing), folder / "data", PreparationSettings(**settings))


@pytest.mark.parametrize(
    ("size", "spacing", "strides", "kernels"),
    [
        # alike: every axis at once; 64 -> 32 -> 16 -> 8 -> 4
        ((64, 64, 64), (1, 1, 1), [(2, 2, 2)] * 4, [(3, 3, 3)] * 5),
        # 3 mm across, 1 mm in the plane: pooled in the plane until 2 mm, under twice of which are 3
        ((32, 64, 64), (3, 1, 1), [(1, 2, 2), (2, 2, 2), (2, 2, 2), (2, 2, 2)], [(1, 3, 3)] + [(3, 3, 3)] * 4),
        # exactly twice is not under twice
        ((32, 64, 64), (2, 1, 1), [(1, 2, 2), (2, 2, 2), (2, 2, 2), (2, 2, 2)], [(1, 3, 3)] + [(3, 3, 3)] * 4),
        # too few slices to pool them: 7 would leave 4 of 2
        ((7, 64, 64), (1, 1, 1), [(1, 2, 2)] * 4, [(3, 3, 3)] * 5),
        # one axis alone goes on to 6 voxels: 24 -> 12 -> 6, where 12 is just enough to be pooled
        ((4, 4, 24), (1, 1, 1), [(1, 1, 2), (1, 1, 2)], [(3, 3, 3)] * 3),
        # nothing can be pooled
        ((4, 7, 7), (1, 1, 1), [(1, 1, 1)], [(3, 3, 3)] * 2),
    ],
)
def test_levels_follow_the_published_rule(size, spacing, strides, kernels) -> None:
    found = levels_for(size, spacing)
    assert list(found.strides) == strides and list(found.kernels) == kernels


@given(size=edges, spacing=spacings)
def test_levels_keep_four_voxels_where_they_pool_and_end_with_whole_kernels(size, spacing) -> None:
    levels = levels_for(size, spacing)
    for edge, multiple in zip(size, levels.size_multiples, strict=True):
        assert multiple == 1 or -(-edge // multiple) >= 4
    assert len(levels.kernels) == len(levels.strides) + 1 and levels.kernels[-1] == (3, 3, 3)
    for before, after in zip(levels.kernels, levels.kernels[1:], strict=False):
        assert all(one <= other for one, other in zip(before, after, strict=True))  # once it looks, it goes on looking


@given(shape=edges, spacing=spacings)
def test_patches_are_cubes_in_the_body_within_the_volume(shape, spacing) -> None:
    size, levels = patch_size_for(shape, spacing)
    multiples = levels.size_multiples
    assert all(edge % multiple == 0 for edge, multiple in zip(size, multiples, strict=True))
    assert all(edge < length + multiple for edge, length, multiple in zip(size, shape, multiples, strict=True))
    assert prod(size) <= VOXELS * prod(1 + to / max(edge, to) for edge, to in zip(size, multiples, strict=True))
    cut = [axis for axis in range(3) if size[axis] + multiples[axis] < shape[axis]]
    for one in cut:  # of the axes along which the volume reaches further, all reach about as far
        for other in cut:
            slack = 2 * (multiples[one] * spacing[one] + multiples[other] * spacing[other])
            assert size[one] * spacing[one] <= size[other] * spacing[other] + slack


@pytest.mark.slow
def test_small_volumes_are_seen_whole(tmp_path: Path) -> None:
    dataset = prepared(tmp_path, (36, 50, 35))
    proposal = propose(dataset)
    configuration = proposal.configuration
    assert configuration.network == UNetSettings(dimensions=3, depth=3, base_filters=8)
    training = configuration.training
    assert training.patch_size == (40, 40, 56)  # 35 slices of 36 x 50 pixels
    assert (training.batch_size_per_worker, training.reference_batch_size, training.accumulation_steps) == (4, 4, 1)
    assert training.epochs == 20
    text = commented_yaml(configuration, "Title", proposal.reasons)
    (tmp_path / "r2d2.yaml").write_text(text)
    assert configure(read_layer(tmp_path / "r2d2.yaml")) == configuration
    for key in ("training.patch_size", "training.accumulation_steps", "network.depth", "preparation.kind"):
        assert proposal.reasons[key] in text


@pytest.mark.slow
def test_thick_slices_get_strides_and_kernels_with_their_reason(tmp_path: Path) -> None:
    proposal = propose(prepared(tmp_path, (96, 96, 18), (0.6, 0.6, 3.0)))
    network = proposal.configuration.network
    assert isinstance(network, UNetSettings)
    # 3 mm against 0.6, 1.2, 2.4: the third time they are alike
    assert network.strides == ((1, 2, 2), (1, 2, 2), (2, 2, 2), (2, 2, 2))
    assert network.kernels == ((1, 3, 3), (1, 3, 3), (3, 3, 3), (3, 3, 3), (3, 3, 3))
    for key in ("network.strides", "network.kernels"):
        assert "3 x 0.6 x 0.6 mm" in proposal.reasons[key] and "Isensee et al. 2021" in proposal.reasons[key]


@pytest.mark.slow
def test_memory_takes_parts_first_and_then_the_size(tmp_path: Path) -> None:
    dataset = prepared(tmp_path, (70, 72, 66))
    plenty = propose_for_volumes(dataset)
    assert plenty.training["patch_size"] == (64, 64, 64) and plenty.training["batch_size_per_worker"] == 2

    def needed(patches: int) -> int:
        return training_bytes(plenty.network, (64, 64, 64), 1, 1, patches)

    assert propose_for_volumes(dataset, needed(2)).training == plenty.training
    tight = propose_for_volumes(dataset, needed(2) - 1)
    assert tight.training == plenty.training | {"accumulation_steps": 2}
    assert "1 at a time" in tight.reasons["training.accumulation_steps"]
    tighter = propose_for_volumes(dataset, needed(1) - 1)
    size = tighter.training["patch_size"]
    assert prod(size) <= 64**3 * 0.6 and training_bytes(tighter.network, size, 1, 1, 1) <= needed(1) - 1
    assert "64 x 64 x 64 would not fit the memory at hand" in tighter.reasons["training.patch_size"]
    none = propose_for_volumes(dataset, 2**20)
    assert "more than there is" in none.reasons["training.accumulation_steps"]


@pytest.mark.slow
def test_the_dataset_decides_unless_something_else_is_asked_for(tmp_path: Path) -> None:
    volumes = prepared(tmp_path / "volumes", (36, 50, 35))
    slices = prepared(tmp_path / "slices", (36, 50, 35), kind="slices")
    assert propose(slices).configuration.network.size_multiples == (16, 16)
    asked = propose(slices, dimensions=3).configuration
    assert (asked.network, asked.training) == (
        propose(volumes).configuration.network,
        propose(volumes).configuration.training,
    )
    back = propose(volumes, dimensions=2).configuration
    assert (back.network, back.training) == (
        propose(slices).configuration.network,
        propose(slices).configuration.training,
    )
    residual = propose(volumes, architecture="residual_unet").configuration.network
    assert residual == ResidualUNetSettings(dimensions=3, blocks=(1, 2, 2, 2))
    assert propose(volumes, architecture="fcn").configuration.training.patch_size is None
    with pytest.raises(ConfigurationError, match="fcn takes slices alone; networks of volumes are unet, residual_unet"):
        propose(volumes, dimensions=3, architecture="fcn")


@pytest.mark.slow
def test_what_is_typed_chooses_the_proposal_that_it_is_laid_over(tmp_path: Path) -> None:
    dataset = prepared(tmp_path, (36, 50, 35), kind="slices")
    (dataset.folder / "r2d2.yaml").write_text(
        commented_yaml(propose(dataset).configuration, "Title") + "\nthreads: 2\n"
    )

    def resolved(*words: str):
        return resolve(config=None, options={"dataset": str(dataset.folder)}, assignments=words)

    volumes = resolved("network.dimensions=3", "training.epochs=7")
    assert volumes.configuration.network == UNetSettings(dimensions=3, depth=3, base_filters=8)
    assert volumes.configuration.training.patch_size == (40, 40, 56) and volumes.configuration.training.epochs == 7
    assert volumes.configuration.threads == 2  # of the dataset's own file
    assert "with a network of volumes" in volumes.origin
    residual = resolved("network.architecture=residual_unet", "network.dimensions=3").configuration
    assert residual.network == ResidualUNetSettings(dimensions=3, blocks=(1, 2, 2, 2))
    slices = resolved("network.base_filters=8")
    assert slices.configuration.network == UNetSettings(depth=4, base_filters=8)
    assert slices.configuration.training.patch_size is None
