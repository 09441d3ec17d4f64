"""What a part of the console is: a folder with routes, pages and scripts, that says itself how it is reached."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from flask import Blueprint
from flask_openapi3 import OpenAPI

from r2d2.engine import Jobs

from .accounts.store import Accounts
from .beside import Beside
from .permissions import Permission
from .roots import Roots
from .serve_settings import ServeSettings
from .tensorboard.handover import Handover
from .uploads import Uploads

__all__ = ["Area", "Console", "is_part", "part"]

_View = TypeVar("_View", bound=Callable[..., Any])


@dataclass(frozen=True)
class Console:
    """What the pages of all areas stand on.

    Attributes:
        settings: of the server.
        jobs: of the engine, as whoever asks may have them.
        accounts: who may use it.
        roots: folders of scans, and who may see which.
        uploads: scans that users have brought along, each for themselves.
        searches: the prepared datasets below a declared folder, of which some have thousands of others below them.
        app: that the pages belong to.
        handover: who may come into TensorBoard; None: it is not served.
    """

    settings: ServeSettings
    jobs: Jobs
    accounts: Accounts
    roots: Roots
    uploads: Uploads
    searches: Beside[Path, tuple[Path, ...]]
    app: OpenAPI
    handover: Handover | None = None


@dataclass(frozen=True)
class Area:
    """A folder of pages.

    Attributes:
        name: of the folder, and the first word of its routes: ``runs.show``.
        add: adds the routes.
        title: in the navigation; empty: it is not there.
        opens: the route that the navigation leads to.
        needs: who sees it there.
    """

    name: str
    add: Callable[[Blueprint, Console], None]
    title: str = ""
    opens: str = "index"
    needs: Permission = Permission.READ

    @property
    def endpoint(self) -> str:
        """Where the navigation leads."""
        return f"{self.name}.{self.opens}"

    def blueprint(self, console: Console) -> Blueprint:
        """Make its routes."""
        made = Blueprint(self.name, __name__)
        self.add(made, console)
        return made


def part(view: _View) -> _View:
    """Say that what a view gives is no page but a part of one, or data for it; beside `needs`."""
    view.is_part = True  # type: ignore[attr-defined]
    return view


def is_part(view: Callable[..., Any] | None) -> bool:
    """Tell whether a view gives a part of a page."""
    return bool(getattr(view, "is_part", False))
