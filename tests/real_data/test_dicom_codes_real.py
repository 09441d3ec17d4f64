"""From a real CT series with a DICOM SEG to a DICOM SEG whose code stands in the settings."""

import json
import shutil
from pathlib import Path

import pydicom
import pytest

from imgmed import PreparationSettings, prepare_dataset
from tests.r2d2.prediction.studies import predict_scans, save_network

pytestmark = [pytest.mark.real_data, pytest.mark.tensorflow, pytest.mark.slow]

CODE = "99OURS:L1:Part of a liver:Tissue"


def test_a_code_of_the_settings_goes_all_the_way(real_data: Path, tmp_path: Path) -> None:
    source = real_data / "dicom_ct_seg_dcmqi"
    series = tmp_path / "study/patient/CT"
    series.mkdir(parents=True)
    for path in source.glob("0*.dcm"):
        shutil.copy(path, series)
    shutil.copy(source / "liver.dcm", series.parent)
    settings = PreparationSettings(label_codes={"Liver": CODE})
    dataset = prepare_dataset(tmp_path / "study", tmp_path / "data", settings, key_file=tmp_path / "key")
    assert json.loads((dataset.folder / "dataset.json").read_text())["settings"]["label_codes"] == {"Liver": CODE}
    model = save_network(dataset, tmp_path / "run")
    assert json.loads((model / "model.json").read_text())["label_codes"] == {"Liver": CODE}
    made = predict_scans(model, [series], tmp_path / "out")
    said = json.loads((made.folder / "prediction.json").read_text())
    (segment,) = pydicom.dcmread(made.folder / made.cases[0].file).SegmentSequence
    assert said["segment_numbers"] == {segment.SegmentLabel: segment.SegmentNumber} == {"Liver": 1}
    (kind,), (category,) = segment.SegmentedPropertyTypeCodeSequence, segment.SegmentedPropertyCategoryCodeSequence
    assert (kind.CodingSchemeDesignator, kind.CodeValue, kind.CodeMeaning) == ("99OURS", "L1", "Part of a liver")
    assert category.CodeMeaning == "Tissue"
