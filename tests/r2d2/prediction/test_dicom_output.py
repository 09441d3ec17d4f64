"""Label maps of DICOM series: DICOM SEG by default, RTSTRUCT and NIfTI on request, judged like any other."""

import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest

from imgmed import PreparationSettings, PreparedDataset, prepare_dataset, read_volume, write_volume
from imgmed.formats.dicom_labels import read_dicom_label_map
from imgmed.volume import Volume
from r2d2.errors import PredictionError
from r2d2.prediction.manifest import read_manifest
from r2d2.prediction.settings import InferenceSettings, PredictionSettings
from r2d2.tasks.evaluation import EvaluateSettings, evaluate
from r2d2.tasks.prediction import Prediction, PredictSettings, predict, segment
from segeval import EvaluationInputError
from tests.dicom_files import write_series
from tests.hospital import AFFINE, CHEST, PEOPLE, Scan, named_below, write_study
from tests.r2d2.prediction.studies import predict_cases, predict_scans, save_network

pytestmark = [pytest.mark.tensorflow, pytest.mark.slow]


class Study:
    """Three patients, prepared, a network of random weights, and what it predicts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.scans: list[Scan] = write_study(folder / "study", "seg", PEOPLE[:3])
        self.dataset: PreparedDataset = prepare_dataset(
            folder / "study", folder / "data", PreparationSettings(), key_file=folder / "key"
        )
        self.model = save_network(self.dataset, folder / "run")

    def predict(self, out: str, output: str | None, **how: object) -> Prediction:
        inference = InferenceSettings(dicom_output=output, **how)  # type: ignore[arg-type]
        return predict_scans(
            self.model, [self.scans[0].series, self.scans[1].series], self.folder / out, None, inference
        )


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return Study(tmp_path_factory.mktemp("dicom"))


@pytest.fixture(scope="module")
def nifti(study: Study) -> Prediction:
    return study.predict("nifti", "nifti")


def test_a_series_gives_a_segmentation_of_it(study: Study, nifti: Prediction) -> None:
    """The same voxels at the same places as NIfTI, and the patient's name."""
    made = study.predict("seg", None, probabilities=True)
    assert {case.file for case in made.cases} == {f"{case.case_id}.dcm" for case in nifti.cases}
    for scan, case, other in zip(study.scans, made.cases, nifti.cases, strict=False):
        expected = read_volume(nifti.folder / other.file)
        found = read_dicom_label_map(made.folder / case.file, expected.shape, expected.affine)
        np.testing.assert_array_equal(found, expected.array)
        assert len(np.unique(found)) > 2
        dataset = pydicom.dcmread(made.folder / case.file)
        source = pydicom.dcmread(next(scan.series.iterdir()))
        assert dataset.ReferencedSeriesSequence[0].SeriesInstanceUID == source.SeriesInstanceUID
        assert str(dataset.PatientName) == scan.person.name
        assert dataset.DeviceSerialNumber == made.manifest.model_sha256
        assert case.volumes_ml == other.volumes_ml
    assert {path.name for path in (made.folder / "probabilities/liver").iterdir()} == {
        f"{case.case_id}.nii.gz" for case in made.cases
    }


def test_numbers_of_segments_are_recorded(study: Study, tmp_path: Path) -> None:
    """Of labels whose values are no numbers of segments, in their order and not in that of their names."""
    write_study(tmp_path / "study", "nifti", PEOPLE[:2])
    labels = {"liver": 300, "tumour": 4}
    settings = PreparationSettings(series="thorax", remap_labels={1: 300, 2: 4}, labels=labels)
    dataset = prepare_dataset(tmp_path / "study", tmp_path / "data", settings, key_file=tmp_path / "key")
    model, series = save_network(dataset, tmp_path / "run"), study.scans[0].series

    def written(output: str) -> tuple[dict[str, int] | None, pydicom.Dataset]:
        made = predict_scans(model, [series], tmp_path / output, None, InferenceSettings(dicom_output=output))
        said = json.loads((made.folder / "prediction.json").read_text())
        assert said["labels"] == {"background": 0, "tumour": 4, "liver": 300}
        read = read_manifest(made.folder)
        assert read is not None and read.segment_numbers == said.get("segment_numbers", {})
        file = made.folder / made.cases[0].file
        return said.get("segment_numbers"), pydicom.dcmread(file) if file.suffix == ".dcm" else pydicom.Dataset()

    recorded, seg = written("seg")
    assert recorded == {one.SegmentLabel: one.SegmentNumber for one in seg.SegmentSequence} == {"tumour": 1, "liver": 2}
    assert [one.SegmentDescription for one in seg.SegmentSequence] == ["label 4", "label 300"]
    recorded, structures = written("rtstruct")
    assert recorded == {one.ROIName: one.ROINumber for one in structures.StructureSetROISequence}
    assert {one.ROINumber: one.ROIDescription for one in structures.StructureSetROISequence} == {
        1: "label 4",
        2: "label 300",
    }
    assert written("nifti")[0] is None


