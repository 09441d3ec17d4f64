import csv
import json
import math
import os

import numpy as np
import pytest

import segeval
from r2d2_base.errors import NotWritableError
from tests.segeval.studies import LABELS, pairs_of


@pytest.fixture
def evaluation(study):
    return segeval.evaluate_pairs(pairs_of(study, b="training case of this model"), LABELS)


def test_summary_has_the_layout_that_nnunet_users_parse(evaluation, study):
    path = segeval.write_evaluation(evaluation, study / "out")
    summary = json.loads(path.read_text(encoding="utf-8"))
    assert path == study / "out" / "summary.json"
    assert set(summary) == {"foreground_mean", "mean", "metric_per_case", "r2d2"}
    metrics = {"Dice", "IoU", "TP", "FP", "FN", "TN", "n_pred", "n_ref"}
    assert set(summary["mean"]) == {"1", "2"}
    assert set(summary["foreground_mean"]) == set(summary["mean"]["1"]) == metrics
    first, second, third = summary["metric_per_case"]
    assert set(first) == {"reference_file", "prediction_file", "metrics"}
    assert first["prediction_file"] == str(study / "prediction" / "a.nii.gz")
    # Case a, label 1: 8 reference voxels all found, 4 predicted beside them, of 120.
    assert first["metrics"]["1"] == {
        "Dice": 0.8,
        "IoU": pytest.approx(2 / 3),
        "TP": 8,
        "FP": 4,
        "FN": 0,
        "TN": 108,
        "n_pred": 12,
        "n_ref": 8,
    }
    assert second["metrics"]["2"]["Dice"] == 0
    assert math.isnan(third["metrics"]["2"]["Dice"])
    assert '"Dice": NaN' in path.read_text(encoding="utf-8")
    assert summary["mean"]["2"]["Dice"] == 0.5
    assert summary["mean"]["1"]["n_pred"] == pytest.approx((12 + 18 + 8) / 3)
    assert summary["foreground_mean"]["Dice"] == pytest.approx((2.8 / 3 + 0.5) / 2)


def test_our_extension_holds_counts_intervals_policy_and_notes(evaluation, study):
    segeval.write_evaluation(evaluation, study / "out")
    extension = json.loads((study / "out" / "summary.json").read_text(encoding="utf-8"))["r2d2"]
    assert extension["schema_version"] == 2
    assert extension["labels"] == {"body": 1, "tail": 2}
    tail = extension["mean_over_cases"]["dice"]["tail"]
    assert (tail["mean"], tail["n"], tail["left_out"], tail["patients"], tail["confidence"]) == (
        0.5,
        2,
        1,
        1,
        0.95,
    )
    body = extension["mean_over_cases"]["dice"]["body"]
    assert 0.8 <= body["low"] < body["mean"] < body["high"] <= 1
    assert set(extension["mean_over_cases"]) == set(segeval.DEFAULT_METRICS)
    assert extension["cases"][1] == {
        "case_id": "b",
        "patient_id": "p1",
        "note": "training case of this model",
        "image": evaluation.cases[1].image,
        "spacing_mm": [1.0, 2.0, 3.0],
    }
    assert extension["warnings"] == list(evaluation.warnings)
    assert "training case of this model" in extension["warnings"][0]
    assert extension["conventions"]["on_empty"] == "penalise"
    assert "diagonal of the image" in extension["conventions_in_words"]["hd95_mm, missed"]
    matrix = np.array(extension["pooled"]["confusion_matrix"])
    assert extension["pooled"]["image"]["pixel_accuracy"]["mean"] == pytest.approx(np.trace(matrix) / matrix.sum())


