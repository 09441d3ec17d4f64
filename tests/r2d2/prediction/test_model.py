"""Which model a path means; the files are only looked for."""

from pathlib import Path

import pytest

from dist_training.errors import ModelError
from r2d2.prediction.model import resolve_ensemble, resolve_model


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_folders_and_files(tmp_path: Path) -> None:
    touch(tmp_path / "run/model.keras", tmp_path / "run/model.json", tmp_path / "other.keras")
    for name in ("run", "run/model.keras", "run/model.json"):
        assert resolve_model(str(tmp_path / name)) == tmp_path / "run"
    assert resolve_model(tmp_path / "other.keras") == tmp_path / "other.keras"


def test_several_are_asked_together(tmp_path: Path) -> None:
    """A run that is a fold itself, with folders of other names in it, stands for itself."""
    touch(*(tmp_path / f"cv/fold-{fold}/model.keras" for fold in range(3)), tmp_path / "run/model.keras")
    touch(tmp_path / "run/fold-0/notes.txt")
    folds = tuple(tmp_path / f"cv/fold-{fold}" for fold in range(3))
    assert resolve_ensemble(tmp_path / "cv") == folds
    assert resolve_ensemble([tmp_path / "run", tmp_path / "cv"]) == (tmp_path / "run", *folds)
    for names, said in (([], "no model is named"), ([tmp_path / "cv", folds[1]], "fold-1 is named twice")):
        with pytest.raises(ModelError, match=said):
            resolve_ensemble(names)
    touch(tmp_path / "cv/fold-3/config.yaml")
    with pytest.raises(ModelError, match="fold-3 holds no model yet"):
        resolve_ensemble(tmp_path / "cv")


@pytest.mark.parametrize(
    ("files", "named", "said"),
    [
        ("", "none", "no such model: .*none; give a run folder"),
        ("a.txt", "a.txt", r"a\.txt is no model; give a run folder"),
        ("model.json", "model.json", r"model\.json is no model"),
        ("run/config.yaml", "run", r"run holds no model yet.*--resume"),
        ("dataset/dataset.json", "dataset", r"dataset holds no trained network \(model\.keras is missing\)"),
        ("demo/run/model.keras", "demo", r"demo holds no model itself; name \S+demo/run$"),
        ("cv/fold-0/model.keras cv/fold-1/model.keras", "cv", r"cv is a cross-validation.* one of .*fold-0, .*fold-1$"),
        ("cv/fold-0/config.yaml", "cv", r"cv is a cross-validation, and none of its folds has a model yet"),
    ],
)
def test_what_is_no_model_says_what_works(tmp_path: Path, files: str, named: str, said: str) -> None:
    touch(*(tmp_path / name for name in files.split()))
    with pytest.raises(ModelError, match=said):
        resolve_model(tmp_path / named)
