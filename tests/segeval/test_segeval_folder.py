import gzip
import math
import re
import shutil

import nibabel
import numpy as np
import pytest
import SimpleITK
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

import segeval
from segeval import CasePair, EvaluationInputError, MetricArgumentError
from segeval.files.label_map import case_id_of

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
        (set_voxel(7), r"holds label 7 \(1 voxel\), not among the declared labels 0, 1, 2"),
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
            r"spacing \(1, 2, 3\.2\) mm but reference .* \(1, 2, 3\), .* more than 0\.01",
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


# Formats, order and workers --------------------------------------------------------------------------


def without_paths(evaluation):
    """All numbers of an evaluation as text, where NaN equals NaN; where the files lie is left out."""
    cases = [(case.case_id, case.patient_id, case.note, case.scores, case.image) for case in evaluation.cases]
    means = (evaluation.means, evaluation.foreground, evaluation.per_case, evaluation.images)
    pooled = (evaluation.pooled.image, evaluation.pooled.labels, evaluation.pooled.confusion.tolist())
    return repr((evaluation.labels, cases, means, pooled, evaluation.warnings))


def convert(source, out, suffix):
    out.mkdir(parents=True, exist_ok=True)
    for path in source.iterdir():
        SimpleITK.WriteImage(SimpleITK.ReadImage(str(path)), str(out / f"{case_id_of(path)}{suffix}"), True)
    return out


@given(order=st.permutations("abc"))
@settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_order_of_pairs_changes_no_score(study, order):
    pairs = {pair.case_id: pair for pair in pairs_of(study)}
    expected = segeval.evaluate_pairs(pairs_of(study), LABELS)
    evaluation = segeval.evaluate_pairs([pairs[name] for name in order], LABELS)
    assert "".join(case.case_id for case in evaluation.cases) == "".join(order)
    in_order = sorted(evaluation.cases, key=lambda case: case.case_id)
    assert repr(in_order) == repr(list(expected.cases))
    for metric, means in expected.means.items():
        for name, mean in means.items():
            assert evaluation.means[metric][name].mean == pytest.approx(mean.mean, rel=1e-12, nan_ok=True)
    np.testing.assert_array_equal(evaluation.pooled.confusion, expected.pooled.confusion)


def test_the_number_of_workers_changes_nothing(study):
    """Nor what is asked for: conventions, regions and missing predictions reach the workers."""
    (study / "prediction" / "c.nii.gz").unlink()
    chosen = segeval.Conventions(metrics=("dice", "hd95_mm"), on_empty="infinite")
    choices = {"conventions": chosen, "on_missing": "worst"}
    labels = {"whole": {1, 2}, "tail": 2}
    alone, together = (
        segeval.evaluate_folder(study / "reference", study / "prediction", labels, workers=workers, **choices)
        for workers in (1, 2)
    )
    assert repr(together.cases) == repr(alone.cases)
    assert without_paths(together) == without_paths(alone)
    assert together.conventions == chosen
    assert together.cases[1].scores[1].values == {"dice": 0.0, "hd95_mm": math.inf}
    assert [score.status for score in together.cases[2].scores] == ["prediction_missing"] * 2


@pytest.mark.parametrize("suffix", [".nrrd", ".nhdr", ".mha", ".mhd", ".nii"])
def test_the_format_changes_nothing(study, suffix):
    """The predictions in another format than the references, then both."""
    expected = segeval.evaluate_folder(study / "reference", study / "prediction", LABELS)
    predictions = convert(study / "prediction", study / "converted_prediction", suffix)
    references = convert(study / "reference", study / "converted_reference", suffix)
    mixed = segeval.evaluate_folder(study / "reference", predictions, LABELS)
    converted = segeval.evaluate_folder(references, predictions, LABELS)
    assert without_paths(mixed) == without_paths(converted) == without_paths(expected)


def test_two_formats_of_one_case_are_a_fault(study):
    convert(study / "prediction", study / "prediction", ".nrrd")
    with pytest.raises(EvaluationInputError) as caught:
        segeval.evaluate_folder(study / "reference", study / "prediction", LABELS)
    assert len(caught.value.faults) == 3
    assert "case a: two prediction files" in caught.value.faults[0]


