"""Passwords: made, checked, kept as hashes (scrypt)."""

from __future__ import annotations

import secrets

from werkzeug.security import check_password_hash, generate_password_hash

from r2d2.engine.errors import RefusedError

__all__ = ["LONGEST", "SHORTEST", "check_rules", "hashed", "is_right", "new_password"]

SHORTEST = 10
LONGEST = 200
_NOBODY = (
    "scrypt:32768:8:1$nobodyspassword0$"
    "0000000000000000000000000000000000000000000000000000000000000000"
    "0000000000000000000000000000000000000000000000000000000000000000"
)


def new_password() -> str:
    """Make one that nobody guesses."""
    return secrets.token_urlsafe(15)


def check_rules(password: str, name: str) -> None:
    """Refuse what is guessed soon.

    Raises:
        RefusedError: saying the rule.

    >>> check_rules("a long sentence", "ann")
    """
    if not SHORTEST <= len(password) <= LONGEST:
        raise RefusedError(f"a password has {SHORTEST} to {LONGEST} characters; this one has {len(password)}")
    if name.casefold() in password.casefold() or len(set(password)) < 5:
        raise RefusedError("a password does not hold the user's name, and has at least five different characters")


def hashed(password: str) -> str:
    """Give what is kept of a password."""
    return generate_password_hash(password, method="scrypt")


def is_right(password: str, kept: str | None) -> bool:
    """Compare; an unknown user (None) takes as long as a known one."""
    if len(password) > LONGEST:
        return False
    return check_password_hash(kept or _NOBODY, password) and kept is not None
