"""The server's process: gunicorn with threads over the application, and the engine beside it."""

from __future__ import annotations

import os
import secrets
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gunicorn.app.base import BaseApplication

from r2d2.engine import EngineClient
from r2d2.engine.errors import RefusedError

from .browser_code import missing
from .keeper import Keeper
from .serve_settings import ServeSettings, checked

__all__ = ["new_password", "serve"]

FIRST_USER = "admin"
SECONDS_TO_END = 10
SWITCH_S = 0.001
"""A thread that an engine's answer has come for waits no longer for one that computes; Python's own is 5 ms."""

Say = Callable[[str], None]


def serve(settings: ServeSettings, say: Say) -> None:
    """Serve until SIGTERM or Ctrl-C; then the engine ends too, and jobs go on.

    Args:
        settings: as they were given.
        say: prints a line for the user.

    Raises:
        R2D2Error: settings that cannot be, a port in use, an engine at work on the folder.
    """
    settings = checked(settings).model_copy(update={"work_root": settings.work_root.absolute()})
    settings.work_root.mkdir(parents=True, exist_ok=True)
    folder = _own_folder(settings.work_root)
    listening = _listening(settings.host, settings.port)
    settings = settings.model_copy(update={"port": listening.getsockname()[1]})
    doors = [listening]
    if settings.tensorboard_port is not None:
        doors.append(_listening(settings.host, settings.tensorboard_port, "--tensorboard"))
        settings = settings.model_copy(update={"tensorboard_port": doors[1].getsockname()[1]})
    keeper = Keeper(settings.of_engine())
    try:
        from .accounts.store import open_accounts  # while the engine loads, on another core
        from .app import create_app
        from .tensorboard.serving import with_tensorboard

        accounts = open_accounts(folder, settings.database)
        password = None if accounts.users() else accounts.add_user(FIRST_USER, "administrator")[1]
        accounts.close()
        secret = _secret(folder / "secret")
        keeper.await_ready()
        if password is not None:
            _tell_password(FIRST_USER, password, folder, say)

        if missing():
            say(
                "scripts of the console are missing, and no page changes by itself: r2d2 serve --fetch-assets gets them"
            )

        def ready(_arbiter: Any) -> None:
            say(f"R2D2 answers at {_address(settings)}; Ctrl-C ends it, and jobs go on")

        def make_app() -> Any:
            jobs = EngineClient(settings.work_root, keeps_connections=True)
            accounts = open_accounts(folder, settings.database)
            if settings.tensorboard_port is None:
                return create_app(settings, jobs, accounts, secret)
            return with_tensorboard(settings, jobs, accounts, secret, folder / "tensorboard")

        _Server(settings, doors, make_app, keeper, ready).run()
    finally:
        keeper.end()


def new_password(settings: ServeSettings, name: str, say: Say) -> None:
    """Give a user a new password, for whom has lost it: whoever may read the server's folder may do this.

    Raises:
        RefusedError: there is no such user.
    """
    from .accounts.store import open_accounts

    folder = _own_folder(settings.work_root.absolute())
    accounts = open_accounts(folder, settings.database)
    found = [user for user in accounts.users() if user.name == name]
    if not found:
        raise RefusedError(
            f"there is no user {name!r:.80}; there are {', '.join(user.name for user in accounts.users())}"
        )
    _tell_password(name, accounts.set_password(found[0]), folder, say)
    accounts.close()


class _Server(BaseApplication):
    """gunicorn, told by our settings alone: no file and no variable of its own."""

    def __init__(
        self,
        settings: ServeSettings,
        doors: list[socket.socket],
        make_app: Callable[[], Any],
        keeper: Keeper,
        ready: Callable[[Any], None],
    ) -> None:
        self._settings, self._doors, self._make_app = settings, doors, make_app
        self._keeper, self._ready = keeper, ready
        super().__init__()

    def load_config(self) -> None:
        settings = self._settings
        told: dict[str, Any] = {
            "bind": [f"fd://{door.fileno()}" for door in self._doors],
            "workers": 1,  # limits of log-ins are counted in memory: one process, many threads
            "worker_class": "gthread",
            "threads": settings.threads,
            "timeout": 120,
            "graceful_timeout": SECONDS_TO_END,
            "keepalive": 5,
            "limit_request_line": 4094,
            "limit_request_fields": 60,
            "limit_request_field_size": 8190,
            "forwarded_allow_ips": "",  # our own code believes declared proxies
            "loglevel": "warning",
            "control_socket_disable": True,
            "worker_tmp_dir": "/dev/shm" if Path("/dev/shm").is_dir() else None,
            "proc_name": "r2d2-serve",
            "when_ready": self._ready,
            "post_fork": lambda _arbiter, _worker: self._keeper.let_go(),
        }
        if settings.certificate is not None:
            told |= {"certfile": str(settings.certificate), "keyfile": str(settings.key)}
        for name, value in told.items():
            self.cfg.set(name, value)

    def load(self) -> Any:
        """Make the application, in the process that serves it."""
        sys.setswitchinterval(SWITCH_S)
        return self._make_app()


def _own_folder(work_root: Path) -> Path:
    folder = work_root / "web"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    return folder


def _secret(file: Path) -> bytes:
    """Read what signs cookies, or make it."""
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        found = file.read_bytes()
        if len(found) < 32:
            raise RefusedError(f"{file} is damaged: remove it, and all sessions end") from None
        return found
    with os.fdopen(descriptor, "wb") as stream:
        made = secrets.token_bytes(48)
        stream.write(made)
    return made


def _listening(host: str, port: int, option: str = "--port") -> socket.socket:
    """Take the port, before anything else begins.

    Raises:
        RefusedError: it cannot be had.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        made = socket.socket(family, kind, protocol)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(address)
        made.listen(128)
    except OSError as error:
        reason = error.strerror or str(error)
        raise RefusedError(
            f"port {port} of {host or 'every address'} cannot be had ({reason}): choose another with {option}"
        ) from error
    return made


def _address(settings: ServeSettings) -> str:
    if settings.proxies:
        return f"https://{settings.trusted_hosts[0]}" if settings.trusted_hosts else "the address of its proxy"
    name = settings.trusted_hosts[0] if settings.trusted_hosts else settings.host
    host = f"[{name}]" if ":" in name and not name.startswith("[") else name
    return f"{'https' if settings.certificate else 'http'}://{host}:{settings.port}"


def _tell_password(name: str, password: str, folder: Path, say: Say) -> None:
    """Show a password in a terminal; elsewhere, where lines go into logs, leave it in a file of the user's own."""
    if sys.stdout.isatty():
        say(f"log in as {name} with the password {password}")
        return
    file = folder / "password"
    file.unlink(missing_ok=True)
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        stream.write(password + "\n")
    say(f"log in as {name} with the password in {file}; remove that file then")
