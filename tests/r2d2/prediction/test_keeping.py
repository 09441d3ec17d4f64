"""What a call leaves behind: results so far, what is left out, and what is known of a scan."""

import csv
import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from imgmed import PreparedDataset
from r2d2.errors import PredictionError
from r2d2.prediction.manifest import read_manifest
from r2d2.prediction.member import Member
from r2d2.prediction.predictor import Predictor
from r2d2.prediction.settings import PredictionSettings
from r2d2_base.errors import CancelledError
from r2d2_base.progress import StopRequest
from tests.r2d2.prediction.studies import UPRIGHT, bytes_of, predict_cases, predict_scans, save_scan

pytestmark = pytest.mark.tensorflow

AT_THE_FIRST = PredictionSettings(on_error="stop")


def test_what_the_network_that_it_started_from_was_trained_on_is_known_too(
    dataset: PreparedDataset, model: Path, tmp_path: Path
) -> None:
    run, tested = shutil.copytree(model, tmp_path / "run"), dataset.case(dataset.splits.test[0]).image_sha256
    card = json.loads((run / "model.json").read_text())
    seen = [("train", tested), ("validation", ("f" * 64,))]
    card["seen_before"] = [{"case_id": "a", "split": split, "image_sha256": files} for split, files in seen]
    (run / "model.json").write_text(json.dumps(card))
    assert [Predictor(model).card.split_of(files) for _, files in seen] == ["test", None]
    assert [Predictor(run).card.split_of(files) for _, files in seen] == ["train", "validation"]


def test_a_training_scan_is_known_by_its_content(dataset: PreparedDataset, model: Path, tmp_path: Path) -> None:
    trained = dataset.source_root / f"images/{dataset.splits.train[0]}.nii.gz"
    (tmp_path / "scans").mkdir()
    (tmp_path / "scans/renamed.nii.gz").write_bytes(trained.read_bytes())
    save_scan(tmp_path / "scans/unseen.nii", (13, 15, 5), seed=7)
    stages: list[tuple[str, int, int]] = []
    done = predict_scans(model, [tmp_path / "scans"], tmp_path / "out", progress=lambda *event: stages.append(event))
    assert [(case.case_id, case.split) for case in done.cases] == [("renamed", "train"), ("unseen", None)]
    assert stages == [(stage, number, 2) for stage in ("checking", "predicting") for number in range(3)]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "prediction.json",
        "renamed.nii.gz",
        "unseen.nii",
        "volumes.csv",
    ]
    with (tmp_path / "out/volumes.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    names = {name: value for name, value in dataset.labels.items() if value}
    cases = [(case, name) for case in ("renamed", "unseen") for name in names]
    assert [(row["case_id"], row["label"]) for row in rows] == cases
    label_map = nib.load(tmp_path / "out/unseen.nii").get_fdata()
    for row in rows[-len(names) :]:  # voxels of 3 cubic millimetres
        voxels = np.count_nonzero(label_map == names[row["label"]])
        assert float(row["ml"]) == pytest.approx(0.003 * voxels, rel=1e-5)
    assert done.cases[1].volumes_ml == pytest.approx({row["label"]: float(row["ml"]) for row in rows[-len(names) :]})


def test_results_so_far_are_kept_and_a_second_call_goes_on(model: Path, tmp_path: Path) -> None:
    """A NaN shows only when voxels are read; a scan of two channels is refused before anything is predicted."""
    scans = tmp_path / "scans"
    arrays = {name: save_scan(scans / f"{name}.nii.gz", (13, 15, 5), seed) for seed, name in enumerate("abcd")}
    predict_scans(model, [scans], tmp_path / "whole")
    bad = arrays["c"].copy()
    bad[3, 3, 3] = np.nan
    nib.save(nib.Nifti1Image(bad, UPRIGHT), scans / "c.nii.gz")
    with pytest.raises(
        PredictionError, match=r"c\.nii\.gz: 1 NaN .*; 2 label maps are kept, and the same command goes on"
    ):
        predict_scans(model, [scans], tmp_path / "out", AT_THE_FIRST)
    assert not (tmp_path / "out").exists()
    save_scan(scans / "e.nii.gz", (13, 15, 5, 2), seed=5)
    with pytest.raises(PredictionError, match=r"e\.nii\.gz: 2 channels; needed: 1 \(image\).*--on-error skip leaves"):
        predict_scans(model, [scans], tmp_path / "out", AT_THE_FIRST)
    told: list[tuple[str, int, int] | str] = []
    done = predict_scans(
        model, [scans], tmp_path / "out", progress=lambda *event: told.append(event), on_notice=told.append
    )
    assert [case.case_id for case in done.cases] == ["a", "b", "d"] and done.kept == 2
    assert "e.nii.gz: 2 channels" in done.left_out[0] and "c.nii.gz: 1 NaN" in done.left_out[1]
    assert told.index(f"left out: {done.left_out[0]}") < told.index(("predicting", 0, 4)), "before the long work"
    assert told.index(f"left out: {done.left_out[1]}") == told.index(("predicting", 3, 4)) - 1
    assert told[-1] == ("predicting", 4, 4) and read_manifest(tmp_path / "out") == done.manifest
    whole, out = bytes_of(tmp_path / "whole"), bytes_of(tmp_path / "out")
    assert all(out[f"{name}.nii.gz"] == whole[f"{name}.nii.gz"] for name in "abd")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "scans", "whole"]


