"""r2d2 evaluate: what its options do, what it writes and says, and what it refuses."""

import csv
import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK
import typer
from PIL import Image

from imgmed import PreparationSettings, PreparedDataset, Volume, prepare_dataset, read_header, write_volume
from r2d2.cli import app, main
from segeval import METRICS, Conventions, EvaluationSettings, read_evaluation

pytestmark = pytest.mark.slow

Said = Callable[..., tuple[int, str]]


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Said:
    """Run a command; give its exit code and what it said on standard error."""
    monkeypatch.chdir(tmp_path)

    def run(*words: object) -> tuple[int, str]:
        monkeypatch.setattr("sys.argv", ["r2d2", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            main()
        return int(end.value.code or 0), capsys.readouterr().err

    return run


def save(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".png":
        Image.fromarray(array).save(path)
    elif path.suffix == ".gz":
        nibabel.save(nibabel.Nifti1Image(array, np.diag([1.0, 1.0, 2.0, 1.0])), path)
    else:  # ITK: axes the other way round, and its world turned by half a turn against that of NIfTI
        image = SimpleITK.GetImageFromArray(array.transpose(2, 1, 0))
        image.SetSpacing((1.0, 1.0, 2.0))
        image.SetDirection((-1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 1.0))
        SimpleITK.WriteImage(image, str(path))


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """Cases a and b, 20 and 10 voxels of label 1 and 8 of label 2; b's prediction has half of label 1, no label 2."""
    truth = np.zeros((10, 8, 4), np.uint8)
    truth[2:6, 1:6, 1], truth[6:8, 1:5, 2] = 1, 2
    half = np.where(truth == 2, 0, truth).astype(np.uint8)
    half[4:6] = 0
    for case_id, prediction in (("a", truth), ("b", half)):
        save(tmp_path / "ref" / f"{case_id}.nii.gz", truth)
        save(tmp_path / "pred" / f"{case_id}.nii.gz", prediction)
        save(tmp_path / "scans" / f"{case_id}_0000.nii.gz", (100 * truth).astype(np.float32))
    return tmp_path


FOLDERS = ("evaluate", "--reference", "ref", "--prediction", "pred", "--out", "out")


def test_scores_and_report_are_written_and_said(said: Said, folders: Path) -> None:
    code, words = said(*FOLDERS, "--label", "organ=1", "--label", "lesion=2", "--images", "scans")
    assert code == 0, words
    assert sorted(path.name for path in (folders / "out").iterdir()) == ["cases.csv", "report.html", "summary.json"]
    assert re.search(r"organ +│ +0\.833 │ +0\.750 ", words)  # Dice 1 and 2/3, IoU 1 and 1/2
    assert "not measured: lesion: 1 missed" in words
    assert "The background is not in these means" in words
    assert max(len(line) for line in words.splitlines() if "│" in line) <= 100
    html = (folders / "out" / "report.html").read_text(encoding="utf-8")
    assert "No scan of case" not in html
    assert "is not drawn" not in html


def test_every_convention_and_setting_has_an_option_with_its_description(said: Said) -> None:
    """One home for defaults: an option that nobody gave leaves the model's own default alone."""
    command = typer.main.get_command(app).commands["evaluate"]  # type: ignore[attr-defined]
    options = {parameter.name: parameter for parameter in command.params}
    fields = {**Conventions.model_fields, **EvaluationSettings.model_fields}
    command.make_context("r2d2", ["--prediction", "p", "--out", "o"]).close()
    for name, field in fields.items():
        if name == "conventions":
            continue
        option = options[{"labels": "label", "metrics": "metric"}.get(name, name)]
        assert option.help.startswith(field.description), name
        assert not option.default, name


def test_choices_reach_the_summary(said: Said, folders: Path) -> None:
    code, words = said(
        *FOLDERS,
        *("--label", "organ=1", "--label", "lesion=2", "--metric", "dice", "--metric", "hd95_mm", "--lesions"),
        *("--on-empty", "infinite", "--hd95", "pooled", "--tolerance-mm", "organ=2", "--tolerance-mm", "lesion=1"),
        *("--lesion-match", "overlap", "--seed", "3", "--workers", "1", "--no-report"),
    )
    assert code == 0, words
    evaluation = read_evaluation(folders / "out")
    lesion_wise = tuple(name for name in METRICS if METRICS[name].family == "lesion")
    assert evaluation.conventions.metrics == ("dice", "hd95_mm", *lesion_wise)
    assert (evaluation.conventions.on_empty, evaluation.conventions.hd95) == ("infinite", "pooled")
    assert evaluation.conventions.tolerance_mm == {"organ": 2.0, "lesion": 1.0}
    assert (evaluation.conventions.lesion_match, evaluation.seed) == ("overlap", 3)
    assert "∞" in words
    assert not (folders / "out" / "report.html").exists()


def test_regions_and_ignored_voxels(said: Said, folders: Path) -> None:
    code, words = said(*FOLDERS, "--label", "whole=1,2", "--label", "organ=1", "--metric", "all", "--no-report")
    assert code == 0, words
    assert read_evaluation(folders / "out").labels == {"whole": (1, 2), "organ": 1}
    assert "(1, 2)" in json.loads((folders / "out" / "summary.json").read_text())["mean"]
    code, words = said(*FOLDERS, "--label", "organ=1", "--ignore-label", "2", "--metric", "dice", "--no-report")
    assert code == 0, words
    assert read_evaluation(folders / "out").ignore_label == 2


def test_runs_of_integers_and_other_labels(said: Said, folders: Path) -> None:
    code, words = said(*FOLDERS, "--label", "whole=1-2", "--metric", "dice", "--no-report")
    assert code == 0, words
    assert read_evaluation(folders / "out").labels == {"whole": (1, 2)}
    code, words = said(*FOLDERS, "--label", "organ=1", "--no-report")
    assert code == 2
    assert "holds label 2 (8 voxels), not among the declared labels 0, 1" in words
    code, words = said(*FOLDERS, "--label", "organ=1", "--other-labels", "background", "--no-report")
    assert code == 0, words
    assert read_evaluation(folders / "out").settings.other_labels == "background"
    assert read_evaluation(folders / "out").means["dice"]["organ"].mean == pytest.approx((1 + 2 / 3) / 2)


def test_files_instead_of_folders(said: Said, folders: Path) -> None:
    """Two files are one case, whatever their names; the scan is drawn, and Dice is that of b."""
    files = ("--reference", "ref/a.nii.gz", "--prediction", "pred/b.nii.gz", "--images", "scans/b_0000.nii.gz")
    code, words = said("evaluate", *files, "--label", "organ=1", "--label", "lesion=2", "--out", "out")
    assert code == 0, words
    evaluation = read_evaluation(folders / "out")
    assert [case.case_id for case in evaluation.cases] == ["a"]
    assert evaluation.means["dice"]["organ"].mean == pytest.approx(2 / 3)
    html = (folders / "out" / "report.html").read_text(encoding="utf-8")
    assert "is not drawn" not in html and "No scan of case" not in html and "No picture of case" not in html
    code, words = said("evaluate", "--reference", "ref/c.nii.gz", "--prediction", "pred", "--out", "other")
    assert (code, (folders / "other").exists()) == (2, False)
    assert "ref/c.nii.gz: no such file or folder of reference label maps" in words


def test_missing_predictions_stop_or_count_worst(said: Said, folders: Path) -> None:
    (folders / "pred" / "b.nii.gz").unlink()
    code, words = said(*FOLDERS)
    assert code == 2
    assert "case b: no prediction" in words
    assert not (folders / "out").exists()
    code, words = said(*FOLDERS, "--on-missing", "worst")
    assert code == 0, words
    assert "1 no prediction" in words
    assert read_evaluation(folders / "out").foreground["dice"].mean == 0.5


def test_patients_come_from_a_table(said: Said, folders: Path) -> None:
    (folders / "patients.csv").write_text("patient_id,case_id,sex\nP1,a,f\nP1,b,f\nP2,other,m\n")
    code, words = said(*FOLDERS, "--patients", "patients.csv", "--no-report")
    assert code == 0, words
    with (folders / "out" / "cases.csv").open() as stream:
        assert {row["patient_id"] for row in csv.DictReader(stream)} == {"P1"}
    assert "fewer than two patients" in words


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        ("case,patient\na,P1\n", "needs the columns case_id and patient_id; received case, patient"),
        ("case_id,patient_id\na,P1\na,P2\nb,\n", "case a has two patients, P1 and P2; line 4 has an empty field"),
        ("case_id,patient_id\na,P1\n", "every case needs a patient_id; none for b"),
        (None, "no readable CSV file"),
    ],
)
def test_tables_of_patients_with_faults(said: Said, folders: Path, table: str | None, reason: str) -> None:
    if table is not None:
        (folders / "patients.csv").write_text(table)
    code, words = said(*FOLDERS, "--patients", "patients.csv")
    assert code == 2
    assert reason in words
    assert not (folders / "out").exists()


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--label", "organ"), "--label must be like liver=1, tumour=2,3 or cell=1-250; received 'organ'"),
        (("--label", "organ=one"), "--label must be like"),
        (("--label", "organ=1", "--label", "organ=2"), "names 'organ' twice"),
        (("--tolerance-mm", "organ"), "--tolerance-mm must be like 2.5"),
        (("--tolerance-mm", "organ=1", "--tolerance-mm", "organ=5"), "--tolerance-mm names a label twice"),
        (("--tolerance-mm", "-1"), "tolerance_mm must be 0 or more"),
        (("--tolerance-mm", "organ=1"), "tolerance_mm must name every label"),
        (("--metric", "dise"), "metrics must be among dice"),
        (("--on-empty", "zero"), "on_empty must be one of penalise"),
        (("--surface", "mesh", "--on-missing", "skip", "--seed", "-1"), "surface: must be 'voxel'"),
        (("--surface", "mesh", "--on-missing", "skip", "--seed", "-1"), "on_missing: must be 'error' or"),
        (("--images", "nowhere"), "nowhere: no such folder of scans"),
        (("--images", "empty"), "empty: no scans in this folder"),
        (("--dataset", "work"), "give either --dataset"),
    ],
)
def test_mistakes_are_one_clear_error(said: Said, folders: Path, options: tuple[str, ...], reason: str) -> None:
    (folders / "empty").mkdir()
    code, words = said(*FOLDERS, *options)
    assert code == 2
    assert reason in " ".join(words.replace("│", " ").split())
    assert "Traceback" not in words
    assert not (folders / "out").exists()


