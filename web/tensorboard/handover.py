"""How a session of the console becomes one of TensorBoard's origin: by a word that counts once, for seconds."""

from __future__ import annotations

import hashlib
import secrets
import threading
import time
from collections.abc import Callable

from ..accounts.models import User
from ..accounts.store import Accounts
from ..permissions import Permission, allows

__all__ = ["NEEDED", "Handover"]

NEEDED = Permission.ADMINISTER
"""TensorBoard cannot tell users apart, so only who may see all jobs comes in."""
TOKEN_S = 30.0
SESSION_S = 4 * 3600
MOST = 200
"""Words of each kind that are remembered; the oldest give way."""


class Handover:
    """Tokens and cookies of TensorBoard's origin, each bound to a session of the console; kept in memory alone.

    Args:
        accounts: who there is. A session that ends there, or whose user may no longer see all jobs, ends here too.
        clock: seconds, that only go up.
    """

    def __init__(self, accounts: Accounts, clock: Callable[[], float] = time.monotonic) -> None:
        self._accounts, self._clock = accounts, clock
        self._lock = threading.Lock()
        self._tokens: dict[str, tuple[str, float]] = {}
        self._cookies: dict[str, tuple[str, float]] = {}

    def token(self, user: User) -> str:
        """Make a word that lets a user in, once, within 30 seconds."""
        return self._made(self._tokens, user.session, TOKEN_S)

    def cookie(self, token: str) -> str | None:
        """Give the cookie that a token is worth, for four hours; None: it is worth none, or not any more."""
        with self._lock:
            session, ends = self._tokens.pop(_hidden(token), ("", 0.0))
        if self._clock() >= ends or self._user(session) is None:
            return None
        return self._made(self._cookies, session, SESSION_S)

    def user(self, cookie: str) -> User | None:
        """Give the user whose cookie this is; None: nobody's, or not any more."""
        with self._lock:
            session, ends = self._cookies.get(_hidden(cookie), ("", 0.0))
        return self._user(session) if self._clock() < ends else None

    def _made(self, words: dict[str, tuple[str, float]], session: str, seconds: float) -> str:
        word = secrets.token_urlsafe(32)
        with self._lock:
            while len(words) >= MOST:
                words.pop(next(iter(words)))
            words[_hidden(word)] = (session, self._clock() + seconds)
        return word

    def _user(self, session: str) -> User | None:
        user = self._accounts.of_session(session) if session else None
        return user if user is not None and allows(NEEDED, user.role) else None


def _hidden(word: str) -> str:
    return hashlib.sha256(word.encode()).hexdigest()
