"""The README's commands, typed as a user types them, on a small study; then what they left on disk."""

import csv
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
import yaml

from imgmed import PreparedDataset, write_phantom_study
from segeval import read_evaluation

pytestmark = pytest.mark.end_to_end

R2D2 = str(Path(sys.executable).with_name("r2d2"))


def r2d2(*arguments: object, cwd: Path) -> str:
    """Run a command that must succeed; give what it said."""
    done = subprocess.run(
        [R2D2, *map(str, arguments)], cwd=cwd, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    return done.stderr


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """The walk-through: prepare, init, train with settings of the working folder, predict, evaluate, report."""
    cwd = tmp_path_factory.mktemp("walk through ü")  # a space and an umlaut, as in users' folders
    write_phantom_study(cwd / "study", cases=10, shape=(40, 48, 10))
    said = {"prepare": r2d2("prepare", "study", "--out", "work/dataset", cwd=cwd)}
    said["init"] = r2d2("init", "--dataset", "work/dataset", cwd=cwd)
    settings = yaml.safe_load((cwd / "r2d2.yaml").read_text())
    settings["training"] |= {"epochs": 2, "learning_rate": 0.005}
    settings["network"] |= {"depth": 2, "base_filters": 8}
    (cwd / "r2d2.yaml").write_text(yaml.safe_dump(settings))
    said["train"] = r2d2("train", "--run-dir", "work/run", "training.epochs=12", cwd=cwd)
    data = ("--dataset", "work/dataset")
    said["predict"] = r2d2("predict", "--model", "work/run", *data, "--out", "work/predictions", cwd=cwd)
    judged = ("--prediction", "work/predictions")
    said["evaluate"] = r2d2("evaluate", *data, *judged, "--out", "work/evaluation", cwd=cwd)
    said["report"] = r2d2(
        "report", *data, *judged, "--evaluation", "work/evaluation", "--out", "work/report.html", cwd=cwd
    )
    return SimpleNamespace(cwd=cwd, said=said, dataset=PreparedDataset.read(cwd / "work/dataset"), study=cwd / "study")


def test_predictions_have_the_scans_own_grid_and_name(work: SimpleNamespace) -> None:
    predictions = work.cwd / "work" / "predictions"
    names = {Path(work.dataset.case(case_id).images[0].path).name for case_id in work.dataset.splits.test}
    assert {path.name for path in predictions.iterdir()} == {*names, "prediction.json", "volumes.csv"}
    spacings = set()
    for name in names:
        scan, prediction = nib.load(work.study / "imagesTr" / name), nib.load(predictions / name)
        assert prediction.shape == scan.shape
        np.testing.assert_array_equal(prediction.affine, scan.affine)
        assert prediction.get_data_dtype() == np.uint8
        spacings.add(tuple(np.round(scan.header.get_zooms(), 3)))
    assert {case.grid.slice_shape != case.grid.original_slice_shape for case in work.dataset.cases.values()} == {
        True,
        False,
    }, "the study should have scans with and without resampling"


def test_the_network_learned_something(work: SimpleNamespace) -> None:
    evaluation = read_evaluation(work.cwd / "work" / "evaluation")
    assert evaluation.means["dice"]["organ"].mean > 0.5
    assert "validation Dice" in work.said["train"]


def test_the_evaluation_is_where_the_design_says(work: SimpleNamespace) -> None:
    summary = json.loads((work.cwd / "work/evaluation/summary.json").read_text())
    assert {"foreground_mean", "mean", "metric_per_case"} <= summary.keys()
    assert set(summary["mean"]) == {"1", "2"}
    with (work.cwd / "work/evaluation/cases.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * len(work.dataset.splits.test)
    assert {row["case_id"] for row in rows} == set(work.dataset.splits.test)


def test_the_report_is_one_file_with_pictures(work: SimpleNamespace) -> None:
    html = (work.cwd / "work" / "report.html").read_text()
    assert html.count("data:image/png;base64,") >= 4
    assert "http://" not in html.replace("http://www.w3.org", "")
    assert all(case_id in html for case_id in work.dataset.splits.test)


def test_scans_from_anywhere_and_training_cases_are_marked(work: SimpleNamespace) -> None:
    """The whole study as files: the same label maps for the test cases, a mark on those the model has seen."""
    said = r2d2("predict", "--model", "work/run", "--input", "study/imagesTr", "--out", "work/elsewhere", cwd=work.cwd)
    splits = work.dataset.splits
    assert f"{len(splits.train) + len(splits.validation)} of these scans served the model's training" in said
    manifest = json.loads((work.cwd / "work/elsewhere/prediction.json").read_text())
    marks = {case["case_id"]: case["split"] for case in manifest["cases"]}
    assert {case_id for case_id, split in marks.items() if split == "train"} == set(splits.train)
    assert {case_id for case_id, split in marks.items() if split == "test"} == set(splits.test)
    for case_id in splits.test:
        name = Path(work.dataset.case(case_id).images[0].path).name
        one, other = (nib.load(work.cwd / "work" / folder / name) for folder in ("predictions", "elsewhere"))
        np.testing.assert_array_equal(np.asarray(one.dataobj), np.asarray(other.dataobj))
    evaluate = ("evaluate", "--reference", "study/labelsTr", "--prediction", "work/elsewhere")
    said = r2d2(*evaluate, "--out", "work/evaluation2", cwd=work.cwd)
    assert "training case of this model" in said
    evaluation = read_evaluation(work.cwd / "work/evaluation2")
    assert any("training case of this model" in warning for warning in evaluation.warnings)
    assert set(evaluation.labels) == {"organ", "lesion"}


def test_settings_come_from_the_working_folder_and_then_from_the_command_line(work: SimpleNamespace) -> None:
    assert "r2d2 train" in work.said["init"]
    assert "settings: r2d2.yaml" in work.said["train"]
    assert "12 epochs of" in work.said["train"]
    used = yaml.safe_load((work.cwd / "work/run/config.yaml").read_text())
    assert (used["training"]["epochs"], used["training"]["learning_rate"]) == (12, 0.005)
    assert (used["network"]["depth"], used["network"]["base_filters"]) == (2, 8)


def test_a_model_elsewhere_recognises_a_renamed_copy_of_a_training_scan(work: SimpleNamespace, tmp_path: Path) -> None:
    """model.keras and model.json are all that prediction needs, and a mix-up of two is noticed."""
    for name in ("model.keras", "model.json"):
        (tmp_path / name).write_bytes((work.cwd / "work/run" / name).read_bytes())
    source = work.study / work.dataset.case(work.dataset.splits.train[0]).images[0].path
    (tmp_path / "stranger.nii.gz").write_bytes(source.read_bytes())
    scan = max((work.study / "imagesTr").iterdir())
    files = ("stranger.nii.gz", scan)  # several behind one --input, as from *.nii.gz
    r2d2("predict", "--model", "model.keras", "--input", *files, "--out", "out", cwd=tmp_path)
    assert {path.name for path in (tmp_path / "out").glob("*.gz")} == {"stranger.nii.gz", scan.name}
    manifest = json.loads((tmp_path / "out" / "prediction.json").read_text())
    assert (manifest["cases"][0]["case_id"], manifest["cases"][0]["split"]) == ("stranger", "train")
    with (tmp_path / "model.keras").open("ab") as file:
        file.write(b"x")
    done = subprocess.run(
        [R2D2, "predict", "--model", "model.keras", "--input", str(scan), "--out", "out2"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "SHA-256 differs" in done.stderr
    assert not (tmp_path / "out2").exists()