# Labels, regions, ignored voxels ---------------------------------------------------------------------


def test_regions(study):
    """Case b misses label 2, 4 of its 22 voxels: the whole is 2 x 18 / (18 + 22)."""
    whole = {"whole": (1, 2), "tail": 2}
    evaluation = segeval.evaluate_folder(study / "reference", study / "prediction", whole)
    reference, prediction = (np.asanyarray(nibabel.load(pair).dataobj) > 0 for pair in files_of(study, "b"))
    assert (reference.sum(), prediction.sum(), (reference & prediction).sum()) == (22, 18, 18)
    assert evaluation.cases[1].scores[0]["dice"] == pytest.approx(36 / 40)
    assert evaluation.labels == whole


def files_of(study, case_id):
    return [study / side / f"{case_id}.nii.gz" for side in ("reference", "prediction")]


def test_an_ignored_label(study, write_label_map):
    """Whatever the prediction says where the reference is 9 does not count, not even an undeclared label."""
    reference, prediction = files_of(study, "a")
    array = np.array(nibabel.load(reference).dataobj)
    predicted = np.array(nibabel.load(prediction).dataobj)
    array[(predicted == 1) & (array == 0)] = 9  # the four voxels that the prediction has too many
    array[0, 0, 0], predicted[0, 0, 0] = 9, 77
    for path, changed in ((reference, array), (prediction, predicted)):
        write_label_map(path, changed, affine=nibabel.load(path).affine)
    evaluation = segeval.evaluate_folder(study / "reference", study / "prediction", LABELS, ignore_label=9)
    assert evaluation.cases[0].scores[0]["dice"] == 1
    assert evaluation.ignore_label == 9
    found = segeval.evaluate_folder(study / "reference", study / "prediction", ignore_label=9, on_missing="worst")
    assert 9 not in found.labels.values()
    (fault,) = faults_of(pairs_of(study)[:1])[:1]
    assert "reference" in fault
    assert "label 9 (5 voxels), not among" in fault


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
    for choices in ({"on_missing": "skip"}, {"unit": "patient"}, {"slice_axis": 3}, {"spacing_mm": (1.0, -1.0)}):
        with pytest.raises(MetricArgumentError, match=next(iter(choices))):
            segeval.evaluate_pairs([], LABELS, **choices)
    by_name = segeval.Conventions(tolerance_mm={"body": 1.0})
    with pytest.raises(MetricArgumentError, match="without tail"):
        segeval.evaluate_pairs([], LABELS, conventions=by_name)


# Missing predictions ---------------------------------------------------------------------------------


def test_a_missing_prediction_can_be_scored_worst(study):
    (study / "prediction" / "c.nii.gz").unlink()
    evaluation = segeval.evaluate_folder(study / "reference", study / "prediction", LABELS, on_missing="worst")
    missing = evaluation.cases[2]
    diagonal = pytest.approx(math.sqrt(6**2 + 10**2 + 12**2))
    for score in missing.scores:
        assert (score.status, score["dice"], score["nsd"]) == ("prediction_missing", 0, 0)
        assert score["hd95_mm"] == score["assd_mm"] == diagonal
    assert evaluation.means["dice"]["body"].mean == pytest.approx((0.8 + 1 + 0) / 3)
    assert any("1 of 3 cases have no prediction" in warning for warning in evaluation.warnings)


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


