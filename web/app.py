"""The application: who may do what, the API and the pages, over the jobs of an engine."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flask import g
from flask_openapi3 import OpenAPI

from r2d2.engine import Jobs

from .accounts.store import Accounts
from .answers import register_errors
from .api.document import INFO, SECURITY_SCHEMES
from .api.faults import refuse
from .api.jobs import make_api
from .api.models import ErrorAnswer
from .guarded_jobs import GuardedJobs
from .pages.account import make_account_pages
from .pages.jobs import make_job_pages
from .pages.session import make_session_pages
from .pages.users import make_user_pages
from .people import manage_sessions
from .permissions import Permission
from .requests import CheckedRequest
from .roots import Roots
from .security import csrf, secure
from .settings import ServeSettings

__all__ = ["create_app"]

_HERE = Path(__file__).parent


class _App(OpenAPI):
    request_class = CheckedRequest


def create_app(settings: ServeSettings, jobs: Jobs, accounts: Accounts, secret: bytes) -> OpenAPI:
    """Make the application.

    Args:
        settings: checked.
        jobs: of the engine, in this process or at its socket.
        accounts: who may use it.
        secret: signs cookies and forms.
    """
    app = _App(
        "r2d2_web",
        root_path=str(_HERE),
        info=INFO,
        security_schemes=SECURITY_SCHEMES,
        doc_ui=False,
        validation_error_status=422,
        validation_error_model=ErrorAnswer,
        validation_error_callback=refuse,
    )
    secure(app, settings, accounts, secret)
    manage_sessions(app, accounts)
    register_errors(app)
    roots = Roots(settings.data_roots, settings.work_root, accounts)
    jobs = GuardedJobs(jobs, roots)
    api = make_api(jobs)
    csrf.exempt(api)
    app.register_api(api)
    for pages in (
        make_session_pages(accounts, app),
        make_job_pages(jobs),
        make_account_pages(accounts),
        make_user_pages(accounts),
    ):
        app.register_blueprint(pages)
    files: Any = app.view_functions["static"]
    files.permission = Permission.PUBLIC
    app.jinja_env.filters["moment"] = _moment
    app.context_processor(lambda: {"person": g.get("person"), "Permission": Permission})
    return app


def _moment(seconds: float | None) -> str:
    """Write a time, for people."""
    return "" if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
