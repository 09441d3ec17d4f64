"""Where the workers of a job on this host find each other: Horovod's rendezvous for Gloo, with a door.

Horovod's own listens on all interfaces, takes whatever is put there, and answers HEAD about files of the working
folder. This one listens on loopback, to processes of this user alone, and knows the keys that the workers exchange.
"""

from __future__ import annotations

import logging
import os
import re
import socketserver
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any

from horovod.runner.common.util.hosts import get_host_assignments, parse_hosts
from horovod.runner.gloo_run import create_slot_env_vars
from horovod.runner.http.http_server import RendezvousHTTPServer

from r2d2.launching.socket_owner import owner_of_peer

__all__ = ["Exchange", "Rendezvous"]

LOOPBACK, INTERFACE = "127.0.0.1", "lo"
LARGEST_VALUE = 2**20
"""Bytes; a worker puts some hundred for each of the others."""
_PROCESS_SET = "_process_set_hash_"
"""Horovod connects its workers twice: as a job, and as the set of all its processes, whose name ends so."""
_KEY = re.compile(r"(rank_)?(\d{1,6})")
_HASH = re.compile(r"[0-9a-f]{1,16}")
_log = logging.getLogger(__name__)


class Exchange:
    """What the workers of one job tell each other: addresses, each once.

    Args:
        sizes: for each scope, which is a ring of workers, how many they are.
    """

    def __init__(self, sizes: dict[str, int]) -> None:
        self._sizes = sizes
        self._lock = threading.Lock()
        self._hash: str | None = None
        self._values: dict[tuple[str, str], bytes] = {}
        self._connected: dict[str, set[str]] = {}

    @property
    def is_over(self) -> bool:
        """Whether every worker is connected with all others."""
        with self._lock:
            return len(self._connected) == 2 * len(self._sizes) and all(map(self._is_closed, self._connected))

    def get(self, path: str) -> bytes | None:
        """Give the value of a key; None where there is none, or no longer."""
        with self._lock:
            scope, key = self._place(path)
            return None if self._is_closed(scope) else self._values.get((scope, key))

    def put(self, path: str, value: bytes) -> HTTPStatus:
        """Take the value of a key; a worker that got no answer may put the same again."""
        with self._lock:
            scope, key = self._place(path)
            if not key:
                return HTTPStatus.FORBIDDEN
            self._hash = scope.partition(_PROCESS_SET)[2] or self._hash
            if self._is_closed(scope) or self._values.setdefault((scope, key), value) != value:
                return HTTPStatus.CONFLICT
            return HTTPStatus.OK

    def delete(self, path: str) -> HTTPStatus:
        """Hear from a rank that it is connected with all others of a scope; after the last one its values go."""
        with self._lock:
            scope, key = self._place(path)
            if not key.isdecimal():
                return HTTPStatus.FORBIDDEN
            self._connected.setdefault(scope, set()).add(key)
            if self._is_closed(scope):
                self._values = {place: value for place, value in self._values.items() if place[0] != scope}
            return HTTPStatus.OK

    def _is_closed(self, scope: str) -> bool:
        return len(self._connected.get(scope, ())) == self._sizes.get(scope.partition(_PROCESS_SET)[0], 0)

    def _place(self, path: str) -> tuple[str, str]:
        """Read "/scope/key"; the key is empty where workers of this job have no such one."""
        scope, _, key = path.removeprefix("/").partition("/")
        base, is_of_set, hash_ = scope.partition(_PROCESS_SET)
        found = _KEY.fullmatch(key)
        if base not in self._sizes or found is None or int(found[2]) >= self._sizes[base]:
            return scope, ""
        if is_of_set and not (_HASH.fullmatch(hash_) and self._hash in (None, hash_)):
            return scope, ""
        return scope, key


class _Handler(BaseHTTPRequestHandler):
    """A request of a worker; nothing that another user's process sends is even read."""

    timeout = 3
    server: _Server

    def handle(self) -> None:
        peer, own = self.client_address, self.server.server_address
        owner = owner_of_peer((str(peer[0]), peer[1]), (LOOPBACK, own[1]))
        if owner == self.server.owner:
            super().handle()
        else:
            _log.warning("a process of user %s was not let into the rendezvous of a job", owner)

    def do_GET(self) -> None:
        value = self.server.exchange.get(self.path)
        self._answer(HTTPStatus.NOT_FOUND if value is None else HTTPStatus.OK, value or b"")

    def do_PUT(self) -> None:
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal():
            return self._answer(HTTPStatus.LENGTH_REQUIRED)
        if int(length) > LARGEST_VALUE:
            return self._answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        value = self.rfile.read(int(length))
        if len(value) < int(length):
            return self._answer(HTTPStatus.BAD_REQUEST)
        return self._answer(self.server.exchange.put(self.path, value))

    def do_DELETE(self) -> None:
        self._answer(self.server.exchange.delete(self.path))

    def _answer(self, status: HTTPStatus, value: bytes = b"") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(value)))
        self.end_headers()
        self.wfile.write(value)

    def log_message(self, format: str, *words: Any) -> None:
        """Say nothing."""


class _Server(RendezvousHTTPServer):
    daemon_threads, block_on_close = True, False
    request_queue_size = 128
    exchange: Exchange

    def __init__(self, owner: int) -> None:
        self.owner = owner
        super().__init__((LOOPBACK, 0), _Handler, 0)

    def server_bind(self) -> None:
        """Bind, without asking a name server for the name of the address, as an HTTPServer does."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = LOOPBACK, self.server_address[1]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log what went wrong with a request, such as of a worker that was killed, and say nothing."""
        _log.debug("a request to the rendezvous failed", exc_info=True)


class Rendezvous:
    """The rendezvous of a job on this host, open until it is closed.

    Args:
        workers: of the job.
        owner: the user whose processes may come; None: the one who runs this.
    """

    def __init__(self, workers: int, owner: int | None = None) -> None:
        self._slots = get_host_assignments(parse_hosts(f"localhost:{workers}"), workers)
        self._server = _Server(os.geteuid() if owner is None else owner)
        self._server.init(self._slots)
        self._server.exchange = Exchange(dict(self._server.scope_size))
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """Where it listens, on loopback."""
        return int(self._server.server_port)

    @property
    def is_over(self) -> bool:
        """Whether every worker is connected with all others, and needs it no longer."""
        return self._server.exchange.is_over

    def place_of(self, rank: int) -> dict[str, str]:
        """Give the environment variables that tell a worker its place in the job, and where the others are."""
        return {
            **create_slot_env_vars(self._slots[rank]),
            "HOROVOD_GLOO_RENDEZVOUS_ADDR": LOOPBACK,
            "HOROVOD_GLOO_RENDEZVOUS_PORT": str(self.port),
            "HOROVOD_GLOO_IFACE": INTERFACE,
            "HOROVOD_CONTROLLER": "gloo",
            "HOROVOD_CPU_OPERATIONS": "gloo",
            "NCCL_SOCKET_IFNAME": INTERFACE,
        }

    def close(self) -> None:
        """Listen no longer."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
