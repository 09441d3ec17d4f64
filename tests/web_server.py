"""A web server on this machine that serves a folder, and misbehaves where a test tells it to."""

import re
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

__all__ = ["Handler", "WebServer", "breaking_off", "moved", "other_bytes", "refusing", "served", "slow"]


class Handler(BaseHTTPRequestHandler):
    """Serves files, a part of one too where it is asked for; what the server was told of a path comes first."""

    server: "WebServer"

    def do_GET(self) -> None:
        begin = int(found[1]) if (found := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))) else 0
        self.server.asked.append((self.path, begin))
        file = self.server.folder / self.path.lstrip("/")
        act = next((act for pattern, act in self.server.acts.items() if re.fullmatch(pattern, self.path)), None)
        data = file.read_bytes() if file.is_file() else b""
        if act is not None and act(self, data, begin):
            return
        if not file.is_file():
            self.send_error(404)
        else:
            self.give(data, begin)

    def give(self, data: bytes, begin: int = 0, length: int | None = None) -> None:
        """Send data from a byte on, and say that it is as long as it is, or another length."""
        if begin and begin < len(data):
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {begin}-{len(data) - 1}/{len(data)}")
        elif begin:
            self.send_error(416)
            return
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(data) - begin if length is None else length))
        self.end_headers()
        self.wfile.write(data[begin:])

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""


Act = Callable[[Handler, bytes, int], bool]
"""What is done about a request, with the file's data and the byte from which on it is asked for; False: the usual."""


class WebServer(ThreadingHTTPServer):
    """See the module.

    Attributes:
        folder: that is served.
        acts: what is done about paths, by regular expressions.
        asked: the paths that were asked for, each with the byte from which on.
    """

    daemon_threads = True

    def __init__(self, folder: Path, certificate: Path | None = None) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder, self.scheme = folder, "http"
        self.acts: dict[str, Act] = {}
        self.asked: list[tuple[str, int]] = []
        if certificate is not None:
            self.scheme, context = "https", ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self.socket = context.wrap_socket(self.socket, server_side=True)

    @property
    def address(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.server_port}"

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away is no fault."""


@contextmanager
def served(folder: Path, certificate: Path | None = None) -> Iterator[WebServer]:
    """Serve a folder while the block runs; `certificate`: a PEM file with its key, for HTTPS."""
    with WebServer(folder, certificate) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def breaking_off(after: int, times: int = 1, *, can_go_on: bool = True) -> Act:
    """Send so many bytes of a file and go away, the first times; `can_go_on`: whether parts can be asked for."""
    left = [times]

    def act(handler: Handler, data: bytes, begin: int) -> bool:
        begin = begin if can_go_on else 0
        if left[0] <= 0:
            handler.give(data, begin)
            return True
        left[0] -= 1
        handler.give(data[: begin + after], begin, length=len(data) - begin)
        return True

    return act


def slow(pause_s: float, size: int = 1) -> Act:
    """Send a few bytes at a time; of a part too, where it is asked for."""

    def act(handler: Handler, data: bytes, begin: int) -> bool:
        handler.give(data[: begin + size], begin, length=len(data) - begin)
        for at in range(begin + size, len(data), size):
            time.sleep(pause_s)
            handler.wfile.write(data[at : at + size])
        return True

    return act


def other_bytes(change: Callable[[bytes], bytes]) -> Act:
    """Send something else."""

    def act(handler: Handler, data: bytes, begin: int) -> bool:
        handler.give(change(data))
        return True

    return act


def moved(target: str, status: int = 302) -> Act:
    """Redirect."""

    def act(handler: Handler, data: bytes, begin: int) -> bool:
        handler.send_response(status)
        handler.send_header("Location", target)
        handler.send_header("Content-Length", "0")
        handler.end_headers()
        return True

    return act


def refusing(status: int, times: int = 1000) -> Act:
    """Answer with an error, the first times."""
    left = [times]

    def act(handler: Handler, data: bytes, begin: int) -> bool:
        left[0] -= 1
        if left[0] >= 0:
            handler.send_error(status)
        return left[0] >= 0

    return act
