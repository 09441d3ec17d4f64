"""What is scored: regions, labels that nobody declared, voxels that are not judged, labels that files have rounded."""

import json
from typing import get_args

import nibabel
import numpy as np
import pytest
import SimpleITK

import imgmed.formats
import imgmed.labels
import segeval.class_maps
import segeval.settings
from segeval import EvaluationInputError, MetricArgumentError
from segeval.labels import label_classes, label_key, label_text, parse_label


@pytest.fixture
def halves(tmp_path, write_label_map):
    """Function that writes a case: of ten voxels the reference marks the first four, the prediction the first two."""

    def write(true=1, predicted=1, rest=0, name="a"):
        reference, prediction = np.full((2, 10, 1, 1), rest, np.uint16)
        reference[:4], prediction[:2] = true, predicted
        write_label_map(tmp_path / "labelsTs" / f"{name}.nii.gz", reference)
        write_label_map(tmp_path / "predictions" / f"{name}.nii.gz", prediction)
        return tmp_path / "labelsTs", tmp_path / "predictions"

    return write


# Regions and other labels --------------------------------------------------------------------------


def test_the_integers_of_one_structure_are_one_class(halves):
    """A cell is 1 in the reference and 255 in the prediction: 8 of 10 voxels are right, not 6."""
    evaluation = segeval.evaluate_folder(*halves(1, 255), {"cell": (1, 255)})
    assert evaluation.cases[0].image == pytest.approx(
        {
            "pixel_accuracy": 8 / 10,
            "mean_accuracy": (6 / 6 + 2 / 4) / 2,
            "mean_iou": (6 / 8 + 2 / 4) / 2,
            "frequency_weighted_iou": (6 * 6 / 8 + 4 * 2 / 4) / 10,
        }
    )
    assert evaluation.pooled.image["pixel_accuracy"].mean == 0.8
    assert evaluation.pooled.confusion.tolist() == [[6, 0], [2, 2]]
    assert evaluation.pooled.class_values == (0, (1, 255))
    assert evaluation.pooled.classes == 2


def test_labels_that_regions_tell_apart_stay_classes():
    """BraTS: whole, core and enhancing divide the labels into three; of two that only share a region, one is left."""
    assert label_classes({"whole": (1, 2, 3), "core": (2, 3), "enhancing": 3}) == (0, 1, 2, 3)
    assert label_classes({"whole": (1, 2, 3), "core": 3}) == (0, (1, 2), 3)
    reference, prediction = [0, 1, 2, 3, 3], [0, 2, 1, 3, 1]
    case = segeval.evaluate(reference, prediction, {"whole": "1-3", "core": 3}, (1.0,))
    assert case.pixel_accuracy == 4 / 5
    assert [score["dice"] for score in case.scores] == [1.0, pytest.approx(2 / 3)]


def test_instance_numbers_are_one_structure(halves):
    """60,000 numbers of cells take no larger matrix than one, and are written by their run."""
    folders = halves(7, 59_999)
    evaluation = segeval.evaluate_folder(*folders, {"cell": range(1, 60_001)})
    assert evaluation.means["dice"]["cell"].mean == pytest.approx(2 * 2 / (4 + 2))
    assert evaluation.pooled.confusion.shape == (2, 2)
    path = segeval.write_evaluation(evaluation, folders[0].parent / "out")
    assert path.stat().st_size < 50_000
    assert json.loads(path.read_text())["r2d2"]["labels"] == {"cell": "1-60000"}
    assert segeval.read_evaluation(path.parent) == evaluation


def test_labels_that_nobody_declared_are_refused_or_background(halves):
    folders = halves(1, 1, rest=3)
    with pytest.raises(EvaluationInputError, match=r"holds label 3 \(6 voxels\), .* declare it, or let other labels"):
        segeval.evaluate_folder(*folders, {"organ": 1})
    evaluation = segeval.evaluate_folder(*folders, {"organ": 1}, other_labels="background")
    assert evaluation.means["dice"]["organ"].mean == pytest.approx(2 * 2 / (4 + 2))
    assert evaluation.pooled.image["pixel_accuracy"].mean == 0.8
    with pytest.raises(segeval.LabelRangeError, match="reference holds label 3, not among"):
        segeval.evaluate([1, 3], [1, 1], {"organ": 1}, (1.0,))
    case = segeval.evaluate_missing([1, 3, -1], {"organ": 1}, (1.0,), other_labels="background")
    assert (case.scores[0].n_ref, case.confusion.tolist()) == (1, [[2, 0], [1, 0]])
    with pytest.raises(MetricArgumentError, match="other_labels must be refuse or background; received 'keep'"):
        segeval.evaluate([1], [1], {"organ": 1}, (1.0,), other_labels="keep")


