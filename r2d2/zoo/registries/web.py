"""Registries behind HTTP(S): pooch decides what is fetched and checks it, requests carries it, within limits."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote, urljoin, urlsplit

from pydantic import BaseModel, ConfigDict, Field

from r2d2.errors import FetchError, ZooError
from r2d2.zoo.registries.index import FileFacts
from r2d2.zoo.registries.places import CHUNK, Told, check_address, is_loopback
from r2d2.zoo.registries.printable import printable
from r2d2_base.errors import R2D2Error
from r2d2_base.files import writing
from r2d2_base.progress import Watcher

if TYPE_CHECKING:
    import requests

__all__ = ["Patience", "WebPlace"]

Result = TypeVar("Result")

MOST_REDIRECTS = 5
PASSING = (408, 425, 429, 500, 502, 503, 504)
"""Answers of a server that may be others in a moment."""


class Patience(BaseModel):
    """How long a server is waited for, and how often it is asked again."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    answer_s: float = Field(default=30, gt=0, description="seconds without a byte after which a connection is given up")
    slow_s: float = Field(default=60, gt=0, description="seconds in which slow_bytes must come at least")
    slow_bytes: int = Field(default=60_000, ge=0, description="see slow_s")
    tries: int = Field(default=4, ge=1, description="how often a file is asked for, each time from where it broke off")
    pause_s: float = Field(default=0.5, ge=0, description="seconds before the second try; doubled before each other")


PATIENCE = Patience()


