"""Predictions into a finished folder: what is kept, what is refused, what is replaced, and never half of it."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from imgmed import PreparedDataset
from r2d2.cli import main
from r2d2.prediction.settings import InferenceSettings
from r2d2_base.errors import OutputExistsError
from tests.r2d2.prediction.studies import bytes_of, copied, predict_scans, save_network, save_scan

pytestmark = pytest.mark.tensorflow

SHAPE = (13, 15, 5)
SPREAD = InferenceSettings(uncertainty="entropy")


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    for seed, name in enumerate("ab"):
        save_scan(tmp_path / f"scans/{name}.nii.gz", SHAPE, seed)
    return tmp_path / "scans"


def inodes(folder: Path) -> dict[str, int]:
    return {path.relative_to(folder).as_posix(): path.stat().st_ino for path in folder.rglob("*.nii.gz")}


def test_new_scans_are_added_and_the_others_kept(model: Path, scans: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert predict_scans(model, [scans], out, inference=SPREAD).kept == 0
    before = inodes(out)
    save_scan(scans / "c.nii.gz", SHAPE, seed=2)
    assert predict_scans(model, [scans], out, inference=SPREAD).kept == 2
    assert {name: inodes(out)[name] for name in before} == before and len(before) == 4
    predict_scans(model, [scans], tmp_path / "whole", inference=SPREAD)
    assert bytes_of(out) == bytes_of(tmp_path / "whole")
    save_scan(tmp_path / "more/d.nii.gz", SHAPE, seed=3)
    (scans / "a.nii.gz").rename(tmp_path / "more/a.nii.gz")
    done = predict_scans(model, [tmp_path / "more"], out, inference=SPREAD)
    assert [case.case_id for case in done.cases] == ["b", "c", "a", "d"] and done.kept == 3
    assert done.cases[2].source == str(tmp_path / "more/a.nii.gz") and done.cases[2].uncertainty is not None
    cases = [row.split(",")[0] for row in (out / "volumes.csv").read_text().splitlines()[1:]]
    assert list(dict.fromkeys(cases)) == ["b", "c", "a", "d"]
    assert inodes(out).items() >= before.items() and len(inodes(out)) == 8
    assert sorted(path.name for path in tmp_path.iterdir()) == ["more", "out", "scans", "whole"]


def test_what_differs_is_refused_or_replaced_where_that_is_told(
    dataset: PreparedDataset, model: Path, scans: Path, tmp_path: Path
) -> None:
    out, other = tmp_path / "out", save_network(dataset, tmp_path / "other", seed=5)
    predict_scans(model, [scans], out)
    before, files = bytes_of(out), inodes(out)
    finer = InferenceSettings(overlap=0.25)
    with pytest.raises(OutputExistsError, match=r"made in another way \(overlap: 0.5, now 0.25\); .* --overwrite rep"):
        predict_scans(model, [scans], out, inference=finer)
    with pytest.raises(OutputExistsError, match=r"label maps of another model, .*run/model\.keras"):
        predict_scans(other, [scans], out)
    with pytest.raises(OutputExistsError, match="of the model's card"):
        predict_scans(copied(model, tmp_path / "renamed", dataset="another"), [scans], out)
    save_scan(scans / "a.nii.gz", SHAPE, seed=7)
    with pytest.raises(OutputExistsError, match=r"holds other label maps already \(a\.nii\.gz, of another scan than"):
        predict_scans(model, [scans], out)
    with pytest.raises(OutputExistsError, match=r"\(b\.nii\.gz, of the same case as b\.nii\)"):
        save_scan(tmp_path / "more/b.nii", SHAPE, seed=8)
        predict_scans(model, [tmp_path / "more"], out)
    assert bytes_of(out) == before and inodes(out) == files
    done = predict_scans(model, [scans], out, overwrite=True)
    assert done.kept == 1 and inodes(out)["b.nii.gz"] == files["b.nii.gz"]
    assert bytes_of(out)["a.nii.gz"] != before["a.nii.gz"]
    done = predict_scans(other, [scans / "a.nii.gz"], out, overwrite=True)
    assert [case.case_id for case in done.cases] == ["a"] and done.kept == 0 and list(inodes(out)) == ["a.nii.gz"]


def test_what_others_made_or_changed_is_not_lost(model: Path, scans: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    predict_scans(model, [scans], out)
    corrected = nib.load(out / "a.nii.gz")
    nib.save(nib.Nifti1Image(np.zeros(SHAPE, np.uint8), corrected.affine), out / "a.nii.gz")
    with pytest.raises(OutputExistsError, match=r"\(a\.nii\.gz, changed since\)"):
        predict_scans(model, [scans], out)
    (out / "uncertainty").mkdir()
    (out / "uncertainty/notes.txt").write_text("mine")
    for may_replace in (False, True):
        with pytest.raises(OutputExistsError, match=r"of no prediction \(uncertainty/notes\.txt\); choose another"):
            predict_scans(model, [scans], out, overwrite=may_replace)
    assert (out / "uncertainty/notes.txt").read_text() == "mine" and not nib.load(out / "a.nii.gz").get_fdata().any()


def test_a_crash_leaves_the_old_folder(model: Path, scans: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    predict_scans(model, [scans], out)
    before = bytes_of(out)
    for seed, name in enumerate("ac"):
        save_scan(scans / f"{name}.nii.gz", SHAPE, seed=5 + seed)

    def interrupt(stage: str, done: int, total: int) -> None:
        if (stage, done) == ("predicting", 2):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predict_scans(model, [scans], out, overwrite=True, progress=interrupt)
    assert bytes_of(out) == before
    with pytest.raises(OutputExistsError, match="of another scan than"):
        predict_scans(model, [scans], out)
    done = predict_scans(model, [scans], out, overwrite=True)
    assert done.kept == 2 and [case.case_id for case in done.cases] == ["a", "b", "c"]
    predict_scans(model, [scans], tmp_path / "whole")
    assert bytes_of(out) == bytes_of(tmp_path / "whole")


def test_a_folder_of_an_earlier_version_is_replaced_where_that_is_told(
    model: Path, scans: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    predict_scans(model, [scans], out, inference=SPREAD)
    now = bytes_of(out)
    content = json.loads((out / "prediction.json").read_text())
    (out / "prediction.json").write_text(json.dumps({k: v for k, v in content.items() if not k.startswith("made")}))
    with pytest.raises(OutputExistsError, match="of another version of R2D2"):
        predict_scans(model, [scans], out, inference=SPREAD)
    assert predict_scans(model, [scans], out, inference=SPREAD, overwrite=True).kept == 0
    assert bytes_of(out) == now


def test_broken_scans_are_listed_at_the_end_with_exit_code_2(
    model: Path, scans: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that ends too early, and a scan of two channels: all others are predicted, and kept by the next call."""
    whole = (scans / "a.nii.gz").read_bytes()
    (scans / "short.nii.gz").write_bytes(whole[: len(whole) // 2])
    save_scan(scans / "two.nii.gz", (*SHAPE, 2), seed=5)
    words = ["predict", "--model", model, "--input", scans, "--out", tmp_path / "out"]
    monkeypatch.setattr("sys.argv", ["r2d2", *map(str, words)])
    with pytest.raises(SystemExit) as end:
        main()
    said = capsys.readouterr().err
    assert end.value.code == 2 and "wrote 2 label maps to" in said and "2 scans could not be predicted:" in said
    tail = said[said.index("2 scans could not") :].splitlines()
    assert len(tail) == 3 and "two.nii.gz: 2 channels" in tail[2] and "short.nii.gz" in tail[1]
    manifest = json.loads((tmp_path / "out/prediction.json").read_text())
    assert [case["case_id"] for case in manifest["cases"]] == ["a", "b"] and len(manifest["left_out"]) == 2
    assert (tmp_path / "out/volumes.csv").is_file()
    for name in ("short.nii.gz", "two.nii.gz"):
        (scans / name).unlink()
    with pytest.raises(SystemExit) as end:
        main()
    said = capsys.readouterr().err
    assert not end.value.code and "wrote 0 label maps to" in said and ", 2 kept" in said
