"""The console's link to TensorBoard."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from flask import Blueprint, g, redirect, request
from pydantic import BaseModel, ConfigDict, Field

from r2d2.engine.validation import validated

from ..area import Area, Console, part
from ..permissions import needs
from .handover import NEEDED

__all__ = ["AREA"]


class _Shown(BaseModel):
    """Which training is shown first."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    job: int | None = Field(default=None, ge=1, lt=10**9)


def _add(pages: Blueprint, console: Console) -> None:
    handover, settings = console.handover, console.settings
    if handover is None:
        return

    @pages.get("/tensorboard")
    @needs(NEEDED)
    @part
    def index() -> Any:
        shown: _Shown = validated(_Shown, request.args.to_dict(), "address")
        told = {"token": handover.token(g.person.user)} | ({} if shown.job is None else {"job": str(shown.job)})
        answer = redirect(f"{settings.tensorboard_origin(request.scheme, request.host)}/enter?{urlencode(told)}")
        answer.headers["Referrer-Policy"] = "no-referrer"
        return answer


AREA = Area("tensorboard", _add, title="TensorBoard", needs=NEEDED)
