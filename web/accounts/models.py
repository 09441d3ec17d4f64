"""What is known of users, tokens, and what was done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from ..permissions import Role, Scope

__all__ = ["AuditQuery", "Entry", "Token", "User"]


@dataclass(frozen=True)
class User:
    """Somebody who may log in.

    Attributes:
        session: what a cookie names the user by; changed where a password or a log-out ends all sessions.
    """

    id: int
    name: str
    role: Role
    is_active: bool
    session: str
    created_at: float


@dataclass(frozen=True)
class Token:
    """What a program shows in the place of a password. Its secret is known to who made it alone."""

    id: int
    user_id: int
    label: str
    scope: Scope
    created_at: float
    expires_at: float | None
    revoked_at: float | None

    def is_valid(self, now: float) -> bool:
        """Whether it still counts."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


@dataclass(frozen=True)
class Entry:
    """One thing that was done, or tried: a line of the audit log.

    Attributes:
        via: "session", or the token's number.
        action: name of the route.
        target: what it was done to.
        status: HTTP's word on how it ended.
    """

    time: float
    who: str
    via: str
    address: str
    action: str
    target: str
    status: int


@dataclass(frozen=True)
class AuditQuery:
    """Which lines of the audit log.

    Attributes:
        text: words, each of which stands somewhere in the line.
        who: the user's name; empty: anybody.
        outcome: "done", or "refused" where it was, or failed; empty: both.
        called: what actions are called on the page, by their names; words are looked for there too.
    """

    text: str = ""
    who: str = ""
    outcome: Literal["", "done", "refused"] = ""
    called: Mapping[str, str] = field(default_factory=dict)
