import nibabel
import numpy as np
import pytest
from PIL import Image

import segeval
from segeval import EvaluationInputError
from tests.segeval.studies import LABELS, files_of, pairs_of, without_paths


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


def test_pictures_in_pixels_and_in_mm_are_not_compared(pictures):
    """0.5 mm is no better than the pixel that it is."""
    for name, spacing_mm in (("pixels", None), ("mm", (0.5, 0.5))):
        evaluation = segeval.evaluate_folder(pictures / "reference", pictures / "prediction", spacing_mm=spacing_mm)
        segeval.write_evaluation(evaluation, pictures / name)
    tables = [segeval.read_scores(pictures / name) for name in ("pixels", "mm")]
    with pytest.raises(
        segeval.ComparisonError, match=r"hausdorff_mm, .* cannot be compared: the voxels of a are 1 × 1"
    ):
        segeval.compare(*tables)
    assert segeval.compare(*tables, metrics=["dice"]).rows[0].difference.mean == 0


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
    with pytest.raises(EvaluationInputError, match="they cover other voxels"):
        segeval.evaluate_folder(pictures / "reference", pictures / "other", {"cell": 255})


def test_a_slice_and_a_file_of_the_same_name_are_a_fault(tmp_path, write_label_map):
    for side in ("reference", "prediction"):
        write_label_map(tmp_path / side / "a.nii.gz", np.ones((4, 4, 2), np.uint8))
        write_label_map(tmp_path / side / "a#1.nii.gz", np.ones((4, 4), np.uint8))
    folders = tmp_path / "reference", tmp_path / "prediction"
    assert len(segeval.evaluate_folder(*folders).cases) == 2
    with pytest.raises(EvaluationInputError, match="case a#1: a file and a slice of another have this name"):
        segeval.evaluate_folder(*folders, unit="slice")
