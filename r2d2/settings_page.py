"""docs/settings.md: every setting with its default, of every network too, as the models declare them.

``make docs`` writes the page; a test holds it to the code.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, TypeAdapter
from pydantic.fields import FieldInfo

from dist_training.architectures import NetworkSettings
from r2d2.config import Configuration

__all__ = ["settings_page"]

_HEAD = """# All settings

    r2d2 train --dataset work/hippocampus training.epochs=10 network.base_filters=32

Settings stand in `r2d2.yaml` (`r2d2 init` writes a commented one), and on the command line as `key=value`. What is
proposed for a dataset lies below the file, the file below the command line. `make docs` writes this page from the code.
"""


def settings_page() -> str:
    """Give the page."""
    sections = [_HEAD, "## Of a run\n", *_table(Configuration, "", lambda field: not _is_section(field))]
    for name, field in Configuration.model_fields.items():
        if not _is_section(field):
            continue
        sections += [f"\n## {name}: {field.description}\n"]
        if name != "network":
            sections += _table(type(field.get_default(call_default_factory=True)), f"{name}.")
            continue
        for model in get_args(get_args(NetworkSettings)[0]):
            sections += [f"\n### network.architecture={model.model_fields['architecture'].default}\n"]
            sections += _table(model, "network.", lambda inner: inner.description is not None)
    return "\n".join(sections) + "\n"


def _is_section(field: FieldInfo) -> bool:
    return field.default_factory is not None


def _table(model: type[BaseModel], prefix: str, is_shown: Any = lambda field: True) -> Iterator[str]:
    yield "| setting | default | what it is |\n|---|---|---|"
    for name, field in model.model_fields.items():
        if is_shown(field):
            meaning = " ".join((field.description or "").split()).replace("|", "\\|")
            yield f"| `{prefix}{name}` | {_default(field)} | {meaning} |"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "needed"
    value = TypeAdapter(Any).dump_python(field.get_default(call_default_factory=True), mode="json")
    text = yaml.safe_dump(value, default_flow_style=True, width=1000).removesuffix("...\n").strip()
    return f"`{text}`"


if __name__ == "__main__":
    Path("docs/settings.md").write_text(settings_page(), encoding="utf-8")