# Slices ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_slices_are_cases_of_their_own(study, axis):
    volumes = segeval.evaluate_pairs(pairs_of(study), LABELS)
    slices = segeval.evaluate_pairs(pairs_of(study), LABELS, unit="slice", slice_axis=axis)
    count = (6, 5, 4)[axis]
    assert [case.case_id for case in slices.cases] == [f"{name}#{index}" for name in "abc" for index in range(count)]
    assert [case.patient_id for case in slices.cases] == ["p1"] * 2 * count + ["p2"] * count
    assert any("averages over slices and cannot be compared" in warning for warning in slices.warnings)
    np.testing.assert_array_equal(slices.pooled.confusion, volumes.pooled.confusion)
    plane = [slice(None)] * 3
    plane[axis] = 1
    reference, prediction = (np.asanyarray(nibabel.load(path).dataobj)[tuple(plane)] for path in files_of(study, "a"))
    spacing = tuple(np.delete((1.0, 2.0, 3.0), axis))
    expected = segeval.evaluate(reference, prediction, LABELS, spacing)
    assert repr(slices.cases[1].scores) == repr(expected.scores)
    assert slices.cases[0].scores[1].status == "both_empty"


# Pictures --------------------------------------------------------------------------------------------


@pytest.fixture
def pictures(tmp_path):
    """Two cases with the label 255: four rows of which the prediction has three, and one that agrees."""
    for name, height in (("a", 3), ("b", 4)):
        for side, rows in (("reference", 4), ("prediction", height)):
            (tmp_path / side).mkdir(exist_ok=True)
            mask = np.zeros((8, 10), np.uint8)
            mask[:rows, 2:8] = 255
            Image.fromarray(mask).save(tmp_path / side / f"{name}.png")
    return tmp_path


def test_a_folder_of_pictures(pictures):
    evaluation = segeval.evaluate_folder(pictures / "reference", pictures / "prediction")
    assert evaluation.labels == {"label 255": 255}
    first, second = (case.scores[0] for case in evaluation.cases)
    assert first["dice"] == pytest.approx(2 * 18 / (18 + 24))
    assert first["hausdorff_mm"] == 1
    assert second["dice"] == 1
    assert any("2 of 2 cases are pictures without a pixel size" in warning for warning in evaluation.warnings)


def test_pictures_with_a_pixel_size(pictures):
    evaluation = segeval.evaluate_folder(pictures / "reference", pictures / "prediction", spacing_mm=(0.5, 0.25))
    assert evaluation.cases[0].scores[0]["hausdorff_mm"] == 0.5
    assert not any("pixel size" in warning for warning in evaluation.warnings)


