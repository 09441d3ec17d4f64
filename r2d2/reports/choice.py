"""The page of a choice between configurations: which one to use, what it reaches, and what that rests on."""

from __future__ import annotations

from pathlib import Path

from r2d2.choosing.record import CandidateRecord, ChoiceRecord, Number, PairRecord
from r2d2.choosing.words import expected_sentence, group_sentence, method_sentences, score_text, small_p
from r2d2.reports.build import write_page
from r2d2.reports.formatting import and_list, heading, plural
from r2d2.reports.page import Html, page, paragraph, section, table, warning_box
from segeval import METRICS

__all__ = ["CHOICE_PAGE", "build_choice_report"]

CHOICE_PAGE = "choice.html"


def build_choice_report(out: Path, choice: ChoiceRecord) -> Path:
    """Write the page of a choice as one HTML file that needs nothing else.

    Args:
        out: the HTML file; a file that is there is replaced.
        choice: content of choice.json.

    Returns:
        ``out``.
    """
    body = [
        section(
            "In short",
            paragraph(f"Use {choice.chosen}. {choice.reason}"),
            paragraph(group_sentence(choice)),
            paragraph(expected_sentence(choice)),
        ),
        warning_box(choice.notes),
        _candidates_section(choice),
        _pairs_section(choice),
        _folds_section(choice),
        section("How it was chosen", *(paragraph(sentence) for sentence in method_sentences(choice))),
    ]
    subtitle = f"{choice.dataset}: {', '.join(one.name for one in choice.candidates)}. Not for clinical decisions."
    write_page(out, page("Which configuration to use", subtitle, body))
    return out


def _candidates_section(choice: ChoiceRecord) -> Html:
    headers = (
        "Configuration",
        "Network",
        "Takes",
        "Parameters",
        "Minutes",
        f"Mean {heading(METRICS[choice.metric])}",
        "Interval",
    )
    rows = [
        (
            one.name,
            and_list(one.architecture),
            and_list([_taken(one, place) for place in range(len(one.members))]),
            f"{one.parameters:,}",
            f"{one.minutes:.1f}",
            score_text(choice.metric, one.score.mean),
            f"{score_text(choice.metric, one.score.low)} to {score_text(choice.metric, one.score.high)}",
        )
        for one in choice.candidates
    ]
    note = (
        "Each case by networks that had not seen it. These scores chose: the best of several is high by luck too, so "
        "its mean here is not what to expect of it."
    )
    caption = f"{plural(choice.cases, 'case')} of {plural(choice.patients, 'patient')}; minutes of training, all folds"
    return section(
        "What was compared",
        paragraph(note, kind="note"),
        table(headers, rows, caption=caption, text_columns=(0, 1, 2)),
    )


def _taken(one: CandidateRecord, place: int) -> str:
    if one.dimensions[place] == 3:
        return "volumes (3D)"
    neighbours = one.neighbours[place]
    return f"slices with {neighbours} on either side (2.5D)" if neighbours else "slices (2D)"


def _pairs_section(choice: ChoiceRecord) -> Html:
    headers = ("First", "Second", "Second less first", "Interval", "p", "p (Holm)", "Better")
    rows = [
        (
            pair.first,
            pair.second,
            _signed(choice.metric, pair.difference),
            f"{_signed(choice.metric, pair.low)} to {_signed(choice.metric, pair.high)}",
            small_p(pair.p),
            small_p(pair.p_holm),
            _better(pair),
        )
        for pair in choice.pairs
    ]
    caption = f"Paired differences of {heading(METRICS[choice.metric])}; p tested over patients"
    return section("Case by case", table(headers, rows, caption=caption, text_columns=(0, 1, 6)))


def _better(pair: PairRecord) -> str:
    if pair.better is not None:
        return pair.better
    return f"not told apart ({pair.reason})" if pair.reason else "not told apart"


def _signed(metric: str, value: Number) -> str:
    text = score_text(metric, value)
    return f"+{text}" if isinstance(value, float) and value > 0 else text


def _folds_section(choice: ChoiceRecord) -> Html:
    headers = (
        "Configuration",
        "Fold",
        f"Mean {heading(METRICS[choice.metric])}",
        "Epochs",
        "Best epoch",
        "Minutes",
        "Ended early",
    )
    rows = [
        (
            one.name,
            str(fold.fold),
            score_text(choice.metric, fold.score),
            str(fold.epochs),
            "–" if fold.best_epoch is None else str(fold.best_epoch),
            f"{fold.minutes:.1f}",
            fold.ended or "–",
        )
        for one in choice.candidates
        for fold in one.folds
    ]
    return section("Every training", table(headers, rows, caption="A network a fold", text_columns=(0, 6)))
