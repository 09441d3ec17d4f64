"""Scans that are unlike the training's are told so and predicted all the same; what no model can take is refused."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from pydicom import Dataset
from typer.testing import CliRunner

from dist_training.inference.model_card import read_model_card
from imgmed import PreparationSettings, PreparedDataset, prepare_dataset
from r2d2.cli import app
from r2d2.errors import PredictionError
from r2d2.prediction.manifest import read_manifest
from tests.dicom_files import write_series
from tests.r2d2.prediction.studies import UPRIGHT, copied, predict_cases, predict_scans, save_network, save_scan

pytestmark = pytest.mark.tensorflow

SHAPE = (14, 16, 4)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> PreparedDataset:
    folder = tmp_path_factory.mktemp("unlike")
    for number in range(9):
        image = save_scan(folder / f"study/images/c{number}.nii.gz", SHAPE, number)
        (folder / "study/labels").mkdir(exist_ok=True)
        labels = nib.Nifti1Image((image > 120).astype(np.uint8), UPRIGHT)
        nib.save(labels, folder / f"study/labels/c{number}.nii.gz")
    return prepare_dataset(folder / "study", folder / "dataset", PreparationSettings(folds=2))


@pytest.fixture(scope="module")
def model(dataset: PreparedDataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_network(dataset, tmp_path_factory.mktemp("run"))


def test_a_scan_that_is_unlike_is_predicted_and_told(dataset: PreparedDataset, model: Path, tmp_path: Path) -> None:
    (tmp_path / "scans").mkdir()
    array = nib.load(dataset.source_root / f"images/{dataset.splits.train[0]}.nii.gz").get_fdata(dtype=np.float32)
    nib.save(nib.Nifti1Image(3 * array, UPRIGHT), tmp_path / "scans/like.nii.gz")  # as normalisation sees it
    nib.save(nib.Nifti1Image(array, np.diag([1.0, 1.0, 6.0, 1.0])), tmp_path / "scans/thick.nii.gz")
    told = CliRunner().invoke(
        app, ["predict", "--model", str(model), "--input", str(tmp_path / "scans"), "--out", str(tmp_path / "out")]
    )
    assert told.exit_code == 0, told.output
    assert "  unlike training: thick: spacing foot-head: 6 mm, training 2." in told.output
    familiarity = read_model_card(model)[1].familiarity
    assert familiarity is not None
    rate = f"(of scans like them at most {100 * familiarity.expected_rate:.1f} % are told so)"
    note = f"note: 1 of 2 scans is unlike those of the model's training {rate}; look at what it made of them"
    assert note in " ".join(told.output.split())

    like, thick = json.loads((tmp_path / "out/prediction.json").read_text())["cases"]
    assert "unlike" not in like
    assert [phrase.partition(":")[0] for phrase in thick["unlike"]] == ["spacing foot-head", "extent foot-head"]
    manifest = read_manifest(tmp_path / "out")
    assert manifest is not None and [bool(case.unlike) for case in manifest.cases] == [False, True]
    assert nib.load(tmp_path / "out/thick.nii.gz").shape == SHAPE

    card = read_model_card(model)[1]
    assert card.familiarity is not None
    assert card.familiarity.patients == len(dataset.splits.train)
    told_of_cases = predict_cases(model, dataset, tuple(dataset.cases), tmp_path / "cases")
    held_out = {*dataset.splits.validation, *dataset.splits.test}
    alarms = [case.case_id for case in told_of_cases.cases if case.unlike and case.case_id in held_out]
    assert len(alarms) == card.familiarity.alarms


def test_any_network_of_several_tells(model: Path, tmp_path: Path) -> None:
    """Each measure once, with the range of the first network that tells it; a card that says nothing tells nothing."""
    familiarity = json.loads((model / "model.json").read_text())["familiarity"]
    ranges = [[{"name": "slices", "unit": "", "low": low, "high": low + 1}] for low in (7, 8)]
    silent = copied(model, tmp_path / "silent", familiarity=None)
    others = [copied(model, tmp_path / f"m{n}", familiarity={**familiarity, "ranges": ranges[n]}) for n in range(2)]
    save_scan(tmp_path / "thick.nii.gz", SHAPE, seed=21, affine=np.diag([1.0, 1.0, 6.0, 1.0]))
    twin = copied(model, tmp_path / "twin")  # judges as the model does: it adds no needless warning
    made = predict_scans([silent, model, twin, *others], [tmp_path / "thick.nii.gz"], tmp_path / "out")
    *own, last = made.cases[0].unlike
    assert any(reason.startswith("spacing foot-head: 6 mm") for reason in own)
    assert last == "slices: 4, training 7 to 8"
    assert made.unlike_rate == pytest.approx(3 * familiarity["expected_rate"])


def test_a_card_from_before_tells_nothing(model: Path, tmp_path: Path) -> None:
    card = json.loads((model / "model.json").read_text())
    earlier = copied(model, tmp_path / "run")
    (earlier / "model.json").write_text(
        json.dumps({name: value for name, value in card.items() if name not in ("familiarity", "scan_kinds")})
    )
    save_scan(tmp_path / "thick.nii.gz", SHAPE, seed=21, affine=np.diag([1.0, 1.0, 6.0, 1.0]))
    assert predict_scans(earlier, [tmp_path / "thick.nii.gz"], tmp_path / "out").cases[0].unlike == ()


def test_what_dicom_says_of_itself_is_compared(model: Path, tmp_path: Path) -> None:
    def of_the_heart(_: int, slice_: Dataset) -> None:
        slice_.Modality, slice_.BodyPartExamined = "CT", "HEART"

    card = json.loads((model / "model.json").read_text())
    familiarity = {**card["familiarity"], "modalities": ["MR"], "body_parts": ["BRAIN", "HEAD"]}
    run = copied(model, tmp_path / "run", familiarity=familiarity)
    array = np.random.default_rng(1).gamma(2.0, 50.0, SHAPE).astype(np.int16)
    write_series(tmp_path / "series", array, UPRIGHT, change=of_the_heart)
    (case,) = predict_scans(run, [tmp_path / "series"], tmp_path / "out").cases
    assert case.unlike[:2] == ("modality CT, training MR", "body part HEART, training BRAIN, HEAD")


def test_pictures_are_not_volumes(model: Path, tmp_path: Path) -> None:
    """Either way round, in one line; a model that has seen both takes both."""
    save_scan(tmp_path / "volume.nii.gz", SHAPE, seed=3)
    save_scan(tmp_path / "plane.nii.gz", (14, 16, 1), seed=3)
    Image.fromarray(np.random.default_rng(2).integers(0, 255, (14, 16), np.uint8)).save(tmp_path / "picture.png")
    with pytest.raises(PredictionError, match=r"picture.png: a picture, whose size in millimetres .* on volumes"):
        predict_scans(model, [tmp_path / "picture.png"], tmp_path / "out")
    of_pictures = copied(model, tmp_path / "of-pictures", scan_kinds=["picture"])
    with pytest.raises(PredictionError, match=r"volume.nii.gz: a volume of 14 x 16 x 4 voxels; .* on pictures"):
        predict_scans(of_pictures, [tmp_path / "volume.nii.gz"], tmp_path / "out")
    predict_scans(of_pictures, [tmp_path / "picture.png", tmp_path / "plane.nii.gz"], tmp_path / "plane")
    of_both = copied(model, tmp_path / "of-both", scan_kinds=["picture", "volume"])
    predict_scans(of_both, [tmp_path / "picture.png", tmp_path / "volume.nii.gz"], tmp_path / "both")
