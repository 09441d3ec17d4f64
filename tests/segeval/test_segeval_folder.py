import gzip
import math
import re
import shutil

import nibabel
import numpy as np
import pytest

import segeval
from segeval import CasePair, EvaluationInputError

LABELS = {"background": 0, "body": 1, "tail": 2}


def pairs_of(study, **notes):
    patients = {"a": "p1", "b": "p1", "c": "p2"}
    return [
        CasePair(
            case_id,
            study / "reference" / f"{case_id}.nii.gz",
            study / "prediction" / f"{case_id}.nii.gz",
            patients[case_id],
            notes.get(case_id),
        )
        for case_id in "abc"
    ]


def faults_of(pairs, labels=LABELS):
    with pytest.raises(EvaluationInputError) as caught:
        segeval.evaluate_pairs(pairs, labels)
    return caught.value.faults


def test_scores_of_a_study_worked_out_by_hand(study):
    """Case a: 8 voxels against 12, Dice .8 and 1. Case b: 1 and 0 (missed). Case c: 1 and no label 2."""
    evaluation = segeval.evaluate_pairs(pairs_of(study), LABELS)
    dices = [[score["dice"] for score in case.scores] for case in evaluation.cases]
    np.testing.assert_allclose(dices, [[0.8, 1], [1, 0], [1, math.nan]])
    body, tail = evaluation.means["dice"]["body"], evaluation.means["dice"]["tail"]
    assert (body.mean, body.n, body.left_out, body.patients) == (pytest.approx(2.8 / 3), 3, 0, 2)
    assert (tail.mean, tail.n, tail.left_out, tail.patients) == (0.5, 2, 1, 1)
    assert evaluation.foreground["dice"].mean == pytest.approx((2.8 / 3 + 0.5) / 2)
    missed = evaluation.cases[1].scores[1]
    assert missed.status == "prediction_empty"
    assert missed["hd95_mm"] == pytest.approx(math.sqrt(6**2 + 10**2 + 12**2))
    assert evaluation.cases[0].scores[0].reference_ml == pytest.approx(8 * 6 / 1000)
    assert evaluation.pooled.confusion.sum() == 3 * 6 * 5 * 4
    assert evaluation.pooled.image["pixel_accuracy"].mean == pytest.approx(1 - (4 + 4) / 360)
    assert evaluation.labels == {"body": 1, "tail": 2}


def test_patients_without_a_name_are_their_cases(study):
    pairs = segeval.pair_folders(study / "reference", study / "prediction")
    evaluation = segeval.evaluate_pairs(pairs, LABELS)
    assert [case.patient_id for case in evaluation.cases] == ["a", "b", "c"]
    assert evaluation.means["dice"]["body"].patients == 3


def test_notes_become_a_warning(study):
    note = "training case of this model"
    evaluation = segeval.evaluate_pairs(pairs_of(study, a=note, c=note), LABELS)
    assert [case.note for case in evaluation.cases] == [note, None, note]
    assert evaluation.warnings == (
        "2 of 3 cases are marked “training case of this model” and are included in every mean: a, c.",
    )
    assert segeval.evaluate_pairs(pairs_of(study), LABELS).warnings == ()


def test_a_label_that_never_occurs_and_a_lone_patient_are_warned_of(study):
    evaluation = segeval.evaluate_pairs(pairs_of(study)[:1], LABELS | {"fin": 3})
    assert any("confidence interval" in warning for warning in evaluation.warnings)
    assert any("“fin” is in no reference" in warning for warning in evaluation.warnings)
    assert math.isnan(evaluation.means["dice"]["fin"].mean)
    assert evaluation.foreground["dice"].mean == pytest.approx(0.9)


def test_progress_ends_with_everything_done(study):
    calls = []
    segeval.evaluate_pairs(pairs_of(study), LABELS, progress=lambda *call: calls.append(call))
    assert calls == [("evaluate", done, 3) for done in range(4)]


def test_labels_are_found_where_none_are_declared(study):
    assert segeval.find_labels(pairs_of(study)) == {"label 1": 1, "label 2": 2}
    evaluation = segeval.evaluate_folder(study / "reference", study / "prediction")
    assert evaluation.labels == {"label 1": 1, "label 2": 2}
    assert evaluation.means["dice"]["label 2"].mean == 0.5


