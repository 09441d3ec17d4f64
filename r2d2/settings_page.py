"""docs/settings.md: every setting with its default, of every network too, as the models declare them.

``make docs`` writes the page; a test holds it to the code.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from r2d2.config import Configuration
from r2d2.setting_fields import architectures, is_section, value_text

__all__ = ["settings_page"]

_HEAD = """# All settings

    r2d2 train --dataset work/hippocampus training.epochs=10 network.base_filters=32

Settings stand in `r2d2.yaml` (`r2d2 init` writes a commented one), and on the command line as `key=value`. What is
proposed for a dataset lies below the file, the file below the command line. `make docs` writes this page from the code.
"""


def settings_page() -> str:
    """Give the page."""
    sections = [_HEAD, "## Of a run\n", *_table(Configuration, "", lambda field: not is_section(field))]
    for name, field in Configuration.model_fields.items():
        if not is_section(field):
            continue
        sections += [f"\n## {name}: {field.description}\n"]
        if name != "network":
            sections += _table(type(field.get_default(call_default_factory=True)), f"{name}.")
            continue
        for architecture, model in architectures().items():
            sections += [f"\n### network.architecture={architecture}\n"]
            sections += _table(model, "network.", lambda inner: inner.description is not None)
    return "\n".join(sections) + "\n"


def _table(model: type[BaseModel], prefix: str, is_shown: Any = lambda field: True) -> Iterator[str]:
    yield "| setting | default | what it is |\n|---|---|---|"
    for name, field in model.model_fields.items():
        if is_shown(field):
            meaning = " ".join((field.description or "").split()).replace("|", "\\|")
            yield f"| `{prefix}{name}` | {_default(field)} | {meaning} |"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "needed"
    return f"`{value_text(field.get_default(call_default_factory=True))}`"


if __name__ == "__main__":
    Path("docs/settings.md").write_text(settings_page(), encoding="utf-8")
