"""How the site reads R2D2's docstrings: Google's sections, but text otherwise, not reStructuredText."""

import re
from typing import Any

from pydantic import BaseModel
from sphinx.application import Sphinx
from sphinx.domains.python import PyObject
from sphinx.ext.napoleon import GoogleDocstring

_CODE = re.compile(r"(`+[^`]+`+)")


class Docstring(GoogleDocstring):
    """A docstring whose `Returns:` is a sentence, in which a colon does not end the name of a type."""

    def _consume_returns_section(self, preprocess_types: bool = False) -> list[tuple[str, str, list[str]]]:
        lines = self._dedent(self._consume_to_next_section())
        return [("", "", lines)] if lines else []

    def _consume_inline_attribute(self) -> tuple[str, list[str]]:
        return "", self._dedent(self._consume_to_end())


def read_docstring(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Put what reStructuredText says the same way in the place of `lines`; called for each thing that is documented."""
    plain = [line if line.lstrip().startswith((">>>", "...")) else _escaped(line) for line in lines]
    read = Docstring(plain, app.config, app, what, name, obj, options).lines()
    if isinstance(obj, type) and issubclass(obj, BaseModel):
        read += ["", *_fields(obj), ""]
    lines[:] = read


def _escaped(line: str) -> str:
    """Give the line with the signs that would be markup outside of its code, such as those of |A|, made plain."""
    parts = _CODE.split(line)
    return "".join(part if _CODE.fullmatch(part) else re.sub(r"([|*])", r"\\\1", part) for part in parts)


def _fields(model: type[BaseModel]) -> list[str]:
    """Give the settings of a model, each with its description, as a list of fields."""
    described = {name: field.description for name, field in model.model_fields.items() if field.description}
    return [f":ivar {name}: {_escaped(' '.join(text.split()))}" for name, text in described.items()]


def setup(app: Sphinx) -> dict[str, bool]:
    """Let Sphinx call us where napoleon would read docstrings."""
    app.connect("autodoc-process-docstring", read_docstring)
    for field in PyObject.doc_field_types:
        if field.name == "variable":
            field.label = "Attributes"  # as our docstrings call them
    return {"parallel_read_safe": True}