def test_a_report_of_earlier_scores_does_not_stay(said: Said, folders: Path) -> None:
    assert said(*FOLDERS)[0] == 0
    assert said(*FOLDERS, "--no-report")[0] == 0
    assert not (folders / "out" / "report.html").exists()


def test_a_report_that_cannot_be_written_leaves_the_scores_and_says_so(said: Said, folders: Path) -> None:
    (folders / "out" / "report.html").mkdir(parents=True)
    code, words = said(*FOLDERS)
    assert code == 2
    assert "the scores are written, but their report could not be made:" in words
    assert "report.html cannot be written (is a directory)" in words
    assert sorted(path.name for path in (folders / "out").iterdir()) == ["cases.csv", "report.html", "summary.json"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("summary.json", '{"foreground_mean": {}, "mean": {}, "metric_per_case": []}'),  # nnU-Net's own
        ("cases.csv", "case_id,patient_id\na,P1\n"),
        ("report.html", "<title>My thesis</title>"),
    ],
)
def test_files_of_others_are_not_replaced(said: Said, folders: Path, name: str, content: str) -> None:
    """nnU-Net leaves its summary.json among the label maps that it predicts for validation."""
    (folders / "pred" / name).write_text(content)
    code, words = said("evaluate", "--reference", "ref", "--prediction", "pred", "--out", "pred")
    assert code == 2
    assert f"{name} " in words and "would be replaced" in words
    assert (folders / "pred" / name).read_text() == content
    assert sorted(path.name for path in (folders / "pred").iterdir()) == sorted(["a.nii.gz", "b.nii.gz", name])


