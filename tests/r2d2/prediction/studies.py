"""Studies, networks of random weights, and their decisions taken by hand, for tests of prediction."""

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from dist_training.architectures import NetworkSettings, UNetSettings, build_network, read_network
from dist_training.inference.model_card import save_model
from dist_training.inference.outputs import NetworkOutputs
from dist_training.inference.windows import Windows
from dist_training.record.run_folder import RunFolder
from imgmed import PreparationSettings, PreparedDataset, prepare_dataset
from r2d2.prediction.settings import InferenceSettings, PredictionSettings
from r2d2.tasks.prediction import Prediction, PredictSettings, predict
from r2d2_base.progress import Progress, StopRequest

UPRIGHT = np.diag([1.0, 1.0, 3.0, 1.0])
CLEAR = 1e-4  # by how much a class must win to be compared: rounding decides below
THREE_CLASSES = (0, 2, 300)
UNET = UNetSettings(depth=1, base_filters=4)

of_two_and_three_classes = pytest.mark.parametrize(
    "dataset", [(0, 4), THREE_CLASSES], ids=["binary", "three-classes"], indirect=True
)


def predict_scans(
    model: str | Path | Sequence[Path],
    inputs: Sequence[Path],
    out: Path,
    scans: PredictionSettings | None = None,
    inference: InferenceSettings | None = None,
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
    on_notice: Callable[[str], None] | None = None,
) -> Prediction:
    settings = PredictSettings(
        model=model if isinstance(model, str | Path) else tuple(model),
        inputs=tuple(inputs),
        out=out,
        overwrite=overwrite,
        scans=scans or PredictionSettings(),
        inference=inference or InferenceSettings(),
    )
    return predict(settings, progress=progress, on_notice=on_notice)


def predict_cases(
    model: Path | tuple[Path, ...],
    dataset: PreparedDataset,
    case_ids: Sequence[str],
    out: Path,
    progress: Progress | None = None,
    stop: StopRequest | None = None,
    *,
    trust_code: bool = False,
) -> Prediction:
    settings = PredictSettings(
        model=model, dataset=dataset.folder, case_ids=tuple(case_ids), out=out, trust_code=trust_code
    )
    return predict(settings, progress=progress, stop=stop)


def save_scan(path: Path, shape: tuple[int, ...], seed: int, affine: np.ndarray = UPRIGHT) -> np.ndarray:
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.random.default_rng(seed).gamma(2.0, 50.0, shape).astype(np.float32)
    nib.save(nib.Nifti1Image(array, affine), path)
    return array


def write_study(folder: Path, values: tuple[int, ...]) -> Path:
    """Three cases of 14 x 16 pixels in 4 slices 3 mm apart, whose labels take these values."""
    for seed, name in enumerate("abc"):
        image = save_scan(folder / f"images/{name}.nii.gz", (14, 16, 4), seed)
        labels = np.array(values, np.uint16)[np.digitize(image, [90.0, 150.0][: len(values) - 1])]
        (folder / "labels").mkdir(exist_ok=True)
        nib.save(nib.Nifti1Image(labels, UPRIGHT), folder / f"labels/{name}.nii.gz")
    return folder


def save_network(
    dataset: PreparedDataset,
    run: Path,
    settings: NetworkSettings = UNET,
    seed: int = 2,
    outputs: NetworkOutputs | None = None,
    patch_size: tuple[int, int, int] | None = None,
) -> Path:
    """A network of random weights whose classes, or regions, all win somewhere."""
    outputs = outputs or NetworkOutputs.of_classes(len(dataset.class_values))
    channels = dataset.scan_preparation.input_channels
    model = build_network(settings, channels, outputs.num_outputs, seed=seed)
    size = (4, 16, 16) if patch_size is None else (1, *patch_size)
    logits = model.predict_on_batch(np.random.default_rng(0).normal(size=(*size, channels)).astype(np.float32))
    *others, bias = model.get_weights()
    model.set_weights([*others, bias - logits.reshape(-1, logits.shape[-1]).mean(axis=0)])
    RunFolder(run).create()
    save_model(
        model,
        RunFolder(run),
        network=settings,
        dataset=dataset,
        epoch=1,
        validation_dice=None,
        validation_dice_per_label={},
        patch_size=patch_size,
        outputs=outputs if outputs.kind == "regions" else None,
    )
    return run


