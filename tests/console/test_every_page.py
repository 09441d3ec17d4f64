"""Every page, whoever wrote it: in both themes and on a phone axe finds nothing, nothing is cut off."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.console.person import PHONE, SCREEN, Person
from tests.console.places import PAGES, filled

pytestmark = pytest.mark.slow

LOOKS = [(theme, size) for theme in ("light", "dark") for size in ("screen", "phone")]
SIZES = {"screen": SCREEN, "phone": PHONE}


@pytest.mark.parametrize("endpoint", PAGES)
def test_a_page(
    endpoint: str, person: Callable[..., Person], stand_ins: dict[str, object], request: pytest.FixtureRequest
) -> None:
    folder = request.config.getoption("--screenshots")
    visitor = person("admin")
    if endpoint == "session.login":
        visitor.context.clear_cookies()
    page = visitor.go(filled(PAGES[endpoint], stand_ins))
    found = []
    for theme, size in LOOKS:
        page.emulate_media(color_scheme=theme, reduced_motion="reduce")
        page.set_viewport_size(SIZES[size])
        page.wait_for_timeout(200)
        found += [f"{theme}, {size}: {fault}" for fault in [*visitor.axe(), *visitor.too_wide()]]
        if folder:
            Path(folder).mkdir(parents=True, exist_ok=True)
            page.screenshot(path=Path(folder, f"{endpoint}-{theme}-{size}.png"), full_page=True)
    assert found == []
    assert page.locator("h1").count() == 1
    assert page.title().endswith("– R2D2") and page.title() != "– R2D2"