def test_scores_among_the_predictions_are_replaced_by_later_ones(said: Said, folders: Path) -> None:
    for seed, more in ((1, ["--no-report"]), (2, [])):
        command = ("evaluate", "--reference", "ref", "--prediction", "pred", "--out", "pred", "--seed", seed)
        code, words = said(*command, *more)
        assert code == 0, words
        assert read_evaluation(folders / "pred").seed == seed
    names = ["a.nii.gz", "b.nii.gz", "cases.csv", "report.html", "summary.json"]
    assert sorted(path.name for path in (folders / "pred").iterdir()) == names


def test_a_file_name_in_another_encoding_is_reported_on(said: Said, folders: Path) -> None:
    for side in ("ref", "pred"):
        (folders / side / "b.nii.gz").rename(folders / side / os.fsdecode(b"caf\xe9.nii.gz"))
    code, words = said(*FOLDERS)
    assert code == 0, words
    assert "Worst case, caf\\udce9" in (folders / "out" / "report.html").read_text(encoding="utf-8")
    assert sorted(path.name for path in (folders / "out").iterdir()) == ["cases.csv", "report.html", "summary.json"]


@pytest.mark.parametrize("suffix", [".mha", ".nii.gz"])
def test_formats_of_volumes(said: Said, folders: Path, suffix: str) -> None:
    """Predictions in another format than the references, and the scans in it: the same scores and pictures."""
    for name in ("a", "b"):
        path = folders / "pred" / f"{name}.nii.gz"
        array = np.asarray(nibabel.load(path).dataobj)  # type: ignore[attr-defined]
        path.unlink()
        save(folders / "pred" / f"{name}{suffix}", array)
        save(folders / "itk" / f"{name}{suffix}", array)
    code, words = said(*FOLDERS, "--images", "itk", "--label", "organ=1", "--label", "lesion=2")
    assert code == 0, words
    assert re.search(r"organ +│ +0\.833 ", words)
    assert "is not drawn" not in (folders / "out" / "report.html").read_text()


