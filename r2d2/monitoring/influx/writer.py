"""One server of InfluxDB 2, and what it answers to points: taken, refused, or not now."""

from __future__ import annotations

import time
from collections.abc import Sequence
from email.utils import parsedate_to_datetime

import urllib3
from influxdb_client import InfluxDBClient
from influxdb_client.client.write_api import SYNCHRONOUS
from influxdb_client.rest import ApiException

from r2d2.monitoring.influx.points import PRECISION
from r2d2.monitoring.influx.target import Target, read_token
from r2d2_base.errors import ConfigurationError

__all__ = ["NotTakenError", "Writer"]

LONGEST_WAIT_S = 300.0
"""Whatever a server asks for."""
_LASTING_WAIT_S = 60.0
_REFUSED = (400, 422)
_TOO_LARGE = 413
_PASSING = (408, 425, 429)
_LONGEST_SHOWN = 200


class NotTakenError(Exception):
    """Points that a server does not take at present; they are to be kept.

    Args:
        message: why; holds no token.
        wait_s: seconds after which it may, where that is known.
    """

    def __init__(self, message: str, wait_s: float | None = None) -> None:
        super().__init__(message)
        self.wait_s = wait_s


class Writer:
    """Writes points to a server; nothing that this answers raises another error than `NotTakenError`.

    Args:
        target: the server.
        timeout_s: seconds that it has to answer.
    """

    def __init__(self, target: Target, timeout_s: float) -> None:
        self._target, self._timeout_ms = target, int(1000 * timeout_s)
        self._client: InfluxDBClient | None = None
        self._token: str | None = None
        self._most: int | None = None

    def write(self, lines: Sequence[str]) -> int:
        """Write points; those that the server took before an error are written anew, which changes nothing.

        Returns:
            How many of them it will not have.

        Raises:
            NotTakenError: it takes none at present.
        """
        refused, parts = 0, [lines]
        while parts:
            part = parts.pop()
            if self._most is not None and len(part) > self._most:
                parts += [part[at : at + self._most] for at in range(0, len(part), self._most)]
                continue
            status = self._status(part)
            if status == _TOO_LARGE and len(part) > 1:
                self._most = len(part) // 2
                parts.append(part)
            elif status is not None:
                refused += len(part)
        return refused

    def close(self) -> None:
        """Close the connections; the next write reads the token anew."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def _status(self, lines: Sequence[str]) -> int | None:
        """Send lines; gives the status by which they were refused, None where they were taken."""
        body, is_kept = "\n".join(lines).encode(), self._client is not None
        try:
            self._opened().write_api(write_options=SYNCHRONOUS).write(
                self._target.bucket, self._target.org, body, write_precision=PRECISION
            )
        except ApiException as error:
            if error.status in (*_REFUSED, _TOO_LARGE):
                return int(error.status)
            raise self._fault(error) from None
        except ConfigurationError as error:
            raise NotTakenError(str(error), _LASTING_WAIT_S) from None
        except MemoryError:
            self.close()
            raise NotTakenError("its answer has no end") from None
        except Exception as error:  # whatever a server does, and however the client fails at it
            self.close()
            if is_kept and isinstance(error, urllib3.exceptions.ProtocolError):
                return self._status(lines)  # the server had closed an idle connection
            raise NotTakenError(self._shown(_words_of(error))) from None
        return None

    def _opened(self) -> InfluxDBClient:
        if self._client is None:
            self._token = read_token(self._target.token_file)
            self._client = InfluxDBClient(
                self._target.url,
                self._token,  # type: ignore[arg-type]  # there may be none
                org=self._target.org,
                timeout=(self._timeout_ms, self._timeout_ms),
                enable_gzip=True,
                # not led elsewhere either: the token is for this server
                retries=urllib3.Retry(0, redirect=0, raise_on_redirect=False, raise_on_status=False),
            )
        return self._client

    def _fault(self, error: ApiException) -> NotTakenError:
        status = int(error.status or 0)
        if not status:
            return NotTakenError(self._shown(str(error.reason)))
        self.close()
        said = error.message or error.reason
        words = f"it answers {status} ({said})"
        is_passing = status in _PASSING or status >= 500
        wait_s = _seconds_of(error.retry_after) if is_passing else _LASTING_WAIT_S
        return NotTakenError(self._shown(words), wait_s)

    def _shown(self, words: str) -> str:
        """Shorten what a server said, and leave the token out, which it may repeat."""
        if self._token:
            words = words.replace(self._token, "...")
        text = "".join(one if one.isprintable() else " " for one in words)
        return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]} ..."


def _words_of(error: BaseException) -> str:
    """Say in a few words why a server was not reached."""
    inner = getattr(error, "reason", None)
    inner = inner if isinstance(inner, BaseException) else error
    if isinstance(inner, urllib3.exceptions.NewConnectionError):
        return "it cannot be reached"
    if isinstance(inner, urllib3.exceptions.TimeoutError | TimeoutError):
        return "it does not answer"
    return f"{type(inner).__name__}: {inner}"


def _seconds_of(text: str | None) -> float | None:
    """Read a Retry-After header: seconds, or a date.

    >>> _seconds_of("7"), _seconds_of("soon"), _seconds_of(None), _seconds_of("1e9")
    (7.0, None, None, 300.0)
    """
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(text).timestamp() - time.time()
        except (ValueError, OverflowError):
            return None
    return min(max(seconds, 0.0), LONGEST_WAIT_S) if seconds == seconds else None
