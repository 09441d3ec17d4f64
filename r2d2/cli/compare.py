"""r2d2 compare: evaluations of several models against each other."""

from __future__ import annotations

import math
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from r2d2.tasks.comparison import ModelComparison
    from segeval import Comparison, Ranking

__all__ = ["OnUnmatchedName", "SchemeName", "compare", "echo_comparison"]

_WIDTH = 100


class SchemeName(StrEnum):
    """What a ranking rests on, as on the command line."""

    aggregate_then_rank = "aggregate_then_rank"
    rank_then_aggregate = "rank_then_aggregate"
    test_then_rank = "test_then_rank"


class OnUnmatchedName(StrEnum):
    """What becomes of cases that only some of the evaluations have."""

    error = "error"
    leave_out = "leave_out"


def compare(
    evaluations: list[Path] = typer.Argument(
        ..., metavar="EVALUATION", help="Two or more: folders of r2d2 evaluate, or summary.json files of nnU-Net v2."
    ),
    metric: list[str] = typer.Option(
        None, help="Metric to compare; may be repeated. Else dice, hd95_mm and nsd, as far as all have them."
    ),
    out: Path = typer.Option(None, help="Folder for comparison.json and comparison.csv."),
    scheme: SchemeName = typer.Option(SchemeName.aggregate_then_rank, help="What the ranking rests on."),
    confidence: float = typer.Option(0.95, help="Coverage of the intervals; verdicts are at 1 minus this."),
    on_unmatched: OnUnmatchedName = typer.Option(
        OnUnmatchedName.error, help="Cases or labels that only some have: refuse, or leave them out."
    ),
    seed: int = typer.Option(0, min=0, help="Seed of the bootstrap."),
) -> None:
    """Compare models on the same cases: paired differences with intervals and tests, and a ranking with its stability.

    Two evaluations are compared with each other; of three or more, the best in each metric with each of the others.

    Example: r2d2 compare work/evaluation work/evaluation_of_another --metric dice --out work/comparison
    """
    from r2d2.tasks.comparison import CompareSettings
    from r2d2.tasks.comparison import compare as compare_all

    result = compare_all(
        CompareSettings(
            evaluations=tuple(evaluations),
            metrics=tuple(metric or ()),
            scheme=scheme.value,
            confidence=confidence,
            on_unmatched=on_unmatched.value,
            seed=seed,
            out=out,
        )
    )
    echo_comparison(result)
    if out is not None:
        typer.echo(f"wrote {out / 'comparison.json'} and {out / 'comparison.csv'}", err=True)


def echo_comparison(result: ModelComparison) -> None:
    """Print the rankings and the paired differences, and the notes that belong beside them."""
    from rich.console import Console

    from r2d2.tasks.comparison_words import notes

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=_WIDTH)
    for letter, path in result.evaluations.items():
        typer.echo(f"{letter} = {path}")
    for ranking in result.rankings:
        _print_ranking(console, ranking)
        _print_pairs(console, ranking, [one for one in result.comparisons if one.rows[0].metric == ranking.metric])
    for note in notes(result):
        typer.echo(f"note: {note}", err=True)


def _print_ranking(console: Console, ranking: Ranking) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from r2d2.tasks.comparison_words import SCORE_NAMES, digits, percent

    labels = f"{len(ranking.labels)} labels" if len(ranking.labels) > 1 else ranking.labels[0]
    words = (
        f"\n{ranking.metric} ({ranking.better} is better): ranking over {labels}, {ranking.cases} cases of "
        f"{ranking.patients} patients"
    )
    console.print(Text(words))
    table = Table(box=box.SIMPLE_HEAD)
    for name in ("rank", "model", SCORE_NAMES[ranking.scheme], f"{percent(ranking.confidence)} of ranks", "best in"):
        table.add_column(name, justify="left" if name == "model" else "right")
    decimals = digits(ranking.metric) if ranking.scheme == "aggregate_then_rank" else 2
    for model in ranking.models:
        interval = "-" if math.isnan(model.low) else f"{model.low:g} to {model.high:g}"
        best = f"{model.shares.get(1.0, 0.0) * 100:.0f} %" if model.shares else "-"
        table.add_row(f"{model.rank:g}", model.name, f"{model.score:.{decimals}f}", interval, best)
    console.print(table)
    if not math.isnan(ranking.kendall_tau_mean):
        console.print(
            f"Kendall's tau with {ranking.resamples} bootstrap rankings: "
            f"{ranking.kendall_tau_mean:.2f} on average, {ranking.kendall_tau_low:.2f} at the 2.5th percentile"
        )


def _print_pairs(console: Console, ranking: Ranking, comparisons: list[Comparison]) -> None:
    from rich import box
    from rich.markup import escape
    from rich.table import Table
    from rich.text import Text

    from r2d2.tasks.comparison_words import digits, interval, number, p_value, percent, verdict

    coverage = percent(ranking.confidence)
    console.print(f"\n{ranking.metric}: paired differences, mean over cases \\[{coverage} interval over patients]")
    table = Table(box=box.SIMPLE_HEAD)
    is_one_pair = len(comparisons) == 1
    table.add_column("label")
    if not is_one_pair:
        table.add_column("pair")
    first, second = (comparisons[0].first, comparisons[0].second) if is_one_pair else ("1st", "2nd")
    for name in ("n", first, second, f"{second} − {first}", "p (Holm)"):
        table.add_column(name, justify="right")
    table.add_column("verdict")
    for comparison in comparisons:
        for row in comparison.rows:
            decimals = digits(row.metric)
            table.add_row(
                Text(row.label_name),
                *([] if is_one_pair else [f"{comparison.first}, {comparison.second}"]),
                str(row.pairs),
                number(row.first.mean, decimals),
                number(row.second.mean, decimals),
                escape(interval(row.difference, decimals)),
                p_value(row.p_holm),
                verdict(comparison, row),
            )
    console.print(table)
