"""r2d2 train --fold all: each patient outside the test part is judged once, by a network that has not seen it."""

import subprocess
import sys
from pathlib import Path

import pytest

from dist_training.inference.model_card import read_model_card
from imgmed import PreparationSettings, PreparedDataset, prepare_dataset, write_phantom_study
from r2d2.prediction.manifest import read_manifest
from segeval import read_evaluation
from tests.small_network import SMALL_WORDS

pytestmark = pytest.mark.end_to_end

R2D2 = str(Path(sys.executable).with_name("r2d2"))
TINY = [*SMALL_WORDS, "training.epochs=2"]


def train(dataset: PreparedDataset, run_dir: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [R2D2, "train", "--dataset", str(dataset.folder), "--run-dir", str(run_dir), *arguments]
    return subprocess.run(command, cwd=dataset.folder.parent, capture_output=True, text=True, timeout=600, check=False)


def test_a_cross_validation_goes_on_where_it_was_and_judges_each_patient_once(tmp_path: Path) -> None:
    write_phantom_study(tmp_path / "study", cases=6, shape=(32, 32, 8))
    dataset = prepare_dataset(tmp_path / "study", tmp_path / "dataset", PreparationSettings(folds=2))
    run_dir = tmp_path / "cv"
    # the first fold alone, as one would by hand: it is not trained again
    alone = train(dataset, run_dir / "fold-0", "--fold", "0", *TINY)
    assert alone.returncode == 0, alone.stderr
    trained = (run_dir / "fold-0" / "model.keras").stat().st_mtime_ns
    refused = train(dataset, run_dir, "--fold", "all", *TINY)
    assert refused.returncode == 2
    assert "is not empty" in refused.stderr
    done = train(dataset, run_dir, "--fold", "all", "--resume", *TINY)
    assert done.returncode == 0, done.stderr
    assert (run_dir / "fold-0" / "model.keras").stat().st_mtime_ns == trained
    assert "fold 0 (0 to 1) is trained" in done.stderr
    assert "each case by the network of the fold that held it out" in done.stderr

    judged = read_evaluation(run_dir / "evaluation")
    held_out = {case for fold in dataset.splits.folds for case in fold.validation}
    assert sorted(case.case_id for case in judged.cases) == sorted(held_out)
    assert not held_out & set(dataset.splits.test)
    assert (run_dir / "evaluation" / "report.html").is_file()
    for number, fold in enumerate(dataset.splits.folds):
        manifest = read_manifest(run_dir / f"fold-{number}" / "predictions")
        assert {case.case_id for case in manifest.cases} == set(fold.validation)
        card = read_model_card(run_dir / f"fold-{number}")[1]
        assert {case.case_id for case in card.cases if case.split == "train"} == set(fold.train)
        assert card.normalisation == dataset.normalisation(fold.train)
