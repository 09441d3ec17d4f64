"""The application: who may do what, the API and the pages, over the jobs of an engine."""

from __future__ import annotations

from pathlib import Path

from flask import g
from flask_openapi3 import OpenAPI

from r2d2.engine import Jobs
from r2d2.viewing.finding import find_datasets

from .accounts.store import Accounts
from .answers import register_errors
from .api.document import INFO, SECURITY_SCHEMES
from .api.faults import refuse
from .api.jobs import make_api
from .api.models import ErrorAnswer
from .area import Console
from .areas import AREAS
from .assets import serve_assets
from .beside import Beside
from .guarded_jobs import GuardedJobs
from .metrics import serve_metrics
from .people import manage_sessions
from .permissions import Permission
from .requests import CheckedRequest
from .roots import Roots
from .security import csrf, secure
from .serve_settings import ServeSettings
from .tensorboard.handover import Handover
from .uploads import Uploads
from .words import FILTERS

__all__ = ["create_app"]

_HERE = Path(__file__).parent


class _App(OpenAPI):
    request_class = CheckedRequest


def create_app(
    settings: ServeSettings, jobs: Jobs, accounts: Accounts, secret: bytes, handover: Handover | None = None
) -> OpenAPI:
    """Make the application.

    Args:
        settings: checked.
        jobs: of the engine, in this process or at its socket.
        accounts: who may use it.
        secret: signs cookies and forms.
        handover: lets people into TensorBoard; None: it is not served.
    """
    app = _App(
        "r2d2_web",
        root_path=str(_HERE),
        template_folder=".",
        static_folder=None,
        info=INFO,
        security_schemes=SECURITY_SCHEMES,
        doc_ui=False,
        validation_error_status=422,
        validation_error_model=ErrorAnswer,
        validation_error_callback=refuse,
    )
    serve_metrics(app, settings, jobs, accounts)
    secure(app, settings, accounts, secret)
    manage_sessions(app, accounts)
    register_errors(app)
    roots = Roots(settings.data_roots, settings.work_root, accounts)
    uploads = Uploads(settings.work_root, settings.upload_days)
    jobs = GuardedJobs(jobs, roots, uploads)
    api = make_api(jobs, settings.work_root)
    csrf.exempt(api)
    app.register_api(api)
    searches = Beside[Path, tuple[Path, ...]](lambda folder: tuple(find_datasets(folder)), ())
    console = Console(settings, jobs, accounts, roots, uploads, searches, app, handover)
    for area in AREAS:
        app.register_blueprint(area.blueprint(console))
    serve_assets(app, _HERE)
    app.jinja_env.filters.update(FILTERS)
    app.jinja_env.globals["has_page"] = app.view_functions.__contains__
    app.context_processor(lambda: {"person": g.get("person"), "Permission": Permission, "areas": AREAS})
    return app
