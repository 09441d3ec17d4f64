"""The audit log: what was done or refused, by whom, found again."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, render_template, request, url_for

from r2d2.engine.errors import RefusedError

from ..accounts.models import AuditQuery
from ..area import Console
from ..permissions import Permission, needs
from .audit_words import WORDS, said

__all__ = ["add_audit"]

PER_PAGE = 100
OUTCOMES = (("", "any"), ("done", "done"), ("refused", "refused or failed"))


def add_audit(pages: Blueprint, console: Console) -> None:
    """Add the page."""
    accounts = console.accounts

    @pages.get("/audit")
    @needs(Permission.ADMINISTER)
    def audit() -> str:
        query, number = _query(), _number(request.args.get("page") or "1")
        total = accounts.audit_size(query)
        last = max((total + PER_PAGE - 1) // PER_PAGE, 1)
        return render_template(
            "settings/audit.html",
            entries=accounts.audit(PER_PAGE, (min(number, last) - 1) * PER_PAGE, query),
            query=query,
            number=min(number, last),
            last=last,
            total=total,
            outcomes=OUTCOMES,
            said=said,
            other=_other,
        )


def _query() -> AuditQuery:
    words = request.args
    outcome: Any = words.get("outcome", "")
    if outcome not in dict(OUTCOMES):
        raise RefusedError("outcome: is done, refused, or nothing", [("outcome", "is none")])
    return AuditQuery(words.get("text", "")[:120], words.get("who", "")[:64], outcome, WORDS)


def _number(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text[:12]) < 10**9:
        raise RefusedError("page: is a whole number from 1", [("page", "is a whole number from 1")])
    return int(text)


def _other(page: int) -> str:
    words: dict[str, Any] = {name: request.args[name] for name in ("text", "who", "outcome") if request.args.get(name)}
    return url_for("settings.audit", **words, page=page)