def test_folders_with_patients_and_notes(study):
    evaluation = segeval.evaluate_folder(
        study / "reference",
        study / "prediction",
        LABELS,
        patient_ids={"a": "p", "b": "p"},
        notes={"b": "poor scan"},
    )
    assert [(case.patient_id, case.note) for case in evaluation.cases] == [
        ("p", None),
        ("p", "poor scan"),
        ("c", None),
    ]


def test_integers_stored_as_floats_and_trailing_axes_are_read(study, write_label_map):
    path = study / "prediction" / "a.nii.gz"
    image = nibabel.load(path)
    array = np.asanyarray(image.dataobj)
    before = segeval.evaluate_pairs(pairs_of(study), LABELS)
    write_label_map(path, array.astype(np.float32)[..., None], affine=image.affine)
    after = segeval.evaluate_pairs(pairs_of(study), LABELS)
    assert after.cases[0] == before.cases[0]


def test_nearly_equal_affines_are_equal(study, write_label_map):
    """Headers that were written through a quaternion differ in their last digits."""
    path = study / "prediction" / "a.nii.gz"
    image = nibabel.load(path)
    affine = image.affine.copy()
    affine[:3, 3] += 0.01
    write_label_map(path, np.asanyarray(image.dataobj), affine=affine)
    assert len(segeval.evaluate_pairs(pairs_of(study), LABELS).cases) == 3


# Faults --------------------------------------------------------------------------------------------


def change(study, case_id, function, dtype=None, affine=None):
    path = study / "prediction" / f"{case_id}.nii.gz"
    image = nibabel.load(path)
    array = function(np.array(image.dataobj))
    nibabel.save(nibabel.Nifti1Image(array, image.affine if affine is None else affine, dtype=dtype), path)
    return path


def set_voxel(value):
    def function(array):
        array = array.astype(np.float32) if isinstance(value, float) else array
        array[0, 0, 0] = value
        return array

    return function


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda array: array[:-1], r"has shape \(5, 5, 4\) but reference .*a.nii.gz has \(6, 5, 4\)"),
        (set_voxel(0.5), "labels must be integers; 1 voxels are not, such as 0.5"),
        (set_voxel(math.nan), "NaN or infinite voxels"),
        (set_voxel(math.inf), "NaN or infinite voxels"),
        (set_voxel(7), r"holds label 7 \(1 voxels\), not among the declared labels 0, 1, 2"),
        (lambda array: np.stack([array, array], axis=-1), r"2 or 3 axes; received shape \(6, 5, 4, 2\)"),
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
        (
            np.diag([1.0, 2.0, 3.2, 1.0]),
            r"spacing \(1, 2, 3\.2\) mm but reference .* has \(1, 2, 3\), .* more than 0\.01",
        ),
        (np.diag([2.0, 1.0, 3.0, 1.0]), r"spacing \(2, 1, 3\) mm but reference"),
        (np.diag([-1.0, 2.0, 3.0, 1.0]), r"the affines of .* 10 voxels apart, more than 0\.05"),
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
    assert all("unreadable or truncated" in fault and "\n" not in fault for fault in faults)


def test_an_uncompressed_file_cut_short_is_a_fault(study):
    path = study / "prediction" / "a.nii"
    nibabel.save(nibabel.load(study / "prediction" / "a.nii.gz"), path)
    path.write_bytes(path.read_bytes()[:-10])
    (fault,) = faults_of([CasePair("a", study / "reference" / "a.nii.gz", path)])
    assert "unreadable or truncated" in fault


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
    assert "case a: two reference files" in text


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


@pytest.mark.real_data
def test_real_label_maps(real_data):
    """Forty real references against themselves: perfect scores, and volumes as anatomy has them."""
    folder = real_data / "hippocampus_msd" / "labelsTr"
    paths = sorted(folder.glob("[!.]*.nii.gz"))[:40]
    pairs = [CasePair(path.name.removesuffix(".nii.gz"), path, path) for path in paths]
    evaluation = segeval.evaluate_pairs(pairs, {"anterior": 1, "posterior": 2})
    assert len(evaluation.cases) == 40
    assert evaluation.foreground["dice"].mean == 1
    assert evaluation.foreground["hd95_mm"].mean == 0
    volumes = [score.reference_ml for case in evaluation.cases for score in case.scores]
    assert 0.5 < np.mean(volumes) < 3  # half a hippocampus has one to two millilitres