def test_pictures(said: Said, folders: Path) -> None:
    truth = np.zeros((20, 30), np.uint8)
    truth[4:10, 5:25] = 1
    for name in ("x", "y"):
        save(folders / "png" / "ref" / f"{name}.png", truth)
        save(folders / "png" / "pred" / f"{name}.png", np.roll(truth, 1, axis=0))
        save(folders / "png" / "images" / f"{name}.png", np.stack([100 * truth] * 3, axis=-1))
    command = ("evaluate", "--reference", "png/ref", "--prediction", "png/pred", "--images", "png/images")
    code, words = said(*command, "--out", "flat", "--spacing-mm", "3", "1")
    assert code == 0, words
    assert read_evaluation(folders / "flat").means["hausdorff_mm"]["label 1"].mean == 3.0
    html = (folders / "flat" / "report.html").read_text()
    assert "a plane has no volume" in html
    assert "Wrong on this image: 20 voxels missed, 20 too many." in html
    code, words = said(*command, "--out", "flat", "--no-report")
    assert "distances are in pixels" in words
    assert read_evaluation(folders / "flat").means["hausdorff_mm"]["label 1"].mean == 1.0


def test_photographs_of_a_dataset_are_judged_as_pictures(said: Said, tmp_path: Path) -> None:
    """As a folder of PNG files is: a row off is 3 mm where rows are 3 mm apart, and a pixel where nobody says."""
    truth = np.zeros((20, 30), np.uint8)
    truth[4:10, 5:25] = 1
    for number in range(5):
        save(tmp_path / "study" / "labels" / f"p{number}.png", truth)
        photo = np.random.default_rng(number).integers(0, 255, (20, 30, 3)).astype(np.uint8)
        save(tmp_path / "study" / "images" / f"p{number}.png", photo)
    dataset = prepare_dataset(tmp_path / "study", tmp_path / "data", PreparationSettings())
    for case_id in dataset.splits.test:  # as predict writes label maps of pictures
        pages = np.roll(truth, 1, axis=0)[..., np.newaxis]
        (tmp_path / "pred").mkdir(exist_ok=True)
        affine = read_header(tmp_path / "study/images/p0.png").affine
        write_volume(tmp_path / "pred" / f"{case_id}.nii.gz", Volume(pages, affine))
    command = ("evaluate", "--dataset", "data", "--prediction", "pred", "--out", "out")
    code, words = said(*command, "--spacing-mm", "3", "1")
    assert code == 0, words
    assert read_evaluation(tmp_path / "out").means["hausdorff_mm"]["label_1"].mean == 3.0
    html = (tmp_path / "out" / "report.html").read_text()
    assert "Wrong on this image: 20 voxels missed, 20 too many." in html
    assert "a plane has no volume" in html and "Radiological" not in html and "slice 1 of 1" not in html
    code, words = said(*command, "--no-report")
    assert code == 0 and "distances are in pixels" in words
    assert read_evaluation(tmp_path / "out").means["hausdorff_mm"]["label_1"].mean == 1.0
    save(tmp_path / "study/labels/only.png", truth)
    reference, prediction = tmp_path / "study/labels/only.png", next((tmp_path / "pred").iterdir())
    mixed = ("evaluate", "--reference", reference, "--prediction", prediction, "--out", "mixed", "--no-report")
    code, words = said(*mixed, "--spacing-mm", "3", "1")
    assert code == 0, words
    assert read_evaluation(tmp_path / "mixed").means["hausdorff_mm"]["label 1"].mean == 3.0