def test_a_call_that_is_cancelled_is_gone_on_with(dataset: PreparedDataset, model: Path, tmp_path: Path) -> None:
    stop, case_ids = StopRequest(), sorted(dataset.cases)

    def cancel(stage: str, done: int, total: int) -> None:
        if done == 2:
            stop.make("enough")

    with pytest.raises(CancelledError, match="enough"):
        predict_cases(model, dataset, case_ids, tmp_path / "out", cancel, stop)
    done = predict_cases(model, dataset, case_ids, tmp_path / "out")
    assert done.kept == 2
    predict_cases(model, dataset, case_ids, tmp_path / "again")
    assert bytes_of(tmp_path / "out") == bytes_of(tmp_path / "again")


def test_a_scan_that_is_cancelled_ends_between_slices(
    dataset: PreparedDataset, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop, batches = StopRequest(), []
    apply = Member.probabilities

    def apply_and_cancel(member: Member, inputs: np.ndarray) -> np.ndarray:
        batches.append(len(inputs))
        stop.make("enough")
        return apply(member, inputs)

    monkeypatch.setattr(Member, "probabilities", apply_and_cancel)
    monkeypatch.setattr("r2d2.prediction.slice_ensemble.at_a_time", lambda size, needed: 1)
    with pytest.raises(CancelledError, match="enough"):
        predict_cases(model, dataset, sorted(dataset.cases), tmp_path / "out", stop=stop)
    assert batches == [1] and not (tmp_path / "out").exists()


def test_nothing_suits_and_nothing_remains(model: Path, tmp_path: Path) -> None:
    save_scan(tmp_path / "scans/bad.nii.gz", (13, 15, 5, 2), seed=7)
    (tmp_path / "scans/damaged.nii.gz").write_bytes(b"no scan")
    for settings in (None, AT_THE_FIRST):
        with pytest.raises(PredictionError, match=r"2 of 2 scans cannot be predicted:\n.*bad\.nii\.gz: 2 channels"):
            predict_scans(model, [tmp_path / "scans"], tmp_path / "new/out", settings)
    assert [path.name for path in tmp_path.iterdir()] == ["scans"]


def test_a_damaged_manifest_is_named(tmp_path: Path) -> None:
    assert read_manifest(tmp_path) is None
    (tmp_path / "prediction.json").write_text('{"schema_version": 1}')
    with pytest.raises(PredictionError, match=r"prediction\.json is damaged; predict again"):
        read_manifest(tmp_path)
