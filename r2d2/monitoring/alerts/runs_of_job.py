"""What is found in the runs of a job: one of a training, one a fold of a cross-validation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from dist_training.record.run_folder import RunFolder
from r2d2.curves.folds import fold_curves
from r2d2.monitoring.alerts.alert import Finding
from r2d2.monitoring.alerts.observation import observe
from r2d2.monitoring.alerts.rules import findings

__all__ = ["findings_of"]


def findings_of(task: str, output: Path, kept: Path, since: float) -> list[Finding]:
    """Look at a job's runs.

    Args:
        task: "train" or "cross-validate".
        output: its folder.
        kept: where the curves are kept that are made from its runs; see `r2d2.curves.RunCurves`.
        since: when the job's last attempt began, in seconds since 1970; before a run goes on, its folder speaks of the
            part before.
    """
    if task == "train":
        seen = observe(output, kept)
        return [] if seen is None or seen.begun < since else findings(seen)
    found: list[Finding] = []
    for fold in fold_curves(output, kept):
        run = output / f"fold-{fold}"
        end = RunFolder(run).read_exit()
        seen = observe(run, kept / run.name) if end is None or end.diverged else None
        if seen is None or seen.begun < since:
            continue
        for one in findings(seen):
            subject = f"fold {fold}, {one.subject}" if one.subject else f"fold {fold}"
            found.append(replace(one, subject=subject, message=f"Fold {fold}: {one.message}"))
    return found
