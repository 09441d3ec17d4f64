import gzip
import math
import re
import shutil

import nibabel
import numpy as np
import pytest

import segeval
from segeval import CasePair, EvaluationInputError, MetricArgumentError
from tests.segeval.studies import LABELS, change, convert, faults_of, pairs_of, set_voxel


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda array: array[:-1], r"has shape \(5, 5, 4\) but reference .*a.nii.gz has \(6, 5, 4\)"),
        (set_voxel(0.5), r"integer labels; 1 voxels do not, such as 0.5; was it interpolated"),
        (set_voxel(math.nan), "voxels that are NaN or infinite"),
        (set_voxel(math.inf), "voxels that are NaN or infinite"),
        (set_voxel(7), r"holds label 7 \(1 voxel\), not among the declared labels 0, 1, 2"),
        (lambda array: np.stack([array, array], axis=-1), r"one integer for each voxel; received 2, such as \(0, 0\)"),
    ],
    ids=["shape", "fraction", "nan", "infinite", "label", "axes"],
)
def test_a_fault_in_a_prediction_is_named_with_its_file(study, function, message):
    path = change(study, "a", function)
    (fault,) = faults_of(pairs_of(study))
    assert fault.startswith("case a: ")
    assert str(path) in fault
    with pytest.raises(EvaluationInputError, match=message):
        segeval.evaluate_pairs(pairs_of(study), LABELS)


@pytest.mark.parametrize(
    ("affine", "message"),
    [
        (np.diag([1.0, 2.0, 3.2, 1.0]), r"b.nii.gz: voxels of \(1, 2, 3\.2\) mm against \(1, 2, 3\) mm; resample"),
        (np.diag([2.0, 1.0, 3.0, 1.0]), r"voxels of \(2, 1, 3\) mm against \(1, 2, 3\) mm"),
        (np.diag([-1.0, 2.0, 3.0, 1.0]), r"they cover other voxels: .* beginning at voxel \(-5, 0, 0\)"),
    ],
    ids=["spacing", "transposed", "flipped"],
)
def test_another_affine_is_a_fault(study, affine, message):
    """Flipped, the first of six voxels of 1 mm lies at 0 and the last at -5 instead of 5."""
    change(study, "b", lambda array: array, affine=affine)
    (fault,) = faults_of(pairs_of(study))
    assert fault.startswith("case b: ")
    assert re.search(message, fault)