@dataclass(frozen=True)
class WebPlace:
    """A registry behind an address, which ends in a slash; see `Place`."""

    address: str
    is_insecure: bool
    watcher: Watcher
    patience: Patience = field(default_factory=lambda: PATIENCE)

    @property
    def shown(self) -> str:
        """The address."""
        return self.address

    def read(self, path: str, limit: int) -> bytes | None:
        """See `Place`."""
        address = urljoin(self.address, quote(path))
        return self._patiently(lambda: self._read(address, limit))

    def _read(self, address: str, limit: int) -> bytes | None:
        with self._answer(address) as answer:
            if answer.status_code == 404:
                return None
            _check_status(answer, address)
            data = bytearray()
            for chunk in self._chunks(answer, address):
                data += chunk
                if len(data) > limit:
                    raise ZooError(f"{address} has more than {limit} bytes; it is not what it should be")
            return bytes(data)

    def fetch(self, path: str, facts: FileFacts, target: Path, parts: Path, told: Told) -> None:
        """See `Place`."""
        import pooch

        pooch.get_logger().setLevel(logging.WARNING)  # else it prints where each file comes from and goes to
        address = urljoin(self.address, quote(path))
        part = parts / facts.sha256
        is_begun = part.is_file()

        def download(address: str, output: str, _: Any) -> None:
            self._patiently(lambda: self._download(address, facts, part, told))
            shutil.move(part, output)

        name, folder = target.name, target.parent
        hashes = {name: f"sha256:{facts.sha256}"}
        fetcher = pooch.create(path=folder, base_url=self.address, registry=hashes, urls={name: address})
        try:
            with writing(target):
                for needed in (folder, parts):
                    needed.mkdir(parents=True, exist_ok=True)
                fetcher.fetch(name, downloader=download)
        except R2D2Error:
            raise
        except ValueError as error:  # pooch's word on a wrong SHA-256; the file is gone
            if is_begun:  # by an earlier call, perhaps from another file
                self.fetch(path, facts, target, parts, told)
                return
            raise ZooError(
                f"{address} is not the file that the registry's index names (SHA-256 differs); tell who keeps it"
            ) from error

    def _download(self, address: str, facts: FileFacts, part: Path, told: Told) -> None:
        """Write a file's bytes to ``part``, after those that are there already where the server can do that."""
        have = part.stat().st_size if part.is_file() else 0
        if 0 < have == facts.size:
            return
        with self._answer(address, have) as answer:
            if have and answer.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
                _check_status(answer, address, 206)
            elif have and answer.status_code != 200:  # such as 416: nothing to go on with
                part.unlink()
                raise FetchError(f"{address}: the server cannot go on where it broke off; try again")
            else:
                _check_status(answer, address)
                have = 0
            with part.open("r+b" if have else "wb") as out:
                out.seek(have)
                for chunk in self._chunks(answer, address):
                    have += len(chunk)
                    if have > facts.size:
                        raise ZooError(f"{address} has more than the {facts.size} bytes that the index names")
                    out.write(chunk)
                    told(have)
            if have < facts.size:
                is_all = "Content-Length" in answer.headers
                said = f"{address} ended after {have} of {facts.size} bytes"
                raise ZooError(f"{said}; it is not the file that the index names") if is_all else FetchError(said)

    def _patiently(self, work: Callable[[], Result]) -> Result:
        """Return what ``work`` does; where a server fails it, it is done again after a pause."""
        for number in range(self.patience.tries - 1):
            try:
                return work()
            except FetchError:
                self._pause(self.patience.pause_s * 2**number)
        return work()

    def _pause(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.watcher.check()
            time.sleep(min(left, 0.2))

    @contextmanager
    def _answer(self, address: str, begin: int = 0) -> Iterator[requests.Response]:
        """Ask for a file, from its byte ``begin`` on; redirects are followed where they may lead."""
        import requests

        from r2d2 import __version__

        headers = {"Accept-Encoding": "identity", "User-Agent": f"r2d2/{__version__}"}
        if begin:
            headers["Range"] = f"bytes={begin}-"
        with requests.Session() as session:
            for _ in range(MOST_REDIRECTS + 1):
                direct = dict.fromkeys(("http", "https", "all")) if is_loopback(urlsplit(address).hostname) else None
                with self._broken_off(address):
                    answer = session.get(
                        address,
                        headers=headers,
                        proxies=direct,  # type: ignore[arg-type]  # None takes away what the environment names
                        stream=True,
                        allow_redirects=False,
                        timeout=self.patience.answer_s,
                    )
                if not answer.is_redirect:
                    with answer:
                        yield answer
                    return
                address = self._redirected(address, answer.headers["Location"])
                answer.close()
        raise ZooError(f"{address} redirects more than {MOST_REDIRECTS} times; name the address where the registry is")

    def _redirected(self, address: str, target: str) -> str:
        """Give where a redirect leads.

        Raises:
            ZooError: it leads to another scheme, from HTTPS to HTTP, or where `check_address` would not go.
        """
        there = printable(urljoin(address, target))
        if urlsplit(there).scheme not in ("http", "https"):
            raise ZooError(f"{address} redirects to {there:.200}, which is no HTTP; nothing was fetched from there")
        if urlsplit(address).scheme == "https" and urlsplit(there).scheme == "http" and not self.is_insecure:
            raise ZooError(f"{address} redirects from HTTPS to plain {there:.200}; nothing was fetched from there")
        try:
            check_address(urlsplit(there)._replace(query="", fragment="").geturl(), is_insecure=self.is_insecure)
        except ZooError as error:
            raise ZooError(f"{address} redirects: {error}") from error
        return there

    def _chunks(self, answer: requests.Response, address: str) -> Iterator[bytes]:
        """Yield what comes, as it comes.

        Raises:
            FetchError: it breaks off, or comes too slowly.
        """
        patience, since, came = self.patience, time.monotonic(), 0
        while True:
            self.watcher.check()
            with self._broken_off(address):
                chunk = answer.raw.read1(CHUNK, decode_content=False)
            if not chunk:
                return
            yield chunk
            came += len(chunk)
            if time.monotonic() - since >= patience.slow_s:
                if came < patience.slow_bytes:
                    raise FetchError(f"{address} sends {came} bytes in {patience.slow_s:g} s; try again later")
                since, came = time.monotonic(), 0

    @contextmanager
    def _broken_off(self, address: str) -> Iterator[None]:
        """Say in a line what went wrong on the way; only what talks to the server stands in the block."""
        import requests
        import urllib3

        try:
            yield
        except requests.exceptions.SSLError as error:
            raise ZooError(
                f"{address} has no certificate that is trusted here ({_reason(error)}); REQUESTS_CA_BUNDLE names the"
                " file of an authority of your own"
            ) from error
        except (requests.exceptions.Timeout, urllib3.exceptions.TimeoutError) as error:
            raise FetchError(f"{address} gave nothing for {self.patience.answer_s:g} s; try again") from error
        except (requests.exceptions.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            raise FetchError(f"{address} cannot be fetched ({_reason(error)}); try again") from error


def _check_status(answer: requests.Response, address: str, wanted: int = 200) -> None:
    status = answer.status_code
    if status == wanted:
        return
    said = f"{address} cannot be fetched (HTTP {status} {printable(answer.reason or '')}".rstrip() + ")"
    if status in PASSING:
        raise FetchError(f"{said}; try again")
    raise ZooError(f"{said}; check the address, or tell who keeps the registry")


def _reason(error: BaseException) -> str:
    """Find what is at the bottom of the errors that libraries wrap in each other."""
    for _ in range(10):
        inner = getattr(error, "reason", None)
        inner = inner if isinstance(inner, BaseException) else next(iter(error.args), None)
        inner = inner if isinstance(inner, BaseException) else error.__cause__ or error.__context__
        if inner is None:
            break
        error = inner
    said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return printable(" ".join(said.split()))[:200].lower() or type(error).__name__
