"""A choice in words, for terminal and page alike."""

from __future__ import annotations

from collections.abc import Iterator

from r2d2.choosing.record import ChoiceRecord, Number
from r2d2.reports.formatting import and_list, plural
from segeval import METRICS

__all__ = ["expected_sentence", "group_sentence", "method_sentences", "score_text", "small_p"]


def score_text(metric: str, value: Number) -> str:
    """Write a value of a metric; a dash where there is none.

    >>> score_text("dice", 0.8666), score_text("hd95_mm", 2.5), score_text("dice", None)
    ('0.867', '2.50', '–')
    """
    if value is None:
        return "–"
    if isinstance(value, str):
        return value
    return f"{value:.2f}" if metric.endswith(("_mm", "_ml")) else f"{value:.3f}"


def small_p(p: float | None) -> str:
    """Write a p value.

    >>> small_p(0.0004), small_p(0.25), small_p(None)
    ('<0.001', '0.250', '–')
    """
    return "–" if p is None else "<0.001" if p < 0.001 else f"{p:.3f}"


def group_sentence(choice: ChoiceRecord) -> str:
    """Say which candidates cannot be told apart, and which are worse."""
    worse = [one.name for one in choice.candidates if one.name not in choice.alike]
    alike = [name for name in choice.alike if name != choice.best]
    said = []
    if alike:
        said.append(f"{choice.best}, the best, cannot be told apart from {and_list(alike)}")
    if worse:
        said.append(f"{'it' if alike else choice.best} is better than {and_list(worse)}")
    return f"{'; '.join(said)}."


def expected_sentence(choice: ChoiceRecord) -> str:
    """Say what the chosen one reaches in cases that did not choose it, and how that is known."""
    found, metric = choice.expected, choice.metric
    score = found.score
    mean = f"{METRICS[metric].title} {score_text(metric, score.mean)} {METRICS[metric].unit}".rstrip()
    if score.low is not None:
        mean += f" [{score_text(metric, score.low)}, {score_text(metric, score.high)}]"
    of = f"{plural(score.cases, 'case')} of {plural(score.patients, 'patient')}"
    return f"What to expect: {mean} on {of}. {found.remark}"


def method_sentences(choice: ChoiceRecord) -> Iterator[str]:
    """Say how it was chosen."""
    budget = choice.budget
    minutes = "" if budget.max_minutes is None else f" and at most {budget.max_minutes:g} minutes"
    yield (
        f"Every configuration was trained on the same {choice.folds} folds, each training with {budget.epochs} epochs"
        f"{minutes} and seed {budget.seed}. A case's score is the mean {METRICS[choice.metric].title} over "
        f"{and_list(list(choice.labels))}, by networks that had not seen the case."
    )
    yield (
        "Every two candidates were compared by a two-sided Wilcoxon signed-rank test over patients (exact up to 50), "
        f"corrected after Holm for {plural(len(choice.pairs), 'pair')}, at {1 - choice.confidence:.3g}. Of the best "
        "and those that it is not shown to be better than, the one with the fewest parameters is chosen; with too few "
        "patients for any difference to be shown, the best. That none is shown does not say that there is none."
    )
    if choice.expected.choices:
        chosen = ", ".join(f"fold {fold} {name}" for fold, name in choice.expected.choices.items())
        yield f"Chosen for each fold by the cases of the others: {chosen}."
