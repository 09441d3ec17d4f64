"""The engine's Unix socket: for its own user alone, who needs no password there."""

from __future__ import annotations

import logging
import os
import pwd
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from r2d2.engine.engine import Engine
from r2d2.engine.errors import RefusedError, error_to_json
from r2d2.engine.protocol import SOCKET_NAME, answer, as_line, new_socket, read_line, socket_address
from r2d2_base.errors import R2D2Error
from r2d2_base.files import writing

__all__ = ["serving"]

SILENT_S = 300.0
_PEER = struct.Struct("3i")  # pid, uid, gid: struct ucred of unix(7)
_log = logging.getLogger(__name__)


@contextmanager
def serving(engine: Engine) -> Iterator[None]:
    """Answer at the socket of an engine's folder, in threads, while the block lasts."""
    path = engine.settings.work_root / SOCKET_NAME
    with new_socket() as listening:
        with writing(path), socket_address(engine.settings.work_root) as address:
            path.unlink(missing_ok=True)  # of an engine that was killed: this one has the lock
            mask = os.umask(0o177)
            try:
                listening.bind(address)
            finally:
                os.umask(mask)
        listening.listen(64)
        threading.Thread(target=_accept, args=(listening, engine), daemon=True).start()
        try:
            yield
        finally:
            with suppress(OSError):
                path.unlink()
            with suppress(OSError):
                listening.shutdown(socket.SHUT_RDWR)


def _accept(listening: socket.socket, engine: Engine) -> None:
    while True:
        try:
            connection, _ = listening.accept()
        except OSError:  # closed
            return
        threading.Thread(target=_converse, args=(connection, engine), daemon=True).start()


def _converse(connection: socket.socket, engine: Engine) -> None:
    """Answer the requests of a connection, one after the other."""
    connection.settimeout(SILENT_S)
    with connection, connection.makefile("rwb") as stream, suppress(OSError):
        by = _peer(connection)
        while True:
            try:
                request = read_line(stream)
                if request is None:
                    return
                if by is None:
                    raise RefusedError("the engine answers its own user alone")
                line = answer(engine, request, by)
            except OSError as error:
                if not isinstance(error, R2D2Error):
                    raise
                line = as_line(error_to_json(error))
            except R2D2Error as error:
                line = as_line(error_to_json(error))
            except Exception as error:
                _log.exception("a request could not be served")
                line = as_line(error_to_json(error))
            stream.write(line)
            stream.flush()


def _peer(connection: socket.socket) -> str | None:
    """Name the user at the other end; None: another than ours, and not root."""
    told = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
    _, user, _ = _PEER.unpack(told)
    if user not in (0, os.getuid()):
        return None
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return str(user)