@pytest.mark.parametrize(("count", "is_warned_of"), [(49, False), (50, True)])
def test_very_many_labels_are_asked_about(tmp_path, write_label_map, count, is_warned_of):
    numbers = np.arange(count + 1, dtype=np.uint8).reshape(-1, 1, 1)
    for side in ("reference", "prediction"):
        write_label_map(tmp_path / side / "a.nii.gz", numbers)
    evaluation = segeval.evaluate_folder(tmp_path / "reference", tmp_path / "prediction", metrics=("dice",))
    assert any("labels were found, 1 to 50" in warning for warning in evaluation.warnings) is is_warned_of


@pytest.mark.parametrize(
    ("text", "label"), [("3", 3), ("2, 1", (1, 2)), ("1-3,7", (1, 2, 3, 7)), ("5-5", 5), ("0", 0), ("1,1", 1)]
)
def test_labels_as_text(text, label):
    assert parse_label(text) == label
    assert parse_label(label_text(label)) == label


@pytest.mark.parametrize("text", ["", "a", "1,", "-1", "1-", "3-1", "0-2", "65536", "1.0", "1--2", "9" * 5000])
def test_text_that_is_no_label(text):
    with pytest.raises(MetricArgumentError, match="received"):
        parse_label(text)
    with pytest.raises(MetricArgumentError, match="label 'a' must be an integer"):
        segeval.build_settings(choices={"labels": {"a": text}})


def test_keys_are_those_of_nnunet_as_far_as_it_has_any():
    assert [label_key(label) for label in (1, (1, 2), tuple(range(1, 40)))] == ["1", "(1, 2)", "(1-39)"]


# Voxels that are not judged ------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["labelsTs/..", "labelsTs", "predictions"])
def test_what_nnunet_calls_ignore_is_not_judged(halves, where):
    """Six of ten voxels are not annotated; of the others half are found."""
    folders = halves(1, 1, rest=0)
    for path in folders[0].iterdir():
        image = nibabel.load(path)
        array = np.asanyarray(image.dataobj).copy()
        array[4:] = 2
        nibabel.save(nibabel.Nifti1Image(array, image.affine), path)
    labels = {"background": 0, "liver": 1, "ignore": 2}
    index = folders[0].parent / where / "dataset.json"
    index.write_text(json.dumps({"labels": labels}), encoding="utf-8-sig")
    evaluation = segeval.evaluate_folder(*folders)
    assert (evaluation.labels, evaluation.ignore_label) == ({"label 1": 1}, 2)
    assert evaluation.pooled.confusion.tolist() == [[0, 0], [2, 2]]
    assert sum("label 2 in the reference are not judged" in warning for warning in evaluation.warnings) == 1
    scored = segeval.evaluate_folder(*folders, {"liver": 1, "rest": 2})
    assert (scored.ignore_label, scored.pooled.confusion.sum()) == (None, 10)
    asked = segeval.evaluate_folder(*folders, {"liver": 1}, ignore_label=2)
    assert (asked.pooled.confusion.tolist(), len(asked.warnings)) == ([[0, 0], [2, 2]], len(evaluation.warnings) - 1)
    index.write_text("{")
    with pytest.raises(EvaluationInputError, match="holds label 2"):
        segeval.evaluate_folder(*folders, {"liver": 1})


# Labels that files have rounded --------------------------------------------------------------------


def rounded(path, labels):
    """Whole numbers saved as nibabel saves a float array under the header of an int16 scan: with a scale factor."""
    path.parent.mkdir(exist_ok=True)
    image = nibabel.Nifti1Image(labels.astype(float), np.eye(4))
    image.header.set_data_dtype(np.int16)
    nibabel.save(image, path)
    stored = nibabel.load(path).get_fdata()
    assert np.abs(stored - labels).max() > 0
    return stored


