"""From a hospital's DICOM to a score with the real commands, and nothing of a patient on the way."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
import SimpleITK

from imgmed import PreparedDataset
from segeval import read_evaluation
from tests.hospital import PEOPLE, named_below, named_in, write_study

pytestmark = pytest.mark.end_to_end

R2D2 = str(Path(sys.executable).with_name("r2d2"))
SOURCE = "scans of Jane Doe/incoming"


def r2d2(*arguments: object, cwd: Path, code: int = 0) -> str:
    """Run a command; give all that it said."""
    environment = os.environ | {"XDG_CONFIG_HOME": str(cwd / "config")}
    done = subprocess.run(
        [R2D2, *map(str, arguments)], cwd=cwd, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == code, done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """Seven scans of six patients with DICOM SEG, of which one is damaged; all commands up to the report."""
    cwd = tmp_path_factory.mktemp("hospital")
    scans = write_study(cwd / SOURCE, "seg")
    damaged = next((cwd / SOURCE / PEOPLE[-1].folders[0] / "CT").iterdir())
    damaged.write_bytes(damaged.read_bytes()[:600])
    said = {"inspect": r2d2("inspect", SOURCE, "--all", cwd=cwd, code=2)}
    said["prepare"] = r2d2(
        *("prepare", SOURCE, "--out", "work/dataset", "--workers", 1),
        *("preparation.on_error=skip", "preparation.labels={tumour: 1, liver: 2}"),
        cwd=cwd,
    )
    data = ("--dataset", "work/dataset")
    said["train"] = r2d2(
        *("train", *data, "--run-dir", "work/run", "network.depth=1", "network.base_filters=4", "training.epochs=1"),
        cwd=cwd,
    )
    said["predict"] = r2d2("predict", "--model", "work/run", *data, "--split", "test", "--out", "work/test", cwd=cwd)
    judged = (*data, "--prediction", "work/test")
    said["evaluate"] = r2d2("evaluate", *judged, "--out", "work/scores", cwd=cwd)
    said["report"] = r2d2("report", *judged, "--evaluation", "work/scores", "--out", "work/report.html", cwd=cwd)
    return SimpleNamespace(cwd=cwd, said=said, scans=scans, dataset=PreparedDataset.read(cwd / "work/dataset"))


def test_nothing_that_was_written_or_said_names_a_patient(work: SimpleNamespace) -> None:
    assert named_below(work.cwd / "work") == {}
    assert {command: found for command, said in work.said.items() if (found := named_in(said))} == {}


def test_the_search_would_find_names(work: SimpleNamespace) -> None:
    assert named_in(f"{SOURCE}/CT") == {"jane", "doe"}
    assert len(named_below(work.cwd / SOURCE)) > len(PEOPLE)


def test_the_damaged_scan_is_left_out_with_a_reason(work: SimpleNamespace) -> None:
    assert len(work.dataset.cases) == len(work.scans) - 1
    (reason,) = work.dataset.description.skipped
    assert "/CT/IM" in reason and "header" in reason
    assert f"left out: {reason}" in work.said["prepare"]
    assert "a folder for each of 7 patients" in work.said["inspect"]


def test_two_visits_are_one_patient(work: SimpleNamespace) -> None:
    patients = {case.patient_id for case in work.dataset.cases.values()}
    assert len(patients) == len(work.dataset.cases) - 1
    assert any("count as one patient" in warning for warning in work.dataset.description.warnings)


def test_the_key_lies_with_the_users_settings_for_its_owner_alone(work: SimpleNamespace) -> None:
    key = work.cwd / "config" / "r2d2" / "patient_key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert not any(key.read_bytes() in path.read_bytes() for path in (work.cwd / "work").rglob("*") if path.is_file())


def test_predictions_lie_on_the_scans(work: SimpleNamespace) -> None:
    """In the voxel order of nibabel, against SimpleITK's reading of the same series."""
    manifest = json.loads((work.cwd / "work/test/prediction.json").read_text())
    assert {case["case_id"] for case in manifest["cases"]} == set(work.dataset.splits.test)
    for case in manifest["cases"]:
        check_grid(work.cwd / "work/test" / case["file"], work.scans[0].series)


def check_grid(label_map: Path, series: Path) -> None:
    """All series of the study have one geometry."""
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(series)))
    scan, found = reader.Execute(), nib.load(label_map)
    assert found.shape == scan.GetSize()
    for voxel in ((0, 0, 0), (5, 0, 0), (0, 7, 0), (3, 2, 4)):
        expected = np.array(scan.TransformIndexToPhysicalPoint(voxel)) * [-1, -1, 1]  # LPS -> RAS
        np.testing.assert_allclose(nib.affines.apply_affine(found.affine, voxel), expected, atol=1e-4)


def test_the_score_counts_every_test_case(work: SimpleNamespace) -> None:
    evaluation = read_evaluation(work.cwd / "work/scores")
    assert {case.case_id for case in evaluation.cases} == set(work.dataset.splits.test)
    assert set(work.dataset.labels) == {"background", "tumour", "liver", "tumour+liver"}


def test_folders_of_dicom_can_be_predicted(work: SimpleNamespace) -> None:
    """A patient's folder as it is: a series, a scout and a label map, which is no scan."""
    folder = work.cwd / SOURCE / PEOPLE[1].folders[0]
    nib.save(nib.Nifti1Image(np.zeros((24, 24, 6), np.uint8), np.eye(4)), folder / "label.nii.gz")
    asked = ("--model", "work/run", "--input", folder, "--probabilities", "--out", "elsewhere")
    assert "name the patients" in r2d2("predict", *asked, cwd=work.cwd)
    manifest = json.loads((work.cwd / "elsewhere/prediction.json").read_text())
    assert [(case["case_id"], len(case["source_sha256"])) for case in manifest["cases"]] == [("CT", 6), ("scout", 2)]
    assert [case["file"] for case in manifest["cases"]] == ["CT.dcm", "scout.dcm"]
    check_grid(work.cwd / "elsewhere/probabilities/liver/CT.nii.gz", folder / "CT")