def test_cases_csv_has_one_row_a_case_and_label(evaluation, study):
    segeval.write_evaluation(evaluation, study / "out")
    with (study / "out" / "cases.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["case_id"], row["label"]) for row in rows] == [(c, label) for c in "abc" for label in "12"]
    assert rows[3]["note"] == "training case of this model"
    assert (rows[3]["status"], rows[3]["dice"]) == ("prediction_empty", "0.0")
    assert (rows[0]["patient_id"], rows[0]["label_name"], rows[0]["fp"]) == ("p1", "body", "4")
    assert float(rows[0]["reference_ml"]) == pytest.approx(0.048)
    assert rows[5]["dice"] == "nan"


def test_reading_gives_back_what_was_written(evaluation, study):
    segeval.write_evaluation(evaluation, study / "out")
    again = segeval.read_evaluation(study / "out")
    assert again == evaluation
    assert again.pooled.confusion.dtype == np.int64


def test_names_with_commas_quotes_and_newlines_survive(study):
    pairs = pairs_of(study, a='scan, "poor"\nsecond line')
    evaluation = segeval.evaluate_pairs(pairs, {"körper, links": 1, "tail": 2})
    segeval.write_evaluation(evaluation, study / "out")
    assert segeval.read_evaluation(study / "out") == evaluation


@pytest.mark.parametrize(
    "name", ["(1, 2)", "cr\rlf", "\n", "\t", "a#1", "<b>&'", 'a"b', "ünï", " spaces ", ",", "nan", "-1", "=1+1"]
)
def test_any_name_survives(study, name):
    """Of a label, a file, a patient and a note; and the last of them alone in its column."""
    for side in ("reference", "prediction"):
        (study / side / "a.nii.gz").rename(study / side / f"{name}.nii.gz")
    evaluation = segeval.evaluate_folder(
        study / "reference",
        study / "prediction",
        {name: 1, "tail": 2},
        patient_ids={name: name},
        notes={name: name},
        metrics=("dice",),
    )
    segeval.write_evaluation(evaluation, study / "out")
    assert segeval.read_evaluation(study / "out") == evaluation


def test_a_file_name_in_another_encoding_survives(study):
    for side in ("reference", "prediction"):
        (study / side / "a.nii.gz").rename(study / side / os.fsdecode(b"caf\xe9.nii.gz"))
    evaluation = segeval.evaluate_folder(study / "reference", study / "prediction", LABELS)
    path = segeval.write_evaluation(evaluation, study / "out")
    assert segeval.read_evaluation(study / "out") == evaluation
    path.read_bytes().decode("utf-8")  # other readers of JSON need plain UTF-8


def test_regions_tolerances_and_infinities_survive(study):
    evaluation = segeval.evaluate_folder(
        study / "reference",
        study / "prediction",
        {"whole": (2, 1), "tail": 2, "body": (1,)},
        on_empty="infinite",
        tolerance_mm={"whole": 2.5, "tail": 0.0, "body": 1},
        metrics=tuple(segeval.METRICS),
    )
    assert math.isinf(evaluation.means["hd95_mm"]["tail"].mean)
    segeval.write_evaluation(evaluation, str(study / "out"))
    assert segeval.read_evaluation(str(study / "out")) == evaluation


def test_files_of_two_evaluations_do_not_pass_for_one(evaluation, study):
    """As two processes that write into one folder could leave them, or a crash between the two files."""
    segeval.write_evaluation(evaluation, study / "out")
    other = segeval.evaluate_pairs(pairs_of(study), LABELS, on_empty="infinite")
    segeval.write_evaluation(other, study / "other")
    (study / "other" / "cases.csv").replace(study / "out" / "cases.csv")
    with pytest.raises(segeval.EvaluationFormatError, match=r"cases\.csv was changed or is of another evaluation"):
        segeval.read_evaluation(study / "out")


def test_an_interrupted_write_leaves_the_old_evaluation_and_nothing_else(evaluation, study, monkeypatch):
    out = study / "out"
    segeval.write_evaluation(evaluation, out)

    def interrupt(descriptor):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    for place in (out, study / "new"):
        with pytest.raises(KeyboardInterrupt):
            segeval.write_evaluation(evaluation, place)
    assert sorted(path.name for path in out.iterdir()) == ["cases.csv", "summary.json"]
    assert not (study / "new").exists()
    assert segeval.read_evaluation(out) == evaluation


def test_an_earlier_evaluation_is_replaced_and_nothing_else_is_touched(evaluation, study):
    out = study / "deep" / "out"
    segeval.write_evaluation(evaluation, out)
    (out / "mine.txt").write_text("keep")
    shorter = segeval.evaluate_pairs(pairs_of(study)[:2], LABELS)
    segeval.write_evaluation(shorter, out)
    assert sorted(path.name for path in out.iterdir()) == ["cases.csv", "mine.txt", "summary.json"]
    assert segeval.read_evaluation(out) == shorter


def test_an_output_that_is_a_file_is_refused(evaluation, study):
    out = study / "out"
    out.write_text("a file")
    for refuse in (segeval.check_evaluation_folder, lambda folder: segeval.write_evaluation(evaluation, folder)):
        with pytest.raises(NotWritableError, match=r"out cannot be written \(\S*/out is no folder\)"):
            refuse(out)
    assert out.read_text() == "a file"


def test_nothing_half_written_where_the_second_file_cannot_take_its_place(evaluation, study):
    """A folder named summary.json stands in the way: the temporary files must be gone afterwards."""
    out = study / "out"
    (out / "summary.json").mkdir(parents=True)
    (out / "summary.json" / "occupied").touch()
    with pytest.raises(NotWritableError):
        segeval.write_evaluation(evaluation, out)
    assert not [path for path in out.iterdir() if path.name.startswith(".")]


def test_reading_where_there_is_nothing(tmp_path):
    with pytest.raises(segeval.EvaluationNotFoundError, match=r"no summary\.json here"):
        segeval.read_evaluation(tmp_path)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: text[:100], "not an evaluation written by R2D2"),
        (lambda text: text.replace('"r2d2"', '"other"'), "no 'r2d2'"),
        (lambda text: text.replace('"schema_version": 2', '"schema_version": 99'), "must be 2; received 99"),
        (lambda text: text.replace('"case_id": "a"', '"case_id": "z"'), "do not fit together"),
    ],
)
def test_a_damaged_summary_is_named(evaluation, study, damage, message):
    path = segeval.write_evaluation(evaluation, study / "out")
    path.write_text(damage(path.read_text(encoding="utf-8")), encoding="utf-8")
    with pytest.raises(segeval.EvaluationFormatError, match=message):
        segeval.read_evaluation(study / "out")


def test_a_table_with_other_columns_is_named(evaluation, study):
    segeval.write_evaluation(evaluation, study / "out")
    (study / "out" / "cases.csv").write_text("case,dice\na,1\n")
    with pytest.raises(segeval.EvaluationFormatError, match="other columns"):
        segeval.read_evaluation(study / "out")


@pytest.mark.parametrize("name", ["summary.json", "cases.csv"])
def test_a_file_of_another_program_is_not_replaced(evaluation, study, name):
    """One of ours is, also alone, as a crash between the two could leave it."""
    out = study / "out"
    out.mkdir()
    (out / name).write_text('{"metric_per_case": []}\n')
    for refuse in (segeval.check_evaluation_folder, lambda folder: segeval.write_evaluation(evaluation, folder)):
        with pytest.raises(segeval.OutputFolderError, match=rf"{name} there would be replaced"):
            refuse(out)
    assert [path.name for path in out.iterdir()] == [name]
    segeval.write_evaluation(evaluation, study / "other")
    (study / "other" / name).replace(out / name)
    segeval.check_evaluation_folder(out)
    segeval.write_evaluation(evaluation, out)
