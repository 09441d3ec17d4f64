"""All pages of the console, found by its own routes: whoever adds an area has them tested here without a word."""

from pathlib import Path
from typing import Any

from r2d2.engine import EngineClient
from web.app import create_app
from web.area import is_part
from web.serve_settings import ServeSettings

__all__ = ["PAGES", "filled"]


def _pages() -> dict[str, str]:
    nobody: Any = None
    app = create_app(ServeSettings(work_root=Path("none")), EngineClient(Path("none")), nobody, b"s" * 48)
    found = {}
    for rule in app.url_map.iter_rules():
        is_page = "GET" in (rule.methods or ()) and not rule.endpoint.startswith(("api.", "openapi"))
        if is_page and not is_part(app.view_functions[rule.endpoint]):
            found[rule.endpoint] = rule.rule
    return dict(sorted(found.items()))


PAGES = _pages()
"""Endpoint and address of each; parts of pages (``@part``), data and files are none."""


def filled(address: str, stand_ins: dict[str, object]) -> str:
    """Put what stands for each variable into an address.

    Args:
        address: such as ``/jobs/<int:job_id>``.
        stand_ins: by the variable's name; the fixture `stand_ins` has them.
    """
    for name, value in stand_ins.items():
        for kind in ("int:", "path:", ""):
            address = address.replace(f"<{kind}{name}>", str(value))
    if "<" in address:
        raise KeyError(f"{address}: say in the fixture `stand_ins` of tests/console/conftest.py what stands for this")
    return address
