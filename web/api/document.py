"""What the OpenAPI document says of the whole API, and the pages that are made from it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from flask_openapi3 import Info

from r2d2 import __version__

__all__ = ["INFO", "SECURITY_SCHEMES", "Operation", "operations", "rest_page"]

INFO = Info(
    title="R2D2",
    version=__version__,
    description="Jobs of an R2D2 engine: handed to it, watched, ended. Every request needs a token.",
)
SECURITY_SCHEMES: dict[str, Any] = {"token": {"type": "http", "scheme": "bearer"}}

_MEANINGS = {
    "200": "done",
    "201": "queued",
    "400": "no JSON, or a host name that is not this server's",
    "401": "no valid token",
    "403": "more than this token and its user may",
    "404": "no such job",
    "409": "not in this state",
    "413": "too large",
    "415": "not said to be JSON",
    "422": "refused, with every fault",
    "503": "no engine runs, or its database does not answer",
}

_BOUNDLESS = 2**40

_HEAD = """# REST API

`make docs` writes this page from the code; a server that runs gives the same as an OpenAPI document at `/openapi.json`,
and as a page at `/reference`. [engine.md](engine.md#a-server-for-others) says how a server is started and a token made.

    curl -H "Authorization: Bearer $TOKEN" http://127.0.0.1:8017/api/v1/jobs?states=running
    curl -H "Authorization: Bearer $TOKEN" -H "Content-Type: application/json" http://127.0.0.1:8017/api/v1/jobs \\
         -d '{"task": "train", "settings": {"dataset": "/data/liver", "workers": 2}, "tags": ["liver"]}'

A token of scope `read` may what a viewer may; `operate` is needed to change something, and a user who is operator or
administrator. The cookie of a browser's session counts for nothing here. Bodies are JSON of at most 1 MiB. Settings
of a task are those of its command and of its [Python call](reference/python.md). Errors have one shape, whatever
happened:

    {"error": {"kind": "refused", "message": "...", "faults": [{"key": "dataset", "message": "..."}], "exit_code": 2}}
"""


@dataclass(frozen=True)
class Operation:
    """One thing that the API does.

    Attributes:
        parameters: name, kind, whether it is needed, and what it is, of each in path and query.
        fields: the same of each field of the body.
        answers: status and what it means.
    """

    method: str
    path: str
    summary: str
    parameters: tuple[tuple[str, str, str, str], ...]
    fields: tuple[tuple[str, str, str, str], ...]
    answers: tuple[tuple[str, str], ...]


def operations(document: Mapping[str, Any]) -> Iterator[Operation]:
    """Read an OpenAPI document, as far as its pages show it."""
    schemas = document["components"]["schemas"]
    for path, methods in document["paths"].items():
        for method, one in methods.items():
            given = (
                (at["name"], _kind(at["schema"], schemas), "needed" if at.get("required") else "", _about(at, schemas))
                for at in one.get("parameters", ())
            )
            body = one.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
            answers = ((status, _MEANINGS[status]) for status in sorted(one["responses"]))
            yield Operation(
                method.upper(), path, one["summary"], tuple(given), tuple(_fields(body, schemas)), tuple(answers)
            )


def rest_page(document: Mapping[str, Any]) -> str:
    """Write docs/rest.md."""
    parts = [_HEAD]
    for one in operations(document):
        parts.append(f"\n## {one.method} {one.path}\n\n{one.summary}.\n")
        for title, rows in (("parameter", one.parameters), ("field of the body", one.fields)):
            if rows:
                parts.append(f"| {title} | kind | | what it is |\n|---|---|---|---|")
                parts += [f"| `{name}` | {kind} | {need} | {about} |" for name, kind, need, about in rows]
                parts.append("")
        parts.append("Answers: " + ", ".join(status for status, _ in one.answers) + ".")
    parts.append("\n## Answers\n\n| status | what it means |\n|---|---|")
    parts += [f"| {status} | {meaning} |" for status, meaning in _MEANINGS.items()]
    return "\n".join(parts) + "\n"


def _fields(schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    schema = _followed(schema, schemas)
    needed = schema.get("required", ())
    for name, field in schema.get("properties", {}).items():
        yield name, _kind(field, schemas), "needed" if name in needed else "", _text(field.get("description", ""))


def _followed(schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> Mapping[str, Any]:
    reference = schema.get("$ref")
    return schemas[reference.rpartition("/")[2]] if reference else schema


def _kind(schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> str:
    schema = _followed(schema, schemas)
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if "anyOf" in schema:
        return " or ".join(_kind(one, schemas) for one in schema["anyOf"])
    if schema.get("type") == "array":
        return f"list of {_kind(schema.get('items', {}), schemas)}"
    limits = [
        f"{word} {schema[key]:.0f}"
        for key, word in (("minimum", "from"), ("maximum", "to"))
        if key in schema and abs(schema[key]) < _BOUNDLESS
    ]
    return " ".join([str(schema.get("type", "value")), *limits])


def _about(parameter: Mapping[str, Any], schemas: Mapping[str, Any]) -> str:
    return _text(parameter.get("description") or parameter["schema"].get("description", ""))


def _text(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
