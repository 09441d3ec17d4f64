"""Onto the scan's own voxels: what was resampled and then padded or cropped goes back where it was."""

from pathlib import Path

import keras
import nibabel as nib
import numpy as np
import pytest

from dist_training.architectures.settings import CustomSettings
from dist_training.inference.model_card import save_model
from dist_training.inference.outputs import NetworkOutputs
from dist_training.record.run_folder import RunFolder
from imgmed import PreparationSettings, PreparedDataset, prepare_dataset, read_volume
from r2d2.prediction.settings import InferenceSettings
from r2d2.tasks.prediction import segment_volume

pytestmark = pytest.mark.tensorflow
AFFINE = np.array([[-1.0, 0, 0, 20], [0, 1.0, 0, -5], [0, 0, 2.5, 3], [0, 0, 0, 1]])
SHAPE = (22, 26, 12)
FINER = {"op": "resample", "spacing_mm": [0.8, 0.9, 2.0]}
PADDED = (FINER, {"op": "centre", "size": [44, 40, 20]})
CROPPED = (FINER, {"op": "crop", "voxels": [[2, 24], [4, 26], [3, 14]]})


def ball() -> tuple[np.ndarray, np.ndarray]:
    """A bright ball, off the middle along each axis, in the dark; and where it is."""
    index = np.moveaxis(np.indices(SHAPE), 0, -1) * [1.0, 1.0, 2.5]
    mask = np.linalg.norm(index - [13.0, 11.0, 16.0], axis=-1) < 6
    return np.where(mask, 1000.0, 0.0).astype(np.float32), mask


def write_study(folder: Path) -> Path:
    image, mask = ball()
    for name in "abc":
        for kind, array in (("images", image), ("labels", mask.astype(np.uint8))):
            (folder / kind).mkdir(parents=True, exist_ok=True)
            nib.save(nib.Nifti1Image(array, AFFINE), folder / kind / f"{name}.nii")
    return folder


def brightness(dataset: PreparedDataset, run: Path, axes: int, outputs: NetworkOutputs | None = None) -> Path:
    """A network that says 1 where a pixel is brighter than half of the brightest: of each of its outputs."""
    count = 1 if outputs is None else outputs.num_outputs
    inputs = keras.Input((*(None,) * axes, 1))
    layer = (keras.layers.Conv2D if axes == 2 else keras.layers.Conv3D)(count, 1, name="logits")
    network = keras.Model(inputs, layer(inputs))
    layer.set_weights([np.full((*(1,) * axes, 1, count), 8.0), np.full(count, -4.0)])
    RunFolder(run).create()
    save_model(
        network,
        RunFolder(run),
        network=CustomSettings(build="one_layer:build"),
        dataset=dataset,
        epoch=1,
        validation_dice=None,
        validation_dice_per_label={},
        outputs=outputs,
        patch_size=None if axes == 2 else (4, 16, 16),
    )
    return run


@pytest.mark.parametrize("operations", [PADDED, CROPPED], ids=["padded", "cropped"])
@pytest.mark.parametrize("axes", [2, 3])
def test_what_is_bright_is_found_where_it_is(tmp_path: Path, axes: int, operations: tuple) -> None:
    settings = PreparationSettings(slice_axis=2, operations=operations, normalisation="min_max")
    dataset = prepare_dataset(write_study(tmp_path / "study"), tmp_path / "dataset", settings)
    assert dataset.grid("a").is_resampled
    model = brightness(dataset, tmp_path / "run", axes)
    found = segment_volume(model, read_volume(tmp_path / "study/images/a.nii")).label_map.array > 0
    mask = ball()[1]
    assert 2 * np.count_nonzero(found & mask) / (np.count_nonzero(found) + np.count_nonzero(mask)) > 0.9


def test_outside_of_a_crop_there_is_no_region(tmp_path: Path) -> None:
    study = write_study(tmp_path / "study")
    for name in "abc":  # the darker half of the ball is another label
        labels = np.where(ball()[1], 1, 0).astype(np.uint8)
        labels[13:] *= 2
        nib.save(nib.Nifti1Image(labels, AFFINE), study / f"labels/{name}.nii")
    settings = PreparationSettings(slice_axis=2, operations=CROPPED, normalisation="min_max")
    dataset = prepare_dataset(study, tmp_path / "dataset", settings)
    outputs = NetworkOutputs.of_regions(dataset.labels, {"whole": (1, 2), "core": (2,)})
    model = brightness(dataset, tmp_path / "run", 3, outputs)
    wanted = InferenceSettings(probabilities=True, uncertainty="entropy")
    said = segment_volume(model, read_volume(study / "images/a.nii"), wanted)
    grid = dataset.grid("a")
    seen = grid.restore(np.ones(grid.stack_shape, np.uint8), order=0) > 0
    assert 0.1 < seen.mean() < 0.7
    assert said.label_map.array[seen].any() and said.probabilities[seen].all()
    assert not said.label_map.array[~seen].any() and not said.probabilities[~seen].any()
    assert said.uncertainty[seen].any() and not said.uncertainty[~seen].any()
