"""Each mistake of a user's: one clear line that names the file and what would work, exit code 2, nothing left."""

import gzip
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from imgmed import PreparationSettings, prepare_dataset, write_phantom_study
from r2d2.cli import main

pytestmark = pytest.mark.slow

Refused = Callable[..., str]


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Refused:
    """Run a command in an empty working folder, expect exit code 2 and one line; give the line."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)

    def run(*arguments: object, lines: int = 1) -> str:
        monkeypatch.setattr(sys, "argv", ["r2d2", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            main()
        out, err = capsys.readouterr()
        assert caught.value.code == 2, err
        assert out == ""
        assert "Traceback" not in err
        said = err[err.index("r2d2: ") :].splitlines()
        assert len(said) == lines, err
        assert list(here.iterdir()) == [], "something half-written was left behind"
        return "\n".join(said)

    return run


@pytest.fixture
def study(tmp_path: Path) -> Path:
    return write_phantom_study(tmp_path / "study", cases=4, shape=(32, 32, 8))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bad-input")
    write_phantom_study(folder / "study", cases=4, shape=(32, 32, 8))
    prepare_dataset(folder / "study", folder / "dataset", PreparationSettings())
    return folder / "dataset"


def first(folder: Path) -> Path:
    return min(folder.iterdir())


def rewrite(path: Path, change: Callable[[np.ndarray], np.ndarray], affine: np.ndarray | None = None) -> None:
    image = nib.load(path)
    array = change(np.asarray(image.dataobj).copy())
    nib.save(nib.Nifti1Image(array, image.affine if affine is None else affine), path)


def test_no_such_folder(refused: Refused, tmp_path: Path) -> None:
    line = refused("prepare", tmp_path / "nowhere", "--out", "out")
    assert str(tmp_path / "nowhere") in line


def test_no_pairs(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    line = refused("prepare", tmp_path / "empty", "--out", "out")
    assert str(tmp_path / "empty") in line
    assert "the folder is empty" in line


def test_an_image_without_a_label(refused: Refused, study: Path) -> None:
    path = first(study / "labelsTr")
    path.unlink()
    assert path.name in refused("prepare", study, "--out", "out")


def test_another_shape(refused: Refused, study: Path) -> None:
    path = first(study / "labelsTr")
    rewrite(path, lambda array: array[:-1])
    line = refused("prepare", study, "--out", "out")
    assert path.name in line
    assert "shape" in line


def test_another_affine(refused: Refused, study: Path) -> None:
    path = first(study / "labelsTr")
    rewrite(path, lambda array: array, np.diag([1.0, 1.0, 9.0, 1.0]))
    line = refused("prepare", study, "--out", "out")
    assert path.name in line
    assert "affine" in line


def test_labels_that_are_no_integers(refused: Refused, study: Path) -> None:
    path = first(study / "labelsTr")
    rewrite(path, lambda array: array.astype(np.float32) * 0.5)
    line = refused("prepare", study, "--out", "out")
    assert path.name in line
    assert "whole numbers" in line


def test_labels_outside_the_map(refused: Refused, study: Path) -> None:
    path = first(study / "labelsTr")

    def change(array: np.ndarray) -> np.ndarray:
        array[0, 0, 0] = 7
        return array

    rewrite(path, change)
    line = refused("prepare", study, "--out", "out")
    assert path.name in line
    assert "7" in line


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_voxels_that_are_no_numbers(refused: Refused, study: Path, value: float) -> None:
    path = first(study / "imagesTr")

    def change(array: np.ndarray) -> np.ndarray:
        array = array.astype(np.float32)
        array[3, 3, 3] = value
        return array

    rewrite(path, change)
    line = refused("prepare", study, "--out", "out")
    assert path.name in line
    assert "NaN or infinite" in line


def test_a_truncated_file(refused: Refused, study: Path) -> None:
    path = first(study / "imagesTr")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert path.name in refused("prepare", study, "--out", "out")


def test_every_broken_file_is_named_at_once(refused: Refused, study: Path) -> None:
    images, labels = sorted((study / "imagesTr").iterdir()), sorted((study / "labelsTr").iterdir())
    images[0].write_bytes(gzip.compress(b"no image"))
    rewrite(labels[2], lambda array: array[:-1])
    line = refused("prepare", study, "--out", "out", lines=3)
    assert images[0].name in line
    assert labels[2].name in line


def test_an_out_that_holds_something(refused: Refused, study: Path, tmp_path: Path) -> None:
    out = tmp_path / "taken"
    out.mkdir()
    (out / "thesis.txt").write_text("years of work")
    assert str(out) in refused("prepare", study, "--out", out)
    assert [path.name for path in out.iterdir()] == ["thesis.txt"]


def test_unknown_keys_and_values(refused: Refused, dataset: Path) -> None:
    line = refused("train", "--dataset", dataset, "training.epoch=3", "training.loss=dise")
    assert line.startswith("r2d2: 2 faults")
    assert "did you mean epochs?" in line
    assert "must be one of dice_cross_entropy, cross_entropy, dice," in line


def test_no_such_dataset(refused: Refused, tmp_path: Path) -> None:
    assert str(tmp_path / "none") in refused("train", "--dataset", tmp_path / "none")


def test_another_schema_version(refused: Refused, dataset: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(dataset, other)
    head = json.loads((other / "dataset.json").read_text())
    (other / "dataset.json").write_text(json.dumps({**head, "schema_version": 99}))
    line = refused("train", "--dataset", other)
    assert str(other) in line
    assert "99" in line
    assert "r2d2 prepare" in line


def test_a_run_folder_in_use(refused: Refused, dataset: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.yaml").write_text("schema_version: 1\n")
    (run / "model.keras").write_text("what it has learned")
    line = refused("train", "--dataset", dataset, "--run-dir", run)
    assert str(run) in line
    assert "--resume" in line
    assert sorted(path.name for path in run.iterdir()) == ["config.yaml", "model.keras"]


def test_nothing_to_resume(refused: Refused, dataset: Path, tmp_path: Path) -> None:
    line = refused("train", "--dataset", dataset, "--run-dir", tmp_path / "none", "--resume")
    assert "no run to resume" in line


@pytest.mark.parametrize("workers", [1000])
def test_more_workers_than_samples(refused: Refused, dataset: Path, workers: int) -> None:
    line = refused("train", "--dataset", dataset, "--workers", workers)
    assert "more workers than training slices: 1000 workers" in line
    assert "use at most" in line


@pytest.mark.parametrize("setting", ["network.normalisation=batch", "training.loss=batch_dice"])
def test_the_whole_batch_in_parts(refused: Refused, dataset: Path, setting: str) -> None:
    line = refused("train", "--dataset", dataset, setting, "training.accumulation_steps=2")
    assert "accumulation_steps=1" in line


def test_a_network_of_volumes_for_slices(refused: Refused, dataset: Path) -> None:
    line = refused("train", "--dataset", dataset, "network.dimensions=3", "augmentation.crop_size=[16, 16]")
    assert "augmentation.crop_size is of slices" in line and "use training.patch_size" in line
    line = refused("train", "--dataset", dataset, "augmentation=nnunet")
    assert "augmentation.tilt_degrees" in line and "use network.dimensions=3, or settings of slices" in line
    line = refused("train", "--dataset", dataset, "augmentation.blur_sigma_px=[0, 1]")
    assert "augmentation.blur_sigma_px is of networks of volumes" in line
    line = refused("train", "--dataset", dataset, "training.patch_size=[4, 16, 16]")
    assert "training.patch_size is of networks of volumes" in line and "use network.dimensions=3" in line
    line = refused("train", "--dataset", dataset, "training.autoencoder=true")
    assert "training.autoencoder is of networks of volumes" in line and "or training.autoencoder=false" in line
    line = refused("train", "--dataset", dataset, "network.strides=[[2, 2, 2]]")
    assert "strides needs 3 lists of 2 numbers, one for each axis; received [[2, 2, 2]]" in line
    line = refused("train", "--dataset", dataset, "network.architecture=fcn", "network.dimensions=3")
    assert "network.dimensions=3: fcn takes slices alone; networks of volumes are unet, residual_unet" in line


def test_patches_that_memory_does_not_hold(refused: Refused, dataset: Path) -> None:
    line = refused("train", "--dataset", dataset, "network.dimensions=3", "training.patch_size=[4096, 4096, 4096]")
    assert "patches of 4096 x 4096 x 4096 voxels at a time would take about" in line
    assert "training.patch_size=[" in line and "fits" in line


@pytest.mark.parametrize(
    ("shape", "settings", "said"),
    [
        ((32, 32, 1), {}, "takes volumes, and each training case of {} is a single slice; use network.dimensions=2"),
        ((32, 32, 8), {"slices": {"count": 3}}, "slices of {} were chosen to train on; prepare it without"),
    ],
)
def test_a_dataset_without_volumes(
    refused: Refused, tmp_path: Path, shape: tuple[int, int, int], settings: dict, said: str
) -> None:
    source = write_phantom_study(tmp_path / "study", cases=4, shape=(32, 32, 8))
    for file in (path for folder in ("imagesTr", "labelsTr") for path in (source / folder).iterdir()):
        scan = nib.load(file)
        nib.save(nib.Nifti1Image(np.asarray(scan.dataobj)[..., : shape[2]], scan.affine), file)
    out = tmp_path / "dataset"
    prepare_dataset(source, out, PreparationSettings(slice_axis=2, **settings))
    assert said.format(out) in refused("train", "--dataset", out, "network.dimensions=3")


def test_a_single_slice_among_volumes(refused: Refused, study: Path, tmp_path: Path) -> None:
    for folder in ("imagesTr", "labelsTr"):
        scan = nib.load(first(study / folder))
        nib.save(nib.Nifti1Image(np.asarray(scan.dataobj)[..., :1], scan.affine), first(study / folder))
    line = refused("prepare", study, "--out", tmp_path / "out", "preparation.kind=volumes")
    assert "phantom_000.nii.gz: a single slice (" in line and "which is no volume; leave such cases out" in line
    assert "preparation.on_error=skip" in line and "preparation.kind=slices" in line


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--overlap", 2), "overlap: must be less than 1; received 2.0"),
        (("--window", 0, 5), "window.0: must be at least 1; received 0"),
        (("--rule", "largest:liver"), "a rule is one of largest_component:LABEL"),
    ],
)
def test_ways_to_apply_a_network_that_there_are_not(
    refused: Refused, study: Path, words: tuple[object, ...], said: str
) -> None:
    assert said in refused("predict", "--model", "none", "--input", study, "--out", "out", *words)


def test_a_fold_that_there_is_not(refused: Refused, dataset: Path) -> None:
    assert "fold must be one of 0 to" in refused("train", "--dataset", dataset, "--fold", 7)
    assert "from 0, or all; received 'first'" in refused("train", "--dataset", dataset, "--fold", "first")


def test_a_network_to_start_from_that_is_none(refused: Refused, dataset: Path, tmp_path: Path) -> None:
    line = refused("train", "--dataset", dataset, f"transfer.start_from={tmp_path / 'none.keras'}")
    assert "no such model" in line


def test_a_model_that_is_none(refused: Refused, dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "no-model").mkdir()
    line = refused("predict", "--model", tmp_path / "no-model", "--dataset", dataset, "--out", "out")
    assert "model.keras is missing" in line


def test_nothing_to_predict(refused: Refused, tmp_path: Path) -> None:
    assert "--dataset" in refused("predict", "--model", tmp_path, "--out", "out")


def test_missing_predictions(refused: Refused, dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "predictions").mkdir()
    line = refused("evaluate", "--dataset", dataset, "--prediction", tmp_path / "predictions", "--out", "out")
    assert "phantom_" in line