def test_damaged_files_are_faults(study):
    whole = (study / "prediction" / "a.nii.gz").read_bytes()
    (study / "prediction" / "a.nii.gz").write_bytes(whole[: len(whole) // 2])
    (study / "prediction" / "b.nii.gz").write_bytes(b"")
    (study / "prediction" / "c.nii.gz").write_bytes(gzip.compress(b"not a scan"))
    faults = faults_of(pairs_of(study))
    assert [fault.split(":")[0] for fault in faults] == ["case a", "case b", "case c"]
    assert all("truncated or damaged" in fault or "not a NIfTI file" in fault for fault in faults)
    assert all("\n" not in fault for fault in faults)


def test_an_uncompressed_file_cut_short_is_a_fault(study):
    path = study / "prediction" / "a.nii"
    nibabel.save(nibabel.load(study / "prediction" / "a.nii.gz"), path)
    path.write_bytes(path.read_bytes()[:-10])
    (fault,) = faults_of([CasePair("a", study / "reference" / "a.nii.gz", path)])
    assert "truncated or damaged" in fault


def test_a_file_that_is_no_image_is_a_fault(study):
    path = study / "prediction" / "a.nii.gz"
    path.write_text("label,value\n")
    (fault,) = faults_of(pairs_of(study)[:1])
    assert str(path) in fault


def test_all_faults_of_all_cases_are_listed_together(study):
    (study / "prediction" / "a.nii.gz").unlink()
    change(study, "b", set_voxel(9))
    change(study, "c", lambda array: array[:-1])
    pairs = [*pairs_of(study), pairs_of(study)[1]]
    faults = faults_of(pairs)
    assert len(faults) == 4
    for part in ("case b: given more than once", "a.nii.gz: no such file", "label 9", "has shape (5, 5, 4)"):
        assert any(part in fault for fault in faults), part


def test_no_cases_is_a_fault():
    assert faults_of([]) == ("there are no cases to evaluate",)


def test_folders_that_do_not_match(study):
    (study / "prediction" / "b.nii.gz").rename(study / "prediction" / "d.nii.gz")
    shutil.copy(study / "reference" / "a.nii.gz", study / "reference" / "a.nii")
    for name in (".hidden.nii.gz", "notes.txt"):
        (study / "prediction" / name).touch()
    with pytest.raises(EvaluationInputError) as caught:
        segeval.pair_folders(study / "reference", study / "prediction")
    text = "\n".join(caught.value.faults)
    assert len(caught.value.faults) == 3
    assert "case b: no prediction in" in text
    assert "case d: no reference in" in text
    assert "case a: 2 reference files" in text


def test_evaluating_folders_lists_pairing_and_content_together(study):
    (study / "prediction" / "b.nii.gz").unlink()
    change(study, "c", set_voxel(9))
    with pytest.raises(EvaluationInputError) as caught:
        segeval.evaluate_folder(study / "reference", study / "prediction", LABELS)
    assert len(caught.value.faults) == 2
    assert "no prediction" in caught.value.faults[0]
    assert "label 9" in caught.value.faults[1]


def test_folders_that_are_missing_or_empty(study):
    (study / "empty").mkdir()
    with pytest.raises(EvaluationInputError, match=r"(?s)nowhere: no such folder.*empty: no prediction label maps"):
        segeval.pair_folders(study / "nowhere", study / "empty")


@pytest.mark.parametrize("on_missing", ["error", "worst"])
def test_a_case_whose_files_are_links_that_lead_nowhere_is_not_left_out_in_silence(study, on_missing):
    """As a version control of data leaves files that were not fetched."""
    for side in ("reference", "prediction"):
        (study / side / "d.nii.gz").symlink_to(study / "store" / f"{side} of d")
    with pytest.raises(EvaluationInputError, match=r"case d: reference .*d\.nii\.gz: no such file \(a link to"):
        segeval.evaluate_folder(study / "reference", study / "prediction", LABELS, on_missing=on_missing)


def test_two_formats_of_one_case_are_a_fault(study):
    convert(study / "prediction", study / "prediction", ".nrrd")
    with pytest.raises(EvaluationInputError) as caught:
        segeval.evaluate_folder(study / "reference", study / "prediction", LABELS)
    assert len(caught.value.faults) == 3
    assert "case a: 2 prediction files" in caught.value.faults[0]


def test_an_ignored_label_in_the_prediction_is_a_fault(study):
    change(study, "a", set_voxel(9))
    with pytest.raises(EvaluationInputError, match=r"prediction .* holds label 9 \(1 voxel\)"):
        segeval.evaluate_folder(study / "reference", study / "prediction", LABELS, ignore_label=9)


def test_many_undeclared_labels_are_counted_and_cut(study, write_label_map):
    path = study / "prediction" / "a.nii.gz"
    image = nibabel.load(path)
    array = np.arange(120, dtype=np.int16).reshape(6, 5, 4)
    write_label_map(path, array, affine=image.affine)
    (fault,) = faults_of(pairs_of(study)[:1])
    assert "label 3 (1 voxel), 4 (1 voxel)" in fault
    assert "and 109 more, not among the declared labels 0, 1, 2" in fault  # 117 labels, 8 of them named


def test_wrong_choices_are_refused_before_files_are_read():
    wrong = (
        *({"on_missing": "skip"}, {"unit": "patient"}, {"slice_axis": 3}, {"slice_axis": 1.0}),
        *({"spacing_mm": (1.0, -1.0)}, {"seed": -1}, {"seed": None}, {"seed": 1.5}, {"seed": True}),
        *({"ignore_label": 1.5}, {"on_empty": "mine"}, {"on_emty": "monai"}),
    )
    for choices in wrong:
        with pytest.raises(MetricArgumentError, match=next(iter(choices))):
            segeval.evaluate_pairs([], LABELS, **choices)
        with pytest.raises(MetricArgumentError, match=next(iter(choices))):
            segeval.evaluate_folder("nowhere", "nothing", LABELS, **choices)
    by_name = segeval.Conventions(tolerance_mm={"body": 1.0})
    with pytest.raises(MetricArgumentError, match="without tail"):
        segeval.evaluate_pairs([], LABELS, conventions=by_name)


def test_scoring_missing_predictions_excuses_nothing_else(study):
    """Not a prediction too many, not a missing reference, not an empty folder."""
    (study / "prediction" / "b.nii.gz").rename(study / "prediction" / "d.nii.gz")
    with pytest.raises(EvaluationInputError, match="case d: no reference"):
        segeval.evaluate_folder(study / "reference", study / "prediction", LABELS, on_missing="worst")
    (study / "reference" / "a.nii.gz").unlink()
    with pytest.raises(EvaluationInputError, match=r"case a: reference .* no such file"):
        segeval.evaluate_pairs(pairs_of(study)[:1], LABELS, on_missing="worst")
    (study / "empty").mkdir()
    with pytest.raises(EvaluationInputError, match="no prediction label maps"):
        segeval.evaluate_folder(study / "reference", study / "empty", LABELS, on_missing="worst")


def test_hundreds_of_faults_are_counted_in_the_message(tmp_path):
    pairs = [CasePair(f"c{number:03}", tmp_path / "r.nii", tmp_path / "p.nii") for number in range(150)]
    with pytest.raises(EvaluationInputError) as caught:
        segeval.evaluate_pairs(pairs, LABELS)
    assert len(caught.value.faults) == 300
    assert str(caught.value).startswith("300 faults; nothing was evaluated:")
    assert str(caught.value).endswith("\n  and 200 more")
