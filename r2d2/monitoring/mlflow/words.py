"""What became of a run that was logged to MLflow, in a few sentences."""

from __future__ import annotations

from r2d2.monitoring.mlflow.log import LoggedNow
from r2d2.monitoring.mlflow.parameters import LONGEST_VALUE

__all__ = ["sentences"]


def sentences(now: LoggedNow) -> str:
    """Say what was logged, and where the run is.

    >>> from r2d2.monitoring.mlflow.ledger import Logged
    >>> print(sentences(LoggedNow(Logged(url="http://a", experiment="e", run_id="3f", begun=0, metrics=9), 1, 0)))
    1 value and 0 files logged. MLflow at http://a has 9 values of this run, as run 3f of experiment e.
    """
    logged = now.logged
    text = (
        f"{_counted(now.metrics, 'value')} and {_counted(now.files, 'file')} logged. MLflow at {logged.url} has "
        f"{_counted(logged.metrics, 'value')} of this run, as run {logged.run_id} of experiment {logged.experiment}."
    )
    if now.cut:
        text += f" Cut to {LONGEST_VALUE} characters, and whole in r2d2.yaml there: {', '.join(now.cut)}."
    return text


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
