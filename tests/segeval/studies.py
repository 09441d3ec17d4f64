"""The study of `conftest.py` as its tests want it: paths, changed files, other formats, numbers to compare."""

import nibabel
import numpy as np
import pytest
import SimpleITK

import segeval
from segeval import CasePair, EvaluationInputError
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


def files_of(study, case_id):
    return [study / side / f"{case_id}.nii.gz" for side in ("reference", "prediction")]


def faults_of(pairs, labels=LABELS):
    with pytest.raises(EvaluationInputError) as caught:
        segeval.evaluate_pairs(pairs, labels)
    return caught.value.faults


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


def convert(source, out, suffix):
    out.mkdir(parents=True, exist_ok=True)
    for path in source.iterdir():
        SimpleITK.WriteImage(SimpleITK.ReadImage(str(path)), str(out / f"{case_id_of(path)}{suffix}"), True)
    return out


def without_paths(evaluation):
    """All numbers of an evaluation as text, where NaN equals NaN; where the files lie is left out."""
    cases = [(case.case_id, case.patient_id, case.note, case.scores, case.image) for case in evaluation.cases]
    means = (evaluation.means, evaluation.foreground, evaluation.per_case, evaluation.images)
    pooled = (evaluation.pooled.image, evaluation.pooled.labels, evaluation.pooled.confusion.tolist())
    return repr((evaluation.labels, cases, means, pooled, evaluation.warnings))