def test_a_dataset_is_evaluated_on_its_regions(said: Said, tmp_path: Path) -> None:
    study = tmp_path / "study"
    truth = np.zeros((16, 16, 4), np.uint8)
    truth[2:6, 2:6, 1:3], truth[6:9, 2:6, 1:3], truth[12:14, 12:14, 1:3] = 1, 2, 3
    rng = np.random.default_rng(0)
    for index in range(6):
        save(study / "imagesTr" / f"case_{index}.nii.gz", rng.normal(size=truth.shape).astype(np.float32))
        save(study / "labelsTr" / f"case_{index}.nii.gz", truth)
        save(tmp_path / "pred" / f"case_{index}.nii.gz", np.where(truth == 2, 1, truth).astype(np.uint8))
    regions = {"background": 0, "whole": [1, 2], "core": 2, "node": 3}
    description = {"channel_names": {"0": "CT"}, "labels": regions, "numTraining": 6, "file_ending": ".nii.gz"}
    (study / "dataset.json").write_text(json.dumps(description))
    prepare_dataset(study, tmp_path / "data", PreparationSettings())
    dataset = PreparedDataset.read(tmp_path / "data")
    for case_id in set(dataset.cases) - set(dataset.splits.test):
        (tmp_path / "pred" / f"{case_id}.nii.gz").unlink()
    code, words = said("evaluate", "--dataset", "data", "--prediction", "pred", "--out", "out", "--no-report")
    assert code == 0, words
    evaluation = read_evaluation(tmp_path / "out")
    assert evaluation.labels == {"whole": (1, 2), "core": 2, "node": 3}
    assert evaluation.means["dice"]["whole"].mean == 1.0
    assert evaluation.means["dice"]["core"].mean == 0.0
    assert evaluation.means["dice"]["node"].mean == 1.0
    case_id = dataset.splits.test[0]
    save(tmp_path / "pred" / f"{case_id}.nrrd", 0 * truth)
    code, words = said("evaluate", "--dataset", "data", "--prediction", "pred", "--out", "out")
    assert code == 2
    assert f"case {case_id}: 2 prediction files in pred, {case_id}.nii.gz and {case_id}.nrrd" in words


def test_the_ignore_label_of_a_dataset_is_not_judged(said: Said, tmp_path: Path) -> None:
    """nnU-Net's partial annotation: half of each scan has none, and the prediction marks an organ there too."""
    study = tmp_path / "study"
    truth = np.zeros((16, 16, 4), np.uint8)
    truth[2:6, 2:6], truth[8:] = 1, 2
    prediction = np.where(truth == 2, 1, truth).astype(np.uint8)
    rng = np.random.default_rng(0)
    for index in range(6):
        save(study / "imagesTr" / f"case_{index}.nii.gz", rng.normal(size=truth.shape).astype(np.float32))
        save(study / "labelsTr" / f"case_{index}.nii.gz", truth)
        save(tmp_path / "pred" / f"case_{index}.nii.gz", prediction)
    labels = {"background": 0, "organ": 1, "ignore": 2}
    description = {"channel_names": {"0": "CT"}, "labels": labels, "numTraining": 6, "file_ending": ".nii.gz"}
    (study / "dataset.json").write_text(json.dumps(description))
    prepare_dataset(study, tmp_path / "data", PreparationSettings())
    for source in (("--dataset", "data"), ("--reference", "study/labelsTr")):
        code, words = said("evaluate", *source, "--prediction", "pred", "--out", "out", "--no-report")
        assert code == 0, words
        assert words.count("label 2 in the reference are not judged") == 1
        evaluation = read_evaluation(tmp_path / "out")
        assert (evaluation.ignore_label, list(evaluation.labels.values())) == (2, [1])
        assert evaluation.foreground["dice"].mean == evaluation.pooled.image["pixel_accuracy"].mean == 1.0
    (case_id,) = PreparedDataset.read(tmp_path / "data").splits.test
    one = ("--prediction", f"pred/{case_id}.nii.gz", "--label", "rest=2", "--label", "organ=1")
    code, words = said("evaluate", "--dataset", "data", *one, "--out", "out", "--no-report")
    assert code == 0 and "not judged" not in words, words
    assert [case.case_id for case in read_evaluation(tmp_path / "out").cases] == [case_id]
    (tmp_path / "pred" / "case_0.nii.gz").rename(tmp_path / "pred" / "other.nii.gz")
    code, words = said("evaluate", "--dataset", "data", "--prediction", "pred/other.nii.gz", "--out", "out")
    assert (code, "named like no test case" in words) == (2, True)
