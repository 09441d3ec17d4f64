"""A tracking server of MLflow, through MLflow's own client, and what it answers: taken, not now, or never."""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from r2d2.monitoring.addresses import address_fault, is_overheard
from r2d2.monitoring.influx.target import read_token
from r2d2.monitoring.mlflow.metrics import Figure
from r2d2_base.errors import ConfigurationError, R2D2Error

__all__ = ["MOST_METRICS", "AwayError", "MlflowError", "TrackingServer", "check_address", "connected"]

MOST_METRICS = 1000
"""Of a request, by MLflow's own limit."""
_MOST_PARAMETERS = 100
_SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",  # it would tell its makers of every run
    "MLFLOW_ALLOW_HTTP_REDIRECTS": "false",  # the token is for this server
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",  # asked again by us, and the user told
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "60",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}
_KIND = {"mlflow.experimentKind": "custom_model_development"}  # MLflow's page shows it as trainings, not as chats
_SECRETS = ("MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_PASSWORD")
_PASSING = (408, 425, 429)
_LONGEST_PAUSE_S = 30.0
_LONGEST_SHOWN = 200
_OWN_STORES = ("file", "")
Answer = TypeVar("Answer")


class MlflowError(R2D2Error):
    """A server that does not do what it is asked; the same command goes on where it was."""

    exit_code = 1


class AwayError(MlflowError):
    """A server that does not answer, or not now."""


def check_address(url: str, *, is_insecure: bool) -> str:
    """Refuse what is no tracking server, or one on the way to which a token could be overheard.

    Args:
        url: as it was typed.
        is_insecure: whether clear text may go to other hosts too.

    Returns:
        The address, without a slash at its end.

    Raises:
        ConfigurationError: saying what works.
    """
    secret = "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD say them, --token-file a token"
    fault = address_fault(url, "--mlflow", "https://mlflow.example:5000", secret)
    if fault is not None:
        raise ConfigurationError(fault)
    if is_overheard(url) and not is_insecure:
        raise ConfigurationError(
            f"--mlflow {url} sends the run, and the token, to another host in clear text; use https://, or --insecure "
            "where the network is trusted"
        )
    return url.rstrip("/")


@contextmanager
def connected(
    url: str, token_file: Path | None, patience_s: float, is_awaited: Callable[[], bool], say: Callable[[str], None]
) -> Iterator[TrackingServer]:
    """Give a server while the block runs; MLflow is told by its own variables how to ask.

    Args:
        url: of the server.
        token_file: file of its token, which nobody else may read; None: MLflow's own variables count.
        patience_s: for how long it may be away.
        is_awaited: whether it may be away for longer.
        say: told when it is away, and when it is back.

    Raises:
        ConfigurationError: MLflow's client is missing, or the token cannot be used.
    """
    token = read_token(token_file, "MLflow")
    asked = {**_SETTINGS, **({} if token is None else {"MLFLOW_TRACKING_TOKEN": token})}
    hidden = (
        () if token is None else ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")
    )  # they would count over it
    before = {name: os.environ.get(name) for name in (*asked, *hidden)}
    os.environ.update(asked)
    for name in hidden:
        os.environ.pop(name, None)
    try:
        yield TrackingServer(url, patience_s, is_awaited, say)
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


