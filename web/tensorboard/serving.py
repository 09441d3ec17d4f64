"""The console with TensorBoard beside it, in one process: so that a log-out there ends both."""

from __future__ import annotations

import atexit
from pathlib import Path
from typing import Any

from r2d2.engine import Jobs

from ..accounts.store import Accounts
from ..app import create_app
from ..security import ProxyOnly
from ..serve_settings import ServeSettings
from .gateway import Gateway, by_port
from .handover import Handover
from .run_links import RunLinks
from .viewer import Viewer

__all__ = ["with_tensorboard"]


def with_tensorboard(settings: ServeSettings, jobs: Jobs, accounts: Accounts, secret: bytes, folder: Path) -> Any:
    """Make the application of both ports.

    Args:
        settings: checked; `tensorboard_port` is the one that is listened on.
        jobs: all of the engine.
        accounts: who may use it.
        secret: signs cookies and forms of the console.
        folder: of links to what TensorBoard shows.
    """
    handover, viewer = Handover(accounts), Viewer(folder)
    atexit.register(viewer.end)
    app = create_app(settings, jobs, accounts, secret, handover)
    gateway: Any = Gateway(settings, handover, RunLinks(folder, jobs), viewer)
    if settings.proxies:
        gateway = ProxyOnly(gateway, settings.proxies)
    return by_port(app, gateway, settings.tensorboard_port or 0)