def test_pictures_against_nifti_as_r2d2_writes_it_for_them(pictures, write_label_map):
    """One slice, rows to posterior and columns to the left; transposed, it lies elsewhere."""
    expected = segeval.evaluate_folder(pictures / "reference", pictures / "prediction", {"cell": 255})
    affine = np.array([[0.0, -1, 0, 0], [-1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    for name in "ab":
        mask = np.asarray(Image.open(pictures / "prediction" / f"{name}.png"))
        write_label_map(pictures / "scans" / f"{name}.nii.gz", mask[..., None], affine=affine)
        write_label_map(pictures / "other" / f"{name}.nii.gz", mask[..., None])
    evaluation = segeval.evaluate_folder(pictures / "reference", pictures / "scans", {"cell": 255})
    assert without_paths(evaluation) == without_paths(expected)
    with pytest.raises(EvaluationInputError, match="the affines of prediction"):
        segeval.evaluate_folder(pictures / "reference", pictures / "other", {"cell": 255})


# Real data -------------------------------------------------------------------------------------------


@pytest.mark.real_data
def test_raters_against_their_fusion(real_data):
    """Segmentations of one tumour; Dice of whole tumour and core counted with NumPy alone."""
    folder = real_data / "brain_tcga_lgg_4ch"
    fused = folder / "TCGA-FG-6692_seg_fused.nii.gz"
    raters = sorted((folder / "raters").glob("*.nii.gz"))[:2]
    pairs = [CasePair(path.name.removesuffix(".nii.gz"), fused, path, "TCGA-FG-6692") for path in raters]
    regions = {"whole": (1, 2, 4), "core": (1, 4), "enhancing": 4}
    chosen = segeval.Conventions(metrics=("dice",))
    evaluation = segeval.evaluate_pairs(pairs, regions, conventions=chosen)
    reference = np.asanyarray(nibabel.load(fused).dataobj)
    for case, path in zip(evaluation.cases, raters, strict=True):
        prediction = np.asanyarray(nibabel.load(path).dataobj)
        for score, values in zip(case.scores, ((1, 2, 4), (1, 4), (4,)), strict=True):
            first, second = np.isin(reference, values), np.isin(prediction, values)
            assert score["dice"] == pytest.approx(2 * (first & second).sum() / (first.sum() + second.sum()))
    assert evaluation.means["dice"]["whole"].mean > 0.85
    assert any("fewer than two patients" in warning for warning in evaluation.warnings)


@pytest.mark.real_data
def test_dcmqi_label_maps_in_nrrd_against_their_dicom(real_data, tmp_path):
    """The liver is 1 in the NRRD and 255 in what ITK reads from the DICOM SEG; both lie in the same place."""
    folder = real_data / "dicom_ct_seg_dcmqi"
    SimpleITK.WriteImage(SimpleITK.ReadImage(str(folder / "liver.dcm")), str(tmp_path / "liver.mha"), True)
    pairs = [
        CasePair("alone", folder / "liver_seg.nrrd", tmp_path / "liver.mha"),
        CasePair("with spine", folder / "liver_spine_seg.nrrd", tmp_path / "liver.mha"),
    ]
    evaluation = segeval.evaluate_pairs(pairs, {"liver": (1, 255), "spine": 2})
    liver, spine = zip(*(case.scores for case in evaluation.cases), strict=True)
    assert [(score["dice"], score["hausdorff_mm"], score.n_ref) for score in liver] == [(1, 0, 107098)] * 2
    assert [score.status for score in spine] == ["both_empty", "prediction_empty"]
    assert spine[1].n_ref == 12439


@pytest.mark.real_data
def test_real_hippocampi_in_any_format(real_data, tmp_path):
    """Predictions: the references moved by a voxel."""
    for path in sorted((real_data / "hippocampus_msd" / "labelsTr").glob("[!.]*.nii.gz"))[:4]:
        image = SimpleITK.Cast(SimpleITK.ReadImage(str(path)), SimpleITK.sitkUInt8)
        moved = SimpleITK.GetImageFromArray(np.roll(SimpleITK.GetArrayFromImage(image), 1, axis=0))
        moved.CopyInformation(image)
        for suffix in (".nii.gz", ".nrrd", ".mha"):
            for side, written in (("reference", image), ("prediction", moved)):
                out = tmp_path / suffix / side
                out.mkdir(parents=True, exist_ok=True)
                SimpleITK.WriteImage(written, str(out / f"{case_id_of(path)}{suffix}"), True)
    labels = {"anterior": 1, "posterior": 2}
    evaluations = [
        segeval.evaluate_folder(
            tmp_path / suffix / "reference", tmp_path / suffix / "prediction", labels, workers=workers
        )
        for suffix, workers in ((".nii.gz", 1), (".nrrd", 2), (".mha", 2))
    ]
    assert len({without_paths(evaluation) for evaluation in evaluations}) == 1
    assert 0.5 < evaluations[0].foreground["dice"].mean < 0.95


@pytest.mark.real_data
@pytest.mark.parametrize(("folder", "instances"), [("nuclei_dsb2018/labels", True), ("em_isbi2012/masks", False)])
def test_real_pictures(real_data, tmp_path, folder, instances):
    """Nuclei as 0/255 masks, membranes as they are, against themselves with the last two rows missing."""
    for path in sorted((real_data / folder).glob("*.png"))[:6]:
        labels = np.asarray(Image.open(path))
        mask = np.where(labels > 0, 255, 0).astype(np.uint8) if instances else labels
        cut = mask.copy()
        cut[-2:] = 0
        for side, array in (("reference", mask), ("prediction", cut)):
            (tmp_path / side).mkdir(exist_ok=True)
            Image.fromarray(array).save(tmp_path / side / path.name)
    evaluation = segeval.evaluate_folder(tmp_path / "reference", tmp_path / "prediction")
    assert evaluation.labels == {"label 255": 255}
    assert 0.9 < evaluation.foreground["dice"].mean < 1
    assert evaluation.pooled.confusion[0, 1] == 0  # nothing was added
