"""How the numbers were made, and where they come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from r2d2.reports.formatting import heading
from r2d2.reports.page import Html, paragraph, section, subheading, table
from r2d2.reports.scores import FAMILIES
from segeval import METRICS, Evaluation, describe_conventions

__all__ = ["conventions_section", "provenance_section"]

_EMPTY_COLUMNS = ("structure in neither", "not in the reference", "missed")


def conventions_section(evaluation: Evaluation) -> Html:
    """Say in words how each number is made: metrics, values where a structure is missing, all other choices."""
    names = evaluation.conventions.metrics
    words = describe_conventions(evaluation.conventions)
    empty = {name: tuple(words.pop(f"{name}, {column}") for column in _EMPTY_COLUMNS) for name in names}
    sources = {name: words.pop(f"{name}, convention", "") for name in names}
    choices = {
        **words,
        "ignored label": (
            "none"
            if evaluation.ignore_label is None
            else f"{evaluation.ignore_label}: its voxels in the reference are not judged"
        ),
        "seed of the bootstrap": str(evaluation.seed),
    }
    return section(
        "Conventions used",
        subheading("Metrics"),
        _metrics_table(names),
        subheading("Where a structure is missing"),
        paragraph(f"Convention: {evaluation.conventions.on_empty}.", "note"),
        _empty_table(empty, sources),
        subheading("Other choices"),
        table(
            ["Choice", "Made so"],
            list(choices.items()),
            caption="Also in summary.json, under r2d2: conventions.",
            text_columns=(0, 1),
        ),
    )


def _metrics_table(names: Sequence[str]) -> Html:
    rows = []
    for name in names:
        metric = METRICS[name]
        rows.append([heading(metric), FAMILIES[metric.family].lower(), metric.definition, metric.better])
    return table(
        ["Metric", "Of", "Definition", "Better"],
        rows,
        caption="TP, FP, FN and TN count voxels of one label in one case.",
        text_columns=(0, 1, 2, 3),
    )


def _empty_table(empty: Mapping[str, tuple[str, ...]], sources: Mapping[str, str]) -> Html:
    """Tabulate values of missing structures, metrics with the same ones in one row."""
    rows: dict[tuple[str, ...], list[str]] = {}
    for name, values in empty.items():
        rows.setdefault((*values, sources[name]), []).append(METRICS[name].title)
    has_remarks = any(sources.values())
    return table(
        ["Metrics", "In neither", "Not in the reference", "Missed", *(["Remark"] if has_remarks else [])],
        [[", ".join(titles), *(values if has_remarks else values[:-1])] for values, titles in rows.items()],
        caption="What a value is where reference, prediction or both do not have the structure.",
        text_columns=range(5),
        kind="prose",
    )


def provenance_section(entries: Sequence[tuple[str, str]]) -> Html:
    """List where evaluation and model come from; of a training alone, the model."""
    rows = [[name, Html(f"<code>{escape(value)}</code>")] for name, value in entries]
    caption = "Evaluation and model." if any(name == "Evaluation" for name, _ in entries) else "The training."
    return section("Where this comes from", table(["What", "Value"], rows, caption=caption, text_columns=(0, 1)))