def test_structures_on_request(study: Study, nifti: Prediction) -> None:
    made = study.predict("rtstruct", "rtstruct")
    for case, other in zip(made.cases, nifti.cases, strict=True):
        expected = read_volume(nifti.folder / other.file)
        found = read_dicom_label_map(made.folder / case.file, expected.shape, expected.affine)
        np.testing.assert_array_equal(found, expected.array)
    assert pydicom.dcmread(made.folder / made.cases[0].file).Modality == "RTSTRUCT"


def test_a_dataset_that_hides_patients_gives_nifti(study: Study) -> None:
    dataset, case_ids = study.dataset, list(study.dataset.cases)[:1]
    made = predict_cases(study.model, dataset, case_ids, study.folder / "plain")
    assert made.cases[0].file.endswith(".nii.gz")
    assert named_below(made.folder) == {}
    asked = PredictSettings(
        model=study.model,
        dataset=dataset.folder,
        case_ids=tuple(case_ids),
        out=study.folder / "none",
        inference=InferenceSettings(dicom_output="seg"),
    )
    with pytest.raises(PredictionError, match=r"no such file.*--dicom-output nifti"):
        predict(asked)


def test_segmentations_are_judged_like_other_label_maps(study: Study, nifti: Prediction) -> None:
    """Against NIfTI, as predictions and as references; the report draws them."""
    made = {"nifti": nifti, "seg": study.predict("judged", "seg"), "rtstruct": study.predict("drawn", "rtstruct")}
    references = study.folder / "references"
    references.mkdir()
    for scan, case in zip(study.scans, nifti.cases, strict=False):
        array = np.where(scan.masks["liver"], 1, 0) + 2 * scan.masks["tumour"]
        write_volume(references / f"{case.case_id}.nii.gz", Volume(array.astype(np.uint8), AFFINE))
    scores = {}
    for kind, prediction in made.items():
        out, is_drawn = study.folder / f"scores_{kind}", kind == "seg"
        judged = EvaluateSettings(reference=references, prediction=prediction.folder, out=out, report=is_drawn)
        result = evaluate(judged)
        assert not is_drawn or (result.report is not None and "No picture" not in result.report.read_text())
        scores[kind] = [(case.case_id, case.scores, case.image) for case in result.evaluation.cases]
    assert scores["nifti"] == scores["seg"] == scores["rtstruct"]
    references, out = made["seg"].folder, study.folder / "turned"
    turned = evaluate(EvaluateSettings(reference=references, prediction=nifti.folder, out=out, report=False))
    dice = [score.values["dice"] for case in turned.evaluation.cases for score in case.scores]
    assert len(dice) > 2 and set(dice) == {1.0}
    with pytest.raises(EvaluationInputError, match="how far its scan reaches"):
        evaluate(EvaluateSettings(reference=references, prediction=references, out=study.folder / "both"))


def test_series_that_cannot_be_referred_to_are_named_at_once(study: Study, tmp_path: Path) -> None:
    """Before anything is predicted; NIfTI needs no reference; a picture of a study is none of them."""
    shutil.copytree(study.scans[0].series, tmp_path / "in/good")
    array = np.zeros((24, 24, 6), np.int16)

    def without(_: int, dataset: pydicom.Dataset) -> None:
        del dataset.FrameOfReferenceUID

    write_series(tmp_path / "in/bad", array, AFFINE, change=without, description=CHEST)
    inputs = [tmp_path / "in/good", tmp_path / "in/bad"]
    with pytest.raises(PredictionError, match=r"no FrameOfReferenceUID.*--dicom-output nifti") as error:
        predict_scans(study.model, inputs, tmp_path / "out", PredictionSettings(on_error="stop"))
    assert "\n" not in str(error.value) and not (tmp_path / "out").exists()
    made = predict_scans(study.model, inputs, tmp_path / "some")
    assert [case.case_id for case in made.cases] == ["good"] and "FrameOfReferenceUID" in made.left_out[0]
    plain = predict_scans(study.model, inputs, tmp_path / "all", None, InferenceSettings(dicom_output="nifti"))
    assert {case.file for case in plain.cases} == {"good.nii.gz", "bad.nii.gz"}
    arrays = segment(PredictSettings(model=study.model, inputs=tuple(inputs)))
    assert [scan.case.case_id for scan in arrays] == ["good", "bad"]  # nothing is written that would refer to them


def test_other_files_stay_of_their_kind(study: Study, tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(study.scans[0].array, AFFINE), tmp_path / "a.nii")
    made = predict_scans(
        study.model, [tmp_path / "a.nii"], tmp_path / "out", None, InferenceSettings(dicom_output="seg")
    )
    assert made.cases[0].file == "a.nii"


def test_codes_of_the_card_are_written(study: Study, tmp_path: Path) -> None:
    shutil.copytree(study.model, tmp_path / "run")
    card = json.loads((tmp_path / "run/model.json").read_text())
    card["label_codes"] = {"liver+tumour": "SCT:108369006:Neoplasm"}
    (tmp_path / "run/model.json").write_text(json.dumps(card))
    made = predict_scans(tmp_path / "run", [study.scans[0].series], tmp_path / "out")
    segments = pydicom.dcmread(made.folder / made.cases[0].file).SegmentSequence
    codes = {one.SegmentLabel: one.SegmentedPropertyTypeCodeSequence[0].CodeValue for one in segments}
    assert codes == {"liver": "10200004", "tumour": "108369006", "liver+tumour": "108369006"}
