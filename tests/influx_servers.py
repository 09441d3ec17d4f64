"""Servers that take InfluxDB's writes: VictoriaMetrics (Debian's `victoria-metrics`), and one that misbehaves."""

import contextlib
import gzip
import json
import shutil
import socket
import ssl
import subprocess
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

VICTORIA = shutil.which("victoria-metrics")
PATIENCE_S = 120.0  # only ends what hangs
VISIBLE_S = 30.0
BETWEEN_LOOKS_S = 1.5

needs_victoria = pytest.mark.skipif(VICTORIA is None, reason="VictoriaMetrics is not installed")

Labels = frozenset[tuple[str, str]]
Series = dict[tuple[str, Labels], dict[int, float]]
"""Values by millisecond, of each name (measurement_field) and labels."""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


class Victoria:
    """A server with a folder and an address of its own, which may go away and come back.

    Args:
        folder: where its data lie.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._port = folder, free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        command = [str(VICTORIA), f"-storageDataPath={self._folder}", f"-httpListenAddr=127.0.0.1:{self._port}"]
        command += ["-search.latencyOffset=0s", "-search.disableCache", "-dedup.minScrapeInterval=1ms"]
        self._process = subprocess.Popen(
            [*command, "-retentionPeriod=100y", "-loggerLevel=ERROR"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        end = time.monotonic() + PATIENCE_S
        while True:
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"{self.url}/health", timeout=PATIENCE_S).close()
                return
            assert time.monotonic() < end and self._process.poll() is None
            time.sleep(0.05)

    def stop(self) -> None:
        """End it as a service is ended: what it has taken is on the disk then."""
        process, self._process = self._process, None
        if process is not None:
            process.terminate()
            process.wait(PATIENCE_S)

    def series(self, run: str = ".*") -> Series:
        """Everything that it has of some runs."""
        return series_of(self.url, f'{{run=~"{run}"}}')


def series_of(url: str, selector: str) -> Series:
    """Everything that a VictoriaMetrics has, once that is the same in two looks.

    It shows a point a second or more after it took it, even if told to flush, and on a busy machine later still:
    what has no point yet is looked at again.

    Args:
        url: of the server.
        selector: of what is asked for, as in PromQL.
    """
    end = time.monotonic() + VISIBLE_S
    found: Series = {}
    while time.monotonic() < end:
        before = found
        time.sleep(BETWEEN_LOOKS_S)
        found = _shown(url, selector)
        if found and found == before:
            break
    return found


def _shown(url: str, selector: str) -> Series:
    query = urllib.parse.urlencode({"match[]": selector, "reduce_mem_usage": "1"})
    with urllib.request.urlopen(f"{url}/api/v1/export?{query}", timeout=PATIENCE_S) as answer:
        lines = answer.read().splitlines()
    found: Series = {}
    for line in lines:
        one = json.loads(line)
        name = one["metric"].pop("__name__")
        values = found.setdefault((name, frozenset(one["metric"].items())), {})
        values.update(zip(one["timestamps"], one["values"], strict=True))
    return found


@contextlib.contextmanager
def victoria(folder: Path) -> Iterator[Victoria]:
    server = Victoria(folder)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@dataclass
class Asked:
    """A request that was made."""

    path: str
    token: str | None
    lines: list[str]
    headers: dict[str, str] = field(default_factory=dict)


Answer = Callable[[BaseHTTPRequestHandler, Asked], None]


@dataclass
class Misbehaving:
    """A server that answers as it is told, in order, and with the last answer from then on."""

    answers: list[Answer]
    url: str = ""
    asked: list[Asked] = field(default_factory=list)
    is_closing: threading.Event = field(default_factory=threading.Event)

    @property
    def lines(self) -> list[str]:
        return [line for one in self.asked for line in one.lines]


def status(code: int, body: str = "", **headers: str) -> Answer:
    """Answer with a status."""

    def answer(handler: BaseHTTPRequestHandler, asked: Asked) -> None:
        handler.send_response(code)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(body.encode())

    return answer


def hang(handler: BaseHTTPRequestHandler, asked: Asked) -> None:
    """Never answer."""
    handler.server.told.is_closing.wait(PATIENCE_S)  # type: ignore[attr-defined]


OK = status(204)


@contextlib.contextmanager
def misbehaving(*answers: Answer, certificate: tuple[Path, Path] | None = None) -> Iterator[Misbehaving]:
    """Serve on an address of this host; by TLS where a certificate and its key are given."""
    told = Misbehaving(list(answers))

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            lines, headers = body.decode().splitlines(), dict(self.headers.items())
            asked = Asked(self.path, self.headers.get("Authorization"), lines, headers)
            told.asked.append(asked)
            answer = told.answers.pop(0) if len(told.answers) > 1 else told.answers[0]
            with contextlib.suppress(OSError):
                answer(self, asked)

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False

        def handle_error(self, *_: object) -> None:
            pass

    with Server(("127.0.0.1", 0), Handler) as server:
        server.told = told  # type: ignore[attr-defined]  # for answers that wait for the end
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        told.url = f"http{'' if certificate is None else 's'}://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield told
        finally:
            told.is_closing.set()
            server.shutdown()
            thread.join()
