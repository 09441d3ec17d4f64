import math

import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import segeval
from r2d2_base.errors import CancelledError
from r2d2_base.progress import StopRequest
from tests.segeval.studies import LABELS, convert, faults_of, files_of, pairs_of, without_paths

pytestmark = pytest.mark.slow


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


def test_a_stop_that_nobody_requests_changes_nothing(study):
    undisturbed = segeval.evaluate_pairs(pairs_of(study), LABELS, stop=StopRequest())
    assert undisturbed == segeval.evaluate_pairs(pairs_of(study), LABELS)


@pytest.mark.parametrize("workers", [None, 1, 2])
def test_a_request_to_stop_ends_it(study, workers):
    stop = StopRequest()
    with pytest.raises(CancelledError, match="no time"):
        segeval.evaluate_folder(
            study / "reference",
            study / "prediction",
            workers=workers,
            progress=lambda stage, done, total: stop.make("no time") if (stage, done) == ("evaluate", 1) else None,
            stop=stop,
        )


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


def test_sheared_volumes_are_warned_of(study, write_label_map):
    """Each slice lies 0.3 mm beside the one before, as a tilted gantry leaves them; a turned volume is upright."""
    sheared, turned = np.diag([1.0, 2.0, 3.0, 1.0]), np.diag([1.0, 2.0, 3.0, 1.0])
    sheared[1, 2] = 0.3
    cosine, sine = np.cos(0.4), np.sin(0.4)
    for turn in (
        [[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]],
        [[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]],
    ):
        turned[:3, :3] = turn @ turned[:3, :3]
    for name, affine in (("a", sheared), ("b", turned)):
        for path in files_of(study, name):
            write_label_map(path, np.asanyarray(nibabel.load(path).dataobj), affine=affine)
    (warning,) = segeval.evaluate_pairs(pairs_of(study), LABELS).warnings
    assert warning.startswith("1 of 3 cases have axes that are not at right angles")


def test_nearly_equal_affines_are_equal(study, write_label_map):
    """Headers that were written through a quaternion differ in their last digits."""
    path = study / "prediction" / "a.nii.gz"
    image = nibabel.load(path)
    affine = image.affine.copy()
    affine[:3, 3] += 0.01
    write_label_map(path, np.asanyarray(image.dataobj), affine=affine)
    assert len(segeval.evaluate_pairs(pairs_of(study), LABELS).cases) == 3


@given(order=st.permutations("abc"))
@settings(max_examples=6)
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


def test_regions(study):
    """Case b misses label 2, 4 of its 22 voxels: the whole is 2 x 18 / (18 + 22)."""
    whole = {"whole": (1, 2), "tail": 2}
    evaluation = segeval.evaluate_folder(study / "reference", study / "prediction", whole)
    reference, prediction = (np.asanyarray(nibabel.load(pair).dataobj) > 0 for pair in files_of(study, "b"))
    assert (reference.sum(), prediction.sum(), (reference & prediction).sum()) == (22, 18, 18)
    assert evaluation.cases[1].scores[0]["dice"] == pytest.approx(36 / 40)
    assert evaluation.labels == whole


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


def test_choices_by_name_and_folders_as_text(study):
    folders = str(study / "reference"), str(study / "prediction")
    choices = {"metrics": ("dice", "hd95_mm"), "on_empty": "infinite", "tolerance_mm": 2.0}
    start = segeval.Conventions(hd95="pooled")
    evaluation = segeval.evaluate_folder(*folders, LABELS, conventions=start, **choices)
    assert evaluation.conventions == segeval.Conventions(hd95="pooled", **choices)
    assert evaluation.cases[1].scores[1].values == {"dice": 0.0, "hd95_mm": math.inf}
    assert segeval.evaluate_pairs(pairs_of(study), LABELS, **choices).conventions.on_empty == "infinite"
    in_words = [
        segeval.CasePair(pair.case_id, str(pair.reference), str(pair.prediction))
        for pair in segeval.pair_folders(*folders)
    ]
    assert segeval.evaluate_pairs(in_words, LABELS, conventions=start, **choices) == evaluation


def test_numbers_of_numpy_become_numbers_of_python(study):
    """They come from tables, and JSON knows only Python's."""
    evaluation = segeval.evaluate_folder(
        study / "reference",
        study / "prediction",
        {"body": np.int16(1), "tail": np.uint8(2)},
        ignore_label=np.int64(9),
        seed=np.int64(3),
        patient_ids={"a": np.int64(7)},
    )
    segeval.write_evaluation(evaluation, study / "out")
    assert segeval.read_evaluation(study / "out") == evaluation
    assert (evaluation.ignore_label, evaluation.seed, evaluation.cases[0].patient_id) == (9, 3, "7")
