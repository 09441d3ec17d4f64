"""The API is what its document says: asked at random by schemathesis, over an engine whose jobs end at once."""

from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.web.conftest import Site
from tests.web.test_api import PREFIX, ROUTES
from web.api.rest_page import written

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
EXAMPLES = settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def document(site: Site) -> Any:
    """The server's own, beside some jobs."""
    for name in ("one", "two", "stays"):
        site.submit(name)
    return schemathesis.openapi.from_wsgi("/openapi.json", site.app)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "path"),
    [pytest.param(*route, id=f"{route[0]} {route[1].replace('/', ' ').strip()}") for route in ROUTES],
)
def test_no_fault_and_no_answer_that_is_not_documented(site: Site, document: Any, method: str, path: str) -> None:
    """As the document says, of a job that is there; likewise, of any; and otherwise than it says."""
    operation = document[PREFIX + path.replace("/1", "/{job_id}")][method]
    strategies = [operation.as_strategy(path_parameters={"job_id": 1})] if "/1" in path else []
    strategies.append(operation.as_strategy())
    if path != "/me":  # which takes nothing
        strategies.append(operation.as_strategy(generation_mode=GenerationMode.NEGATIVE))
    for strategy in strategies:

        @EXAMPLES
        @given(case=strategy)
        def holds(case: Any) -> None:
            case.call_and_validate(headers={"Authorization": f"Bearer {site.tokens['olga']}"}, checks=CHECKS)

        holds()


def test_the_page_of_the_api_is_what_the_code_has() -> None:
    page = Path(__file__).resolve().parents[2] / "docs" / "rest.md"
    assert page.read_text(encoding="utf-8") == written(), "make docs writes it"


def test_the_page_of_a_server_shows_all_of_it(site: Site) -> None:
    page = site.client("vera").get("/reference").text
    for path, methods in site.app.api_doc["paths"].items():
        for method in methods:
            assert f"{method.upper()} {path}" in page
    assert "higher begins first" in page
