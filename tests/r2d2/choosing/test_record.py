"""choice.json read back, and what is said of it, in words and on a page."""

import json
from pathlib import Path

import pytest

from r2d2.choosing.record import (
    Budget,
    CandidateRecord,
    ChoiceRecord,
    FoldRecord,
    FoundScore,
    PairRecord,
    ScoreRecord,
    read_choice,
    write_choice,
)
from r2d2.choosing.words import expected_sentence, group_sentence, method_sentences
from r2d2.reports.choice import build_choice_report
from r2d2_base.errors import ConfigurationError

SCORE = ScoreRecord(mean=0.8, low=0.75, high=0.85, cases=20, patients=10)


def candidate(name: str, parameters: int) -> CandidateRecord:
    fold = FoldRecord(fold=0, score=0.8, epochs=3, best_epoch=None, minutes=1.5, ended="max_minutes=1 & <over>")
    return CandidateRecord(
        name=name,
        folder=name,
        members=(name,),
        dataset="work/liver",
        architecture=("unet",),
        dimensions=(2,),
        neighbours=(1,),
        parameters=parameters,
        minutes=1.5,
        score=SCORE,
        folds=(fold,),
    )


def pair(first: str, second: str, better: str | None) -> PairRecord:
    return PairRecord(
        first=first,
        second=second,
        difference="inf",
        low=None,
        high=0.1,
        patients=10,
        p=0.5,
        p_holm=None,
        method="exact",
        reason="",
        better=better,
    )


def choice(alike: tuple[str, ...], choices: dict[int, str] | None = None) -> ChoiceRecord:
    return ChoiceRecord(
        r2d2="0.1.0",
        dataset="Liver",
        metric="hd95_mm",
        better="lower",
        confidence=0.95,
        labels=("liver", "tumour"),
        cases=20,
        patients=10,
        folds=2,
        budget=Budget(epochs=3, max_minutes=1.5, seed=7),
        candidates=(candidate("2d", 1), candidate("3d", 2), candidate("wide", 3)),
        pairs=(pair("2d", "3d", None), pair("2d", "wide", "2d"), pair("3d", "wide", None)),
        best="3d",
        alike=alike,
        chosen="2d",
        networks=("2d",),
        reason="It is the smallest.",
        expected=FoundScore(source="nested_folds", score=SCORE, choices=choices or {}, remark="A remark."),
        notes=("A note.",),
    )


def test_what_is_written_is_read(tmp_path: Path) -> None:
    made = choice(("3d", "2d"), {0: "2d", 1: "3d"})
    assert read_choice(write_choice(tmp_path, made).parent) == made
    assert json.loads((tmp_path / "choice.json").read_text())["schema_version"] == 1
    assert made.pair("wide", "2d").better == "2d"
    assert made.candidate("wide").parameters == 3


def test_what_is_missing_or_damaged_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="holds no finished choice"):
        read_choice(tmp_path)
    for content in ("{", '{"schema_version": 2}'):
        (tmp_path / "choice.json").write_text(content)
        with pytest.raises(ConfigurationError, match=r"choice\.json is damaged"):
            read_choice(tmp_path)


def test_who_is_alike_and_who_is_worse_is_said() -> None:
    assert group_sentence(choice(("3d", "2d"))) == "3d, the best, cannot be told apart from 2d; it is better than wide."
    assert group_sentence(choice(("3d",))) == "3d is better than 2d and wide."
    assert group_sentence(choice(("3d", "2d", "wide"))) == "3d, the best, cannot be told apart from 2d and wide."


def test_what_to_expect_and_how_it_was_chosen_is_said() -> None:
    made = choice(("3d", "2d"), {0: "2d", 1: "3d"})
    assert expected_sentence(made) == (
        "What to expect: HD95 0.80 mm [0.75, 0.85] on 20 cases of 10 patients. A remark."
    )
    budget, rules, choices = method_sentences(made)
    assert "2 folds, each training with 3 epochs and at most 1.5 minutes and seed 7" in budget
    assert "corrected after Holm for 3 pairs, at 0.05" in rules
    assert choices == "Chosen for each fold by the cases of the others: fold 0 2d, fold 1 3d."


def test_the_page_has_every_candidate_pair_and_fold_and_no_foreign_markup(tmp_path: Path) -> None:
    page = build_choice_report(tmp_path / "choice.html", choice(("3d", "2d"))).read_text()
    assert page.count("<tr>") == 3 * (1 + 3)  # tables of a head and three lines
    assert "<over>" not in page and "&lt;over&gt;" in page
    assert "A note." in page and "slices with 1 on either side (2.5D)" in page
