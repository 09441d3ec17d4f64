"""A real tracking server of MLflow, in an environment of its own, and a way to it that misbehaves."""

import contextlib
import http.client
import os
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.influx_servers import free_port

FOLDER = Path(sys.prefix) / "mlflow"
"""Where `make install-tests` puts the server, apart from the rest: it wants other versions of what the suite uses."""
PATIENCE_S = 180.0  # only ends what hangs
_HOP = ("connection", "keep-alive", "transfer-encoding", "content-length", "host")

needs_mlflow = pytest.mark.skipif(not FOLDER.is_dir(), reason=f"MLflow's server is not in {FOLDER}")


class Mlflow:
    """A server with a database, a folder of artifacts and an address of its own, which may go away and come back.

    Args:
        folder: where its data lie.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._port = folder, free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self._port)]
        command += ["--workers", "1", "--backend-store-uri", f"sqlite:///{self._folder}/runs.db"]
        command += ["--artifacts-destination", str(self._folder / "artifacts")]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
        environment |= {"PYTHONPATH": str(FOLDER), "MLFLOW_DISABLE_TELEMETRY": "true"}
        environment |= {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        environment |= {"MLFLOW_ALLOWED_HOST_ADDRESSED_ARTIFACT_SCHEMES": "mlflow-artifacts"}  # for what is refused
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                command, cwd=self._folder, env=environment, stdout=log, stderr=log, start_new_session=True
            )
        end = time.monotonic() + PATIENCE_S
        while True:
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"{self.url}/health", timeout=PATIENCE_S).close()
                return
            log_text = (self._folder / "server.log").read_text(errors="replace")
            assert time.monotonic() < end and self._process.poll() is None, log_text
            time.sleep(0.1)

    def stop(self) -> None:
        """End it with its workers."""
        process, self._process = self._process, None
        if process is not None:
            os.killpg(process.pid, 15)
            process.wait(PATIENCE_S)


@contextlib.contextmanager
def mlflow_server(folder: Path) -> Iterator[Mlflow]:
    server = Mlflow(folder)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@dataclass
class Way:
    """A way to a server, on which the next requests come to grief.

    Attributes:
        url: its address.
        faults: statuses for the next requests; 0: the connection is cut after the server has answered.
        on: part of the paths on which they do.
        token: that it asks for; None: it asks for none.
        asked: method, path and token of each request.
    """

    url: str = ""
    faults: list[int] = field(default_factory=list)
    on: str = ""
    token: str | None = None
    asked: list[tuple[str, str, str | None]] = field(default_factory=list)


@contextlib.contextmanager
def way_to(server_url: str) -> Iterator[Way]:
    """Hand requests on to a server, as far as no fault is told."""
    way = Way()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            way.asked.append((self.command, self.path, self.headers.get("Authorization")))
            status, content, headers = 401, b"who are you, " + str(self.headers.get("Authorization")).encode(), []
            fault = way.faults.pop(0) if way.faults and way.on in self.path else None
            if fault:
                status, content = fault, b"out of order"
            elif way.token is None or self.headers.get("Authorization") == f"Bearer {way.token}":
                status, content, headers = self._handed_on(body)
            if fault == 0:
                self.close_connection = True
                return
            self.send_response(status)
            for name, value in headers:
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def _handed_on(self, body: bytes) -> tuple[int, bytes, list[tuple[str, str]]]:
            connection = http.client.HTTPConnection(urlsplit(server_url).netloc, timeout=PATIENCE_S)
            kept = {name: value for name, value in self.headers.items() if name.lower() not in _HOP}
            connection.request(self.command, self.path, body, kept)
            answer = connection.getresponse()
            content = answer.read()
            headers = [(name, value) for name, value in answer.getheaders() if name.lower() not in _HOP]
            connection.close()
            return answer.status, content, headers

        do_GET = do_POST = do_PUT = do_PATCH = _answer  # noqa: N815 - as the library calls them

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as proxy:
        proxy.daemon_threads = True
        way.url = f"http://127.0.0.1:{proxy.server_port}"
        thread = threading.Thread(target=proxy.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield way
        finally:
            proxy.shutdown()
            thread.join()