class TrackingServer:
    """A server that is asked until it answers; see `connected`."""

    def __init__(self, url: str, patience_s: float, is_awaited: Callable[[], bool], say: Callable[[str], None]) -> None:
        try:
            from mlflow import MlflowClient
        except ModuleNotFoundError:
            raise ConfigurationError("MLflow's client is missing: pip install 'r2d2[mlflow]'") from None
        logging.getLogger("mlflow").setLevel(logging.ERROR)
        self.url, self._client = url, MlflowClient(url)
        self._patience_s, self._is_awaited, self._say = patience_s, is_awaited, say

    def open_run(self, experiment: str, name: str, begun: float, known: str | None) -> str:
        """Go on with a run, or begin one.

        Args:
            experiment: its name; it is made where there is none.
            name: of the run.
            begun: when it began, in seconds since 1970.
            known: MLflow's name of the run, where it was logged before.

        Returns:
            MLflow's name of the run; another than `known` where somebody has deleted that.
        """
        client = self._client
        if known is not None:
            found = self._asked(lambda: client.get_run(known), absent=None)
            if found is not None and found.info.lifecycle_stage == "active":
                return known
        place = self._asked(lambda: client.get_experiment_by_name(experiment), absent=None)
        if place is not None and place.lifecycle_stage != "active":
            raise MlflowError(
                f"the experiment {experiment} was deleted in MLflow at {self.url}; restore it, or name another"
            )
        where = (
            place.experiment_id
            if place is not None
            else self._asked(lambda: client.create_experiment(experiment, tags=_KIND))
        )
        tags = {"r2d2.run": name, "r2d2.begun": repr(begun)}
        query = " and ".join(f"tags.`{tag}` = '{value}'" for tag, value in tags.items() if "'" not in value)
        same = self._asked(lambda: client.search_runs([where], query, max_results=1))
        if same:  # logged from a copy of the folder, or the note of it was lost
            return str(same[0].info.run_id)
        tags |= {"mlflow.source.name": "r2d2 train", "mlflow.source.type": "LOCAL"}
        made = self._asked(lambda: client.create_run(where, start_time=_milliseconds(begun), tags=tags, run_name=name))
        return str(made.info.run_id)

    def parameters(self, run_id: str) -> dict[str, str]:
        """Read the parameters that a run has."""
        return dict(self._asked(lambda: self._client.get_run(run_id)).data.params)

    def log_settings(self, run_id: str, parameters: Mapping[str, str], tags: Mapping[str, str]) -> None:
        """Log parameters and tags."""
        from mlflow.entities import Param, RunTag

        asked = [Param(key, value) for key, value in parameters.items()]
        told = [RunTag(key, value) for key, value in tags.items()]
        for at in range(0, max(len(asked), len(told)), _MOST_PARAMETERS):
            part = slice(at, at + _MOST_PARAMETERS)
            self._log(run_id, params=asked[part], tags=told[part])

    def log_metrics(self, run_id: str, figures: Sequence[Figure]) -> None:
        """Log metrics; those that the server has already are there once."""
        from mlflow.entities import Metric

        metrics = [Metric(one.name, one.value, _milliseconds(one.time), one.step) for one in figures]
        for at in range(0, len(metrics), MOST_METRICS):
            self._log(run_id, metrics=metrics[at : at + MOST_METRICS])

    def log_file(self, run_id: str, file: Path, place: str | None) -> None:
        """Upload a file into a folder of the run's artifacts.

        Raises:
            MlflowError: besides, where the server would have it written elsewhere than to itself or a cloud's store.
        """
        where = urlsplit(self._asked(lambda: self._client.get_run(run_id)).info.artifact_uri)
        own = urlsplit(self.url)
        is_elsewhere = where.scheme in ("http", "https", "mlflow-artifacts") and where.netloc not in ("", own.netloc)
        if where.scheme in _OWN_STORES or is_elsewhere:
            raise MlflowError(
                f"MLflow at {self.url} takes no files: it would have them written to {where.geturl()!r}; start it with "
                "--artifacts-destination, or leave them out with --no-files"
            )
        self._asked(lambda: self._client.log_artifact(run_id, str(file), place))

    def set_state(self, run_id: str, status: str, ended: float | None) -> None:
        """Say how a run stands: RUNNING, or how and when it ended."""
        client = self._client
        if ended is None:
            self._asked(lambda: client.update_run(run_id, status=status))
        else:
            self._asked(lambda: client.set_terminated(run_id, status, _milliseconds(ended)))

    def _log(self, run_id: str, **what: Any) -> None:
        self._asked(lambda: self._client.log_batch(run_id, synchronous=True, **what))

    def _asked(self, ask: Callable[[], Answer], **absent: Any) -> Any:
        """Ask until there is an answer; `absent` is one for what is not there."""
        end, pause_s, is_away = time.monotonic() + self._patience_s, 1.0, False
        while True:
            try:
                answer = ask()
                break
            except Exception as error:  # whatever a server does, and however the client fails at it
                status, words = _status_of(error), self._shown(_words_of(error))
            if status == 404 and absent:
                return absent["absent"]
            if status is not None and 400 <= status < 500 and status not in _PASSING:
                raise MlflowError(f"MLflow at {self.url} refuses: {words}") from None
            if time.monotonic() + pause_s > end and not self._is_awaited():
                raise AwayError(
                    f"MLflow at {self.url} does not take the run: {words}; the same command goes on where it was"
                ) from None
            if not is_away:
                self._say(f"MLflow at {self.url} does not take the run: {words}; it is asked again")
            is_away = True
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        if is_away:
            self._say(f"MLflow at {self.url} takes the run again")
        return answer

    def _shown(self, words: str) -> str:
        """Shorten what a server said, and leave secrets out, which it may repeat."""
        for secret in filter(None, map(os.environ.get, _SECRETS)):
            words = words.replace(secret, "...")
        text = "".join(one if one.isprintable() else " " for one in words)
        return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]} ..."


def _milliseconds(seconds: float) -> int:
    return round(1000 * seconds)


def _status_of(error: Exception) -> int | None:
    """Give the HTTP status that an error stands for; None: it is no answer."""
    from mlflow.exceptions import MlflowException

    response = getattr(error, "response", None)
    if response is not None and hasattr(response, "status_code"):
        return int(response.status_code)
    return error.get_http_status_code() if isinstance(error, MlflowException) else None  # 500 where there was no answer


def _words_of(error: Exception) -> str:
    """Say in a few words why a server did not take something."""
    text = " ".join(str(error).split())
    answered = re.search(r"too many (\d+) error responses", text)
    if answered:
        return f"it answers {answered[1]}"
    if "timeout exception" in text or "timed out" in text:
        return "it does not answer"
    if "Connection" in text and "failed with exception" in text:
        return "it cannot be reached"
    return text
