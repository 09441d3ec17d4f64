"""Who asks: a user with a session, or a program with a user's token. Never both, and never one in the other's place."""

from __future__ import annotations

from dataclasses import dataclass

import flask_login
from flask import Flask, request

from .accounts.models import User
from .accounts.store import Accounts
from .permissions import Permission, allows

__all__ = ["Person", "bearer_person", "log_in", "manage_sessions", "session_person"]


@dataclass(frozen=True)
class Person:
    """Whoever asks.

    Attributes:
        user: in whose name.
        via: "session", or which token.
        scope: of the token; None: a session, which may what the user may.
    """

    user: User
    via: str = "session"
    scope: str | None = None

    @property
    def name(self) -> str:
        """The user's."""
        return self.user.name

    def may(self, permission: Permission) -> bool:
        """Tell whether something is allowed."""
        return allows(permission, self.user.role, self.scope)


class _SessionUser(flask_login.UserMixin):
    """A user as Flask-Login knows one: by a word that changes where all sessions end."""

    def __init__(self, user: User) -> None:
        self.user = user

    def get_id(self) -> str:
        return self.user.session


def manage_sessions(app: Flask, accounts: Accounts) -> None:
    """Have cookies looked up among the users."""
    manager = flask_login.LoginManager(app)
    manager.session_protection = None  # addresses change behind proxies; the cookie is HttpOnly and signed

    @manager.user_loader
    def load(session: str) -> _SessionUser | None:
        user = accounts.of_session(session)
        return None if user is None else _SessionUser(user)


def session_person() -> Person | None:
    """Give who is logged in; None: nobody."""
    current = flask_login.current_user
    return Person(current.user) if current.is_authenticated else None


def log_in(user: User) -> None:
    """Begin a session."""
    flask_login.login_user(_SessionUser(user))


def bearer_person(accounts: Accounts) -> Person | None:
    """Give whose token was sent; None: no valid one. Cookies are not looked at."""
    kind, _, text = request.headers.get("Authorization", "").partition(" ")
    found = accounts.of_token(text.strip()) if kind.lower() == "bearer" else None
    return None if found is None else Person(found[0], f"token {found[1].id}", found[1].scope)
