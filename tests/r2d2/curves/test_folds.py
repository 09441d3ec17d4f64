"""The folds of a cross-validation, read from their run folders as these come."""

from pathlib import Path

from dist_training.record.events import EpochEnded
from dist_training.record.run_folder import RunEnd
from r2d2.curves.folds import fold_courses, fold_curves
from tests.r2d2.curves.test_run_curves import begun, record, step


def epoch(number: int, dice: float | None, **labels: float) -> EpochEnded:
    return EpochEnded(
        epoch=number, step=10 * number, loss=1.0, validation_dice=dice, validation_dice_per_label=dict(labels)
    )


def written_folds(folder: Path) -> None:
    """Two folds of which one has ended, one that trains not yet; and what is none."""
    folder.mkdir(parents=True)
    steps = [step(number, 1 / number) for number in range(1, 21)]
    record(folder / "fold-0", begun(), *steps, epoch(1, 0.7, organ=0.9, lesion=0.5), epoch(2, 0.6, organ=0.8))
    end = RunEnd(state="completed", time=1.0)
    (folder / "fold-0" / "exit.json").write_text(end.model_dump_json())
    record(folder / "fold-10", begun(), *steps[:10], epoch(1, None))
    (folder / "fold-2").mkdir()
    for name in ("fold-x", "fold-01", "evaluation"):
        (folder / name).mkdir()
    (folder / "fold-7").symlink_to(folder / "fold-0")


def test_how_far_each_fold_is(tmp_path: Path) -> None:
    assert fold_courses(tmp_path / "cv", tmp_path / "kept") == []
    written_folds(tmp_path / "cv")
    found = fold_courses(tmp_path / "cv", tmp_path / "kept")
    assert [(one.number, one.state) for one in found] == [(0, "completed"), (2, None), (10, None)]
    assert found[0].course is not None and (found[0].course.best_dice, found[0].course.best_epoch) == (0.7, 1)
    assert found[0].best_per_label == {"organ": 0.9, "lesion": 0.5}, "those of its best epoch"
    assert found[1].course is None and found[2].course is not None and found[2].best_per_label == {}


def test_each_fold_has_curves_of_its_own(tmp_path: Path) -> None:
    written_folds(tmp_path / "cv")
    curves = fold_curves(tmp_path / "cv", tmp_path / "kept")
    assert {fold: one.view().last_step for fold, one in curves.items()} == {0: 20, 2: 0, 10: 10}
    assert {folder.name for folder in (tmp_path / "kept").iterdir()} == {"fold-0", "fold-2", "fold-10"}
