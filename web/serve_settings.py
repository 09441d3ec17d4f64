"""What the server is told by who starts it, and what it does not do whoever asks."""

from __future__ import annotations

import ipaddress
import ssl
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from r2d2.engine import EngineSettings
from r2d2.engine.errors import RefusedError

__all__ = ["ServeSettings", "checked"]

LOCAL_NAMES = ("localhost", "127.0.0.1", "[::1]")
EVERYWHERE = ("", "0.0.0.0", "::")

Host = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9.:_\[\]-]{1,253}$")]


class ServeSettings(BaseModel):
    """Where the server listens, who may reach it, and what its engine may do.

    >>> ServeSettings(work_root="engine").host
    '127.0.0.1'
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    work_root: Path = Field(description="the engine's folder; what the server keeps is in its folder web")
    data_roots: tuple[Path, ...] = Field(default=(), description="folders that jobs may read and write besides")
    code_roots: tuple[Path, ...] = Field(default=(), description="folders whose code jobs may run")
    database: str | None = Field(default=None, description="URL of the database; null: SQLite files in work_root")
    max_jobs: int = Field(default=2, ge=1, description="jobs that run at a time")
    max_workers: int | None = Field(default=None, ge=1, description="worker processes of all running jobs together")
    grace_s: float = Field(
        default=30.0, ge=0, le=86400, description="seconds that a cancelled job has to end by itself"
    )
    task_modules: tuple[str, ...] = Field(default=(), description="modules whose tasks may be submitted too")
    host: str = Field(default="127.0.0.1", max_length=253, description="address to listen on")
    port: int = Field(default=8017, ge=0, le=65535, description="port to listen on; 0: a free one")
    certificate: Path | None = Field(default=None, description="TLS certificate (PEM)")
    key: Path | None = Field(default=None, description="its private key (PEM)")
    proxies: tuple[str, ...] = Field(default=(), description="addresses of reverse proxies, which alone may connect")
    trusted_hosts: tuple[Host, ...] = Field(default=(), description="names by which browsers reach the server")
    tensorboard_port: int | None = Field(
        default=None, ge=0, le=65535, description="port of TensorBoard, for administrators; null: it is not served"
    )
    tensorboard_address: str | None = Field(
        default=None,
        pattern=r"^https?://[A-Za-z0-9.:_\[\]-]{1,253}$",
        description="by which browsers reach TensorBoard, behind a proxy; null: the server's own name, with that port",
    )
    insecure: bool = Field(default=False, description="whether others may connect without TLS")
    upload_days: float = Field(
        default=7.0, gt=0, le=365, description="days after which scans that came from a browser are removed"
    )
    threads: int = Field(default=8, ge=1, le=256, description="requests that are served at a time")

    @property
    def is_encrypted(self) -> bool:
        """Whether browsers speak TLS: with the server, or with its proxy."""
        return self.certificate is not None or bool(self.proxies)

    @property
    def hosts(self) -> list[str]:
        """Give the names by which the server answers; requests for others are refused."""
        own = [] if self.host in EVERYWHERE else [f"[{self.host}]" if ":" in self.host else self.host]
        return list(dict.fromkeys([*LOCAL_NAMES, *own, *self.trusted_hosts]))

    @property
    def tensorboard_hosts(self) -> list[str]:
        """Give the names by which TensorBoard answers, with or without a port."""
        named = [] if self.tensorboard_address is None else [urlsplit(self.tensorboard_address).hostname or ""]
        return [*self.hosts, *named]

    def tensorboard_origin(self, scheme: str, host: str) -> str:
        """Give the origin of TensorBoard.

        Args:
            scheme: by which the console was reached.
            host: likewise, perhaps with a port.

        >>> ServeSettings(work_root="engine", tensorboard_port=8018).tensorboard_origin("http", "127.0.0.1:8017")
        'http://127.0.0.1:8018'
        """
        if self.tensorboard_address is not None:
            return self.tensorboard_address
        name = urlsplit(f"{scheme}://{host}").hostname or host
        return f"{scheme}://{f'[{name}]' if ':' in name else name}:{self.tensorboard_port}"

    def of_engine(self) -> EngineSettings:
        """Give the settings of its engine: jobs use the declared folders alone, and where none is, the engine's."""
        return EngineSettings(
            work_root=self.work_root,
            data_roots=self.data_roots or (self.work_root,),
            code_roots=self.code_roots,
            database=self.database,
            max_jobs=self.max_jobs,
            max_workers=self.max_workers,
            grace_s=self.grace_s,
            task_modules=self.task_modules,
        )


def checked(settings: ServeSettings) -> ServeSettings:
    """Refuse to be reached by others without TLS, and what cannot work.

    Raises:
        RefusedError: saying what would.

    >>> checked(ServeSettings(work_root="engine", host="0.0.0.0", insecure=True, trusted_hosts=["r2d2.example"])).host
    '0.0.0.0'
    """
    if (settings.certificate is None) != (settings.key is None):
        raise RefusedError("--certificate and --key go together: name both files")
    if not _is_loopback(settings.host) and not settings.is_encrypted and not settings.insecure:
        raise RefusedError(
            f"{settings.host or 'every address'} is reached by others, who could read passwords on their way: give "
            "--certificate and --key, or --proxy with the address of a proxy that speaks TLS, or --insecure"
        )
    if settings.host in EVERYWHERE and not settings.trusted_hosts:
        raise RefusedError(
            f"{settings.host or 'every address'} has no name of its own: give --trusted-host, the name by which "
            "browsers reach the server"
        )
    if settings.tensorboard_port is not None and settings.proxies and settings.tensorboard_address is None:
        raise RefusedError(
            "TensorBoard is reached through the proxy too: give --tensorboard-address, such as https://tb.r2d2.example"
        )
    if settings.tensorboard_port is not None and find_spec("tensorboard") is None:
        raise RefusedError("--tensorboard needs TensorBoard, which is not installed: pip install '.[train]' brings it")
    for address in settings.proxies:
        _check_address(address)
    for folder in (*settings.data_roots, *settings.code_roots):
        if not folder.is_dir():
            raise RefusedError(f"{folder} is no folder")
    if settings.certificate is not None and settings.key is not None:
        _check_certificate(settings.certificate, settings.key)
    return settings


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _check_address(address: str) -> None:
    try:
        ipaddress.ip_address(address)
    except ValueError as error:
        raise RefusedError(f"--proxy {address!r:.60} is no IP address, like 10.0.0.5") from error


def _check_certificate(certificate: Path, key: Path) -> None:
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(certificate, key, password=lambda: b"")
    except (OSError, ValueError) as error:  # an SSLError is an OSError
        reason = getattr(error, "strerror", None) or str(error)
        raise RefusedError(f"{certificate} and {key} are no TLS certificate with its key: {reason}") from error