@pytest.mark.parametrize("largest", [9, 300, 2035, 60_000], ids=str)
def test_labels_rounded_by_a_file_are_whole(tmp_path, largest):
    """Half a step of 16 bits over the range, in single precision: for 2035 (FreeSurfer) 0.0155 off."""
    labels = np.zeros((24, 24, 10), np.uint16)
    labels[4:12, 5:14, 2:7], labels[14:18, 14:18, 3:6] = largest // 3, largest
    stored = rounded(tmp_path / "ref" / "c.nii.gz", labels)
    rounded(tmp_path / "pred" / "c.nii.gz", labels)
    names = {"small": largest // 3, "large": largest}
    of_files = segeval.evaluate_folder(tmp_path / "ref", tmp_path / "pred", names)
    assert of_files.foreground["dice"].mean == 1.0
    of_arrays = segeval.evaluate(labels, stored, names, (1.0, 1.0, 1.0))
    assert [score["dice"] for score in of_arrays.scores] == [1.0, 1.0]
    ignored = segeval.evaluate(stored, labels, {"small": largest // 3}, (1.0, 1.0, 1.0), ignore_label=largest)
    assert ignored.confusion.sum() == labels.size - np.count_nonzero(labels == largest)
    assert segeval.confusion_of_labels(stored, stored, (0, largest // 3, largest)).trace() == labels.size


@pytest.mark.parametrize("largest", [0, 1, 3, 10, 11, 117, 2035, 19_999, 20_000, 65_535])
def test_preparing_and_evaluating_take_the_same_for_whole(largest):
    """A label map that prepare accepts is one that evaluate accepts; SegEval's arrays know nothing of ImgMed."""
    assert segeval.class_maps.whole_tolerance(largest) == imgmed.labels.whole_tolerance(largest)


@pytest.mark.parametrize("off", [1.1e-4, 0.3, 0.5])
def test_what_interpolation_leaves_is_not_whole(off):
    with pytest.raises(segeval.ArrayTypeError, match=r"reference .* 1 voxels do not, such as 2\.\d+; was it"):
        segeval.evaluate([0.0, 1.0, 2 + off], [0, 1, 2], {"a": 1, "b": 2}, (1.0,))


def test_masks_may_be_held_as_real_numbers():
    distances = segeval.surface_distances(np.array([1.0, 0, 0]), np.array([0, 0, 0.99999]), (2.0,))
    assert segeval.hausdorff_mm(distances) == 4.0
    assert segeval.match_lesions([1.0, 0.0], [1.0, 0.0]).found == 1


# Files that hold the same voxels in another order ---------------------------------------------------


def test_a_prediction_may_hold_the_voxels_in_another_order(tmp_path, write_label_map):
    """As nibabel's and SimpleITK's reorientation store them; scores do not change, where its affine says so."""
    reference = np.random.default_rng(0).integers(0, 3, (5, 6, 7)).astype(np.uint8)
    prediction = np.random.default_rng(1).integers(0, 3, (5, 6, 7)).astype(np.uint8)
    affine = np.array([[0.0, -1.5, 0, 30], [-1, 0, 0, 20], [0, 0, 3, -5], [0, 0, 0, 1]])
    for folder, array in (("ref", reference), ("same", prediction)):
        write_label_map(tmp_path / folder / "a.nii.gz", array, affine=affine)
    (tmp_path / "turned").mkdir()
    nibabel.save(nibabel.as_closest_canonical(nibabel.load(tmp_path / "same/a.nii.gz")), tmp_path / "turned/a.nii.gz")
    (tmp_path / "flipped").mkdir()
    image = SimpleITK.DICOMOrient(SimpleITK.ReadImage(str(tmp_path / "same/a.nii.gz")), "SPL")
    SimpleITK.WriteImage(image, str(tmp_path / "flipped/a.mha"))
    labels = {"a": 1, "b": 2}
    expected = segeval.evaluate(reference, prediction, labels, (1.0, 1.5, 3.0))
    for folder in ("same", "turned", "flipped"):
        evaluation = segeval.evaluate_folder(tmp_path / "ref", tmp_path / folder, labels)
        for score, other in zip(evaluation.cases[0].scores, expected.scores, strict=True):
            assert score.values == pytest.approx(other.values, rel=1e-6), folder
    write_label_map(tmp_path / "elsewhere" / "a.nii.gz", prediction[::-1], affine=np.eye(4))
    with pytest.raises(EvaluationInputError, match="does not lie on the voxels of reference"):
        segeval.evaluate_folder(tmp_path / "ref", tmp_path / "elsewhere", labels)


def test_the_thickness_of_a_single_slice_may_not_differ(tmp_path, write_label_map):
    """Its corners do not tell: both lie in one plane."""
    mask = np.ones((4, 4, 1), np.uint8)
    write_label_map(tmp_path / "ref" / "a.nii.gz", mask, (1.0, 1.0, 5.0))
    write_label_map(tmp_path / "pred" / "a.nii.gz", mask, (1.0, 1.0, 4.0))
    with pytest.raises(EvaluationInputError, match=r"\(1, 1, 4\) mm against \(1, 1, 5\) mm"):
        segeval.evaluate_folder(tmp_path / "ref", tmp_path / "pred", {"a": 1})


def test_sizes_are_in_mm_whatever_unit_the_header_is_in(tmp_path):
    """Voxels of 400 × 400 × 1000 µm: a distance of two voxels is 0.8 mm, and 16 of them are 0.00256 ml."""
    masks = np.zeros((2, 12, 12, 4), np.uint8)
    masks[0, 2:6, 2:6, 1], masks[1, 4:8, 2:6, 1] = 1, 1
    for folder, mask in zip(("ref", "pred"), masks, strict=True):
        (tmp_path / folder).mkdir()
        image = nibabel.Nifti1Image(mask, np.diag([400.0, 400.0, 1000.0, 1.0]))
        image.header.set_xyzt_units("micron")
        nibabel.save(image, tmp_path / folder / "a.nii.gz")
    score = segeval.evaluate_folder(tmp_path / "ref", tmp_path / "pred").cases[0].scores[0]
    assert (score["hausdorff_mm"], score.reference_ml) == (pytest.approx(0.8), pytest.approx(0.00256))
    as_mm = segeval.evaluate_folder(tmp_path / "ref", tmp_path / "pred", spatial_units="mm").cases[0].scores[0]
    assert as_mm["hausdorff_mm"] == pytest.approx(800)
    plain = nibabel.Nifti1Image(masks[1], np.diag([0.4, 0.4, 1.0, 1.0]))  # another program's, in mm
    nibabel.save(plain, tmp_path / "pred" / "a.nii.gz")
    mixed = segeval.evaluate_folder(tmp_path / "ref", tmp_path / "pred").cases[0].scores[0]
    assert mixed.values == pytest.approx(score.values, rel=1e-6)
    assert get_args(segeval.settings.SpatialUnits) == get_args(imgmed.formats.SpatialUnits)


# Files instead of folders ---------------------------------------------------------------------------


def test_files_are_taken_instead_of_folders(halves, tmp_path):
    references, predictions = halves(name="a")
    halves(name="b")
    a, b = references / "a.nii.gz", predictions / "b.nii.gz"
    for pair, name in (((a, b), "a"), ((a, predictions), "a"), ((references, b), "b")):
        evaluation = segeval.evaluate_folder(*pair, {"organ": 1})
        assert [case.case_id for case in evaluation.cases] == [name]
        assert evaluation.means["dice"]["organ"].mean == pytest.approx(2 * 2 / (4 + 2))
    missing = tmp_path / "missing.nii.gz"
    worst = segeval.evaluate_folder(a, missing, {"organ": 1}, on_missing="worst")
    assert worst.cases[0].scores[0].status == "prediction_missing"
    with pytest.raises(EvaluationInputError, match=r"missing\.nii\.gz: no such file or folder of prediction"):
        segeval.evaluate_folder(a, missing, {"organ": 1})
    b.unlink()
    with pytest.raises(EvaluationInputError, match=r"case b: no prediction in .* for b\.nii\.gz"):
        segeval.evaluate_folder(references / "b.nii.gz", predictions, {"organ": 1})
    (tmp_path / "notes.txt").touch()
    with pytest.raises(EvaluationInputError, match=r"notes\.txt: a reference must be a folder, or a label map whose"):
        segeval.evaluate_folder(tmp_path / "notes.txt", predictions, {"organ": 1})