def clipped(slices: np.ndarray, scan: np.ndarray) -> np.ndarray:
    return np.clip(slices.astype(np.float64), *np.percentile(scan, [0.5, 99.5]))


def probabilities_by_hand(model: Path, slices: np.ndarray, neighbours: int = 0) -> np.ndarray:
    """Normalise clipped slices, centre them in 16 x 16 zeros or more, predict, cut out: (classes, s, h, w)."""
    normalised = (slices - slices.mean()) / slices.std()
    missing = [max(0, 16 - size) for size in slices.shape[1:]]
    before = [size // 2 for size in missing]
    padded = np.pad(normalised, [(0, 0), *((b, m - b) for b, m in zip(before, missing, strict=True))])
    around = np.pad(padded, [(neighbours, neighbours), (0, 0), (0, 0)], mode="edge")
    inputs = np.stack([around[n : n + len(padded)] for n in range(2 * neighbours + 1)], axis=-1)
    logits = read_network(model / "model.keras").predict(inputs.astype(np.float32), verbose=0)
    rows, columns = (slice(b, b + size) for b, size in zip(before, slices.shape[1:], strict=True))
    logits = np.moveaxis(logits[:, rows, columns].astype(np.float64), -1, 0)
    if len(logits) == 1:  # a sigmoid is the softmax over the logits 0 and z
        logits = np.concatenate([np.zeros_like(logits), logits])
    return np.exp(logits) / np.exp(logits).sum(axis=0)


def softmax(logits: np.ndarray) -> np.ndarray:
    """(classes, ...) of (..., outputs)."""
    logits = np.moveaxis(logits.astype(np.float64), -1, 0)
    if len(logits) == 1:
        logits = np.concatenate([np.zeros_like(logits), logits])
    return np.exp(logits) / np.exp(logits).sum(axis=0)


def windows_by_hand(
    model: Path, normalised: np.ndarray, patch: tuple[int, int, int], overlap: float = 0.5, axes: tuple[int, ...] = ()
) -> np.ndarray:
    """What the network says of each window of a volume nowhere smaller than one, weighted: (classes, s, h, w).

    Windows are mirrored along the axes before, and what is said of them back.
    """
    windows = Windows(patch, overlap)
    parts = [
        tuple(slice(at, at + size) for at, size in zip(corner, patch, strict=True))
        for corner in windows.corners(normalised.shape)
    ]
    seen = np.stack([np.flip(normalised[part], axes) for part in parts])[..., None].astype(np.float32)
    logits = read_network(model / "model.keras").predict_on_batch(seen)
    total, weights = 0.0, 0.0
    for part, said in zip(parts, map(softmax, logits), strict=True):
        added, weight = np.zeros((len(said), *normalised.shape)), np.zeros(normalised.shape)
        added[:, *part] = np.flip(said, [axis + 1 for axis in axes]) * windows.weights
        weight[part] = windows.weights
        total, weights = total + added, weights + weight
    return total / weights


def entropy(probabilities: np.ndarray) -> np.ndarray:
    return -(probabilities * np.log(probabilities)).sum(axis=0)


def assert_decided(prediction: np.ndarray, probabilities: np.ndarray, values: tuple[int, ...]) -> None:
    """Compare label values with the likeliest class wherever that is clear, which must be nearly everywhere."""
    ordered = np.sort(probabilities, axis=0)
    clear = ordered[-1] - ordered[-2] > CLEAR
    assert clear.mean() > 0.99
    expected = np.array(values)[probabilities.argmax(axis=0)]
    assert prediction.shape == expected.shape
    np.testing.assert_array_equal(prediction[clear], expected[clear])
    assert set(np.unique(prediction)) == set(values)


def predicted(model: Path, scan: Path, out: Path) -> nib.Nifti1Image:
    predict_scans(model, [scan], out)
    return nib.load(out / scan.name)


def prepared_with(folder: Path, values: tuple[int, ...], **settings: object) -> tuple[PreparedDataset, Path]:
    """A dataset of a recipe of operations, and a network for it."""
    study = write_study(folder / "study", values)
    dataset = prepare_dataset(study, folder / "dataset", PreparationSettings(slice_axis=2, **settings))
    return dataset, save_network(dataset, folder / "run")


def copied(model: Path, run: Path, **changes: object) -> Path:
    """A model whose card says something else."""
    shutil.copytree(model, run)
    card = json.loads((run / "model.json").read_text())
    (run / "model.json").write_text(json.dumps({**card, **changes}))
    return run


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
