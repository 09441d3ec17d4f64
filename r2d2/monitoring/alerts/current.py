"""What is wrong with one run at this moment, for who looks at its folder."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from dist_training.errors import RunFolderError
from dist_training.record.run_folder import RunFolder
from r2d2.monitoring.alerts.alert import Finding
from r2d2.monitoring.alerts.observation import observe
from r2d2.monitoring.alerts.rules import findings

__all__ = ["current_findings"]


def current_findings(run: Path) -> list[Finding]:
    """Look at a run, which may have ended: then as it was at its end.

    Args:
        run: its folder.

    Returns:
        What the rules find; nothing where training has not begun.

    Raises:
        RunFolderError: it is no run folder.
    """
    if not RunFolder(run).holds_run():
        raise RunFolderError(f"{run} is no run folder (no config.yaml); r2d2 train --run-dir makes one")
    with TemporaryDirectory(prefix="r2d2-alerts-") as kept:
        seen = observe(run, Path(kept), patience_s=float("inf"))
    return [] if seen is None else findings(seen)
