"""What a request needs, and which roles and tokens have it. A route that says nothing is open to nobody."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Any, Literal, TypeVar

__all__ = ["ROLES", "SCOPES", "Permission", "Role", "Scope", "allows", "needed_by", "needs"]

Role = Literal["viewer", "operator", "administrator"]
Scope = Literal["read", "operate"]


class Permission(StrEnum):
    """What a route needs."""

    PUBLIC = "nobody in particular"
    ACCOUNT = "any user"
    READ = "viewer"
    OPERATE = "operator"
    ADMINISTER = "administrator"


_VIEWER = frozenset({Permission.PUBLIC, Permission.ACCOUNT, Permission.READ})
ROLES: dict[str, frozenset[Permission]] = {
    "viewer": _VIEWER,
    "operator": _VIEWER | {Permission.OPERATE},
    "administrator": _VIEWER | {Permission.OPERATE, Permission.ADMINISTER},
}
SCOPES: dict[str, frozenset[Permission]] = {
    "read": frozenset({Permission.READ}),
    "operate": frozenset({Permission.READ, Permission.OPERATE}),
}
"""What a token may, of what its user may."""

_View = TypeVar("_View", bound=Callable[..., Any])


def allows(permission: Permission, role: str, scope: str | None = None) -> bool:
    """Tell whether a role, and the scope of a token where there is one, has a permission.

    >>> allows(Permission.OPERATE, "operator"), allows(Permission.OPERATE, "operator", "read")
    (True, False)
    """
    return permission in ROLES.get(role, ()) and (scope is None or permission in SCOPES.get(scope, ()))


def needs(permission: Permission) -> Callable[[_View], _View]:
    """Say what a view needs; below the decorator of its route."""

    def noted(view: _View) -> _View:
        view.permission = permission  # type: ignore[attr-defined]
        return view

    return noted


def needed_by(view: Callable[..., Any] | None) -> Permission | None:
    """Tell what a view needs; None: it does not say."""
    found = getattr(view, "permission", None)
    return found if isinstance(found, Permission) else None
