"""r2d2 serve: the engine behind a REST API and the console, by a process of its own."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import typer

from r2d2.cli.engine import WORK_ROOT

__all__ = ["EXAMPLE", "serve"]

EXAMPLE = "Example: r2d2 serve --data-root scans --port 8017"


def serve(
    work_root: Path = WORK_ROOT,
    data_root: list[Path] = typer.Option(
        None, help="A folder that jobs may read and write besides the engine's; may be repeated."
    ),
    code_root: list[Path] = typer.Option(
        None, help="A folder whose code jobs may run (module:function); may be repeated. None: no such code is run."
    ),
    host: str = typer.Option("127.0.0.1", help="Address to listen on; others than this host's own need TLS."),
    port: int = typer.Option(8017, min=0, max=65535, help="Port to listen on; 0: a free one."),
    certificate: Path = typer.Option(None, help="TLS certificate (PEM)."),
    key: Path = typer.Option(None, help="Its private key (PEM)."),
    proxy: list[str] = typer.Option(
        None, metavar="ADDRESS", help="Address of a reverse proxy that speaks TLS, and that alone may connect."
    ),
    trusted_host: list[str] = typer.Option(
        None, metavar="NAME", help="A name by which browsers reach the server; may be repeated."
    ),
    tensorboard: int = typer.Option(
        None,
        metavar="PORT",
        min=0,
        max=65535,
        help="Serve TensorBoard too, to administrators, on this port; 0: a free one.",
    ),
    tensorboard_address: str = typer.Option(
        None, metavar="URL", help="By which browsers reach TensorBoard, where that is through a proxy."
    ),
    insecure: bool = typer.Option(False, "--insecure", help="Let others connect without TLS, who can be overheard."),
    max_jobs: int = typer.Option(2, min=1, help="Jobs that run at a time."),
    max_workers: int = typer.Option(None, min=1, help="Worker processes of all running jobs together."),
    upload_days: float = typer.Option(7.0, help="Days after which scans that came from a browser are removed."),
    database: str = typer.Option(
        None,
        envvar="R2D2_DATABASE",
        help="URL of a PostgreSQL database; by default SQLite files in the engine's folder.",
    ),
    new_password: str = typer.Option(None, metavar="NAME", help="Give a user a new password, and serve nothing."),
    fetch_assets: bool = typer.Option(
        False, "--fetch-assets", help="Fetch the console's scripts from npm, at their pinned versions; serve nothing."
    ),
) -> None:
    """Serve the engine to browsers and programs: prints the address and, at first start, a password.

    Only this host can connect unless told otherwise.
    """
    from r2d2.engine import default_work_root

    told = {
        "work_root": str((work_root or default_work_root()).absolute()),
        "data_roots": [str(one.absolute()) for one in data_root or ()],
        "code_roots": [str(one.absolute()) for one in code_root or ()],
        "database": database,
        "max_jobs": max_jobs,
        "max_workers": max_workers,
        "host": host,
        "port": port,
        "certificate": None if certificate is None else str(certificate.absolute()),
        "key": None if key is None else str(key.absolute()),
        "proxies": proxy or [],
        "trusted_hosts": trusted_host or [],
        "tensorboard_port": tensorboard,
        "tensorboard_address": tensorboard_address,
        "insecure": insecure,
        "upload_days": upload_days,
    }
    if new_password is not None:
        told["new_password"] = new_password
    if fetch_assets:
        told["fetch_assets"] = True
    # A URL may hold a password: neither the command line nor the environment of the server shows it.
    descriptor = os.memfd_create("settings", 0)
    os.write(descriptor, json.dumps(told).encode())
    os.lseek(descriptor, 0, os.SEEK_SET)
    environment = {name: value for name, value in os.environ.items() if name != "R2D2_DATABASE"}
    sys.stdout.flush()
    os.execve(sys.executable, [sys.executable, "-P", "-m", _server(), str(descriptor)], environment)


def _server() -> str:
    """Name the package of the server: beside this one, in a checkout `web`, installed `r2d2_web`."""
    beside = Path(__file__).resolve().parents[2]
    return "r2d2_web" if (beside / "r2d2_web").is_dir() else "web"
