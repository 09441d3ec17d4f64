"""Folders of --data-root, and who may see which: all users, or those whom an administrator has named."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from flask import g, has_request_context
from werkzeug.exceptions import Forbidden, NotFound

from r2d2.engine.errors import RefusedError
from r2d2.engine.paths import real_path, roots_of

from .accounts.store import Accounts
from .people import Person

__all__ = ["Root", "Roots", "asking"]


@dataclass(frozen=True)
class Root:
    """A folder that the server was started with.

    Attributes:
        number: by which pages name it, from 1.
        path: absolute.
        users: numbers of those who alone may see it; None: all users may.
    """

    number: int
    path: Path
    users: frozenset[int] | None = None

    @property
    def is_open(self) -> bool:
        """Whether all users may see it."""
        return self.users is None


class Roots:
    """Which folders there are, and who may see which.

    Args:
        folders: that the server was started with.
        work_root: the engine's own, which is in none of them.
        accounts: keep who may see which.
    """

    def __init__(self, folders: tuple[Path, ...], work_root: Path, accounts: Accounts) -> None:
        self._folders = tuple(folder.absolute() for folder in folders)
        self._work_root = work_root.absolute()
        self._accounts = accounts

    def all(self) -> tuple[Root, ...]:
        """Give every folder."""
        closed = self._accounts.closed_roots()
        return tuple(Root(at, path, closed.get(str(path))) for at, path in enumerate(self._folders, start=1))

    def of(self, person: Person | None) -> tuple[Root, ...]:
        """Give the folders that somebody may see."""
        hidden = self.hidden_from(person)
        return tuple(root for root in self.all() if str(root.path) not in hidden)

    def hidden_from(self, person: Person | None) -> tuple[str, ...]:
        """Give the folders that somebody may not see, those that the server was once started with too.

        Args:
            person: who asks; None: nobody in particular, who sees what all may see.
        """
        if person is not None and person.user.role == "administrator":
            return ()
        closed = self._accounts.closed_roots()
        return tuple(path for path, users in closed.items() if person is None or person.user.id not in users)

    def may_see(self, person: Person | None, path: Path) -> bool:
        """Tell whether somebody may see a file: it lies in a folder of the server, and in none that is hidden."""
        try:
            around = roots_of([path], self._folders, self._work_root)
        except RefusedError:
            return False
        return bool(around) and not set(around) & set(self.hidden_from(person))

    def found(self, person: Person | None, number: int, relative: str) -> Path:
        """Give a file or folder by what pages name it by, wherever links lead.

        Args:
            person: who asks.
            number: of the folder.
            relative: where in it; empty: the folder itself.

        Raises:
            NotFound: there is none.
            Forbidden: it is hidden from who asks, or lies outside.
        """
        root = next((one for one in self.of(person) if one.number == number), None)
        if root is None:
            raise NotFound("there is no such folder, or it is not shown to you")
        try:
            path = real_path(root.path / relative)
            is_there = path.exists()
        except (OSError, RefusedError):
            is_there = False
        if not is_there:
            raise NotFound("there is no such file or folder")
        if not roots_of([path], [root.path], self._work_root) or not self.may_see(person, path):
            raise Forbidden("this lies outside of the folders that are shown to you")
        return path


def asking() -> Person | None:
    """Give who asks; None: nobody that is known."""
    return g.get("person") if has_request_context() else None
