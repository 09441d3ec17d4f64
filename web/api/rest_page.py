"""docs/rest.md: ``make docs`` writes it, and a test holds it to the code."""

from __future__ import annotations

from pathlib import Path

from flask_openapi3 import OpenAPI

from r2d2.engine import EngineClient

from .document import INFO, SECURITY_SCHEMES, rest_page
from .jobs import make_api
from .models import ErrorAnswer

__all__ = ["written"]


def written() -> str:
    """Give the page."""
    app = OpenAPI(
        "r2d2_web", info=INFO, security_schemes=SECURITY_SCHEMES, doc_ui=False, validation_error_model=ErrorAnswer
    )
    app.register_api(make_api(EngineClient(Path()), Path()))  # which nobody asks
    return rest_page(app.api_doc)


if __name__ == "__main__":
    Path("docs/rest.md").write_text(written(), encoding="utf-8")
