"""Comparing the evaluations of several models: rankings and paired differences, and their files."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from string import ascii_uppercase
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from r2d2_base.files import check_writable, make_folder, write_bytes
from r2d2_base.progress import Progress, StopRequest, Watcher
from segeval import (
    Comparison,
    MetricArgumentError,
    PairedDifference,
    Ranking,
    compare_with_base,
    rank,
    read_scores,
)

__all__ = [
    "COMPARED_BY_DEFAULT",
    "CompareSettings",
    "ModelComparison",
    "compare",
    "write_comparison",
]

COMPARED_BY_DEFAULT = ("dice", "hd95_mm", "nsd")
"""Metrics compared unless others are asked for, as far as all evaluations have them: one of volume, two of surface."""

SCHEMA_VERSION = 1
Scheme = Literal["aggregate_then_rank", "rank_then_aggregate", "test_then_rank"]
OnUnmatched = Literal["error", "leave_out"]

_COLUMNS = (
    *("metric", "label", "first", "second", "better", "pairs", "patients", "left_out_both", "left_out_one"),
    *("first_mean", "first_low", "first_high", "second_mean", "second_low", "second_high"),
    *("difference", "difference_low", "difference_high", "p", "p_holm", "method", "reason", "verdict"),
)


class CompareSettings(BaseModel):
    """Which evaluations are compared, and how.

    >>> CompareSettings(evaluations=["work/evaluation", "work/other"]).scheme
    'aggregate_then_rank'
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    evaluations: tuple[Path, ...] = Field(description="2 to 26: folders of evaluations, or nnU-Net's summary.json")
    metrics: tuple[str, ...] = Field(default=(), description="metrics to compare; none: dice, hd95_mm and nsd")
    scheme: Scheme = Field(default="aggregate_then_rank", description="what the ranking rests on")
    confidence: float = Field(default=0.95, description="coverage of the intervals; verdicts are at 1 minus this")
    on_unmatched: OnUnmatched = Field(default="error", description="cases that only some have: refuse, or leave out")
    seed: int = Field(default=0, ge=0, description="seed of the bootstrap")
    out: Path | None = Field(default=None, description="folder for comparison.json and comparison.csv; none: no files")


def compare(
    settings: CompareSettings, *, progress: Progress | None = None, stop: StopRequest | None = None
) -> ModelComparison:
    """Rank models by their evaluations on the same cases, and compare them in pairs.

    Args:
        settings: which evaluations, and how.
        progress: told of each metric.
        stop: ends the work between metrics, before anything is written.

    Returns:
        Rankings and comparisons; the same files and settings give the same.

    Raises:
        SegEvalError: an evaluation is missing or damaged, or they cannot be compared; every reason is listed.
        OutputFolderError: the folder for the files cannot be written into.
        CancelledError: ``stop`` was made.
    """
    paths, watcher = settings.evaluations, Watcher(progress, stop)
    if not 2 <= len(paths) <= len(ascii_uppercase):
        raise MetricArgumentError(f"give 2 to {len(ascii_uppercase)} evaluations to compare; received {len(paths)}")
    if settings.out is not None:
        check_writable(settings.out)
    evaluations = dict(zip(ascii_uppercase, paths, strict=False))
    tables = {letter: read_scores(path) for letter, path in evaluations.items()}
    shared = [name for name in tables["A"].metrics if all(name in table.metrics for table in tables.values())]
    by_default = [name for name in COMPARED_BY_DEFAULT if name in shared] or shared or ["dice"]
    metrics = list(dict.fromkeys(settings.metrics or by_default))
    how: dict[str, Any] = {
        "confidence": settings.confidence,
        "seed": settings.seed,
        "on_unmatched": settings.on_unmatched,
    }
    rankings: list[Ranking] = []
    comparisons: list[Comparison] = []
    watcher.report("comparing", 0, len(metrics))
    for number, metric in enumerate(metrics, start=1):
        ranking = rank(tables, metric, scheme=settings.scheme, level=1 - settings.confidence, **how)
        base = "A" if len(tables) == 2 else ranking.models[0].name
        rankings.append(ranking)
        comparisons += compare_with_base(tables, base, metrics=[metric], **how)
        watcher.report("comparing", number, len(metrics))
    comparison = ModelComparison(evaluations, tuple(rankings), tuple(comparisons))
    if settings.out is not None:
        write_comparison(comparison, settings.out)
    return comparison


@dataclass(frozen=True, slots=True)
class ModelComparison:
    """Evaluations compared with each other.

    Attributes:
        evaluations: where each was read from, by a letter in the order given.
        rankings: one a metric.
        comparisons: for each metric, of two evaluations the first with the second, of more the best with each other.
    """

    evaluations: dict[str, Path]
    rankings: tuple[Ranking, ...]
    comparisons: tuple[Comparison, ...]


def write_comparison(comparison: ModelComparison, out: Path) -> None:
    """Write `comparison.json` (everything) and `comparison.csv` (a row a metric, label and pair) into a folder.

    Where there is no value, JSON has null and CSV an empty field; an infinite one is "inf" in both.

    Args:
        comparison: what to write.
        out: folder; made where it is missing.

    Raises:
        NoSpaceError: the disk is full.
        NotWritableError: the folder cannot be made or written into.
    """
    content = {
        "schema_version": SCHEMA_VERSION,
        "evaluations": {letter: str(path) for letter, path in comparison.evaluations.items()},
        "rankings": [asdict(ranking) for ranking in comparison.rankings],
        "comparisons": [asdict(pair) for pair in comparison.comparisons],
    }
    text = json.dumps(_plain(content), indent=4, ensure_ascii=False, allow_nan=False) + "\n"
    make_folder(out)
    write_bytes(out / "comparison.csv", _csv(comparison.comparisons).encode("utf-8", "surrogateescape"))
    write_bytes(out / "comparison.json", text.encode("utf-8", "backslashreplace"))


def _plain(value: Any) -> Any:
    """Say NaN and inf in strict JSON."""
    if isinstance(value, float):
        return None if math.isnan(value) else value if math.isfinite(value) else str(value)
    if isinstance(value, dict):
        return {str(key): _plain(entry) for key, entry in value.items()}
    return [_plain(entry) for entry in value] if isinstance(value, list | tuple) else value


def _csv(comparisons: Sequence[Comparison]) -> str:
    buffer = io.StringIO(newline="")
    writer = csv.DictWriter(buffer, _COLUMNS, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    for comparison in comparisons:
        for row in comparison.rows:
            writer.writerow({name: _plain(value) for name, value in _fields(comparison, row).items()})
    return buffer.getvalue()


def _fields(comparison: Comparison, row: PairedDifference) -> dict[str, Any]:
    means = {"first": row.first, "second": row.second}
    return {
        **asdict(row),
        "label": row.label_name,
        "first": comparison.first,
        "second": comparison.second,
        **{f"{name}_{end}": getattr(mean, end) for name, mean in means.items() for end in ("mean", "low", "high")},
        "difference": row.difference.mean,
        "difference_low": row.difference.low,
        "difference_high": row.difference.high,
    }
