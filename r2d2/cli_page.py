"""docs/reference/cli.md: every command with its arguments, options and defaults, as the command line declares them.

``make docs`` writes the page; a test holds it to the code.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any

import typer

from r2d2.cli import app

__all__ = ["cli_page"]

_HEAD = """# Commands

```sh
r2d2 train --help
```

Every command says on `--help` what stands here. `make docs` writes this page from the code. What the `key=value` words
of `prepare`, `train` and `init` may be stands in [all settings](../settings.md).

A command exits with 0 where it did what it was asked; with 2 for what you can mend, which one line says; with 130 where
Ctrl-C or a signal stopped it; else with 1.
"""


def cli_page() -> str:
    """Give the page."""
    root: Any = typer.main.get_command(app)
    commands = list(_commands(root, "r2d2"))
    index = [f"| [`{name}`](#{name.replace(' ', '-')}) | {_first_line(command)} |" for name, command in commands]
    sections = [_HEAD, "| command | |\n|---|---|", *index]
    for name, command in commands:
        sections += [f"\n## {name}\n", *_section(name, command)]
    return "\n".join(sections) + "\n"


def _commands(group: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Give the commands below a group, those of groups by both their names; hidden ones are not for users."""
    for word, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _commands(command, f"{name} {word}")
        elif not command.hidden:
            yield f"{name} {word}", command


def _first_line(command: Any) -> str:
    return _in_table((command.help or "").partition("\n\n")[0])


def _section(name: str, command: Any) -> Iterator[str]:
    context = command.make_context(name, [], resilient_parsing=True)
    usage = " ".join(part for part in command.collect_usage_pieces(context) if part)
    yield f"```text\n{name} {usage}\n```\n"
    yield from (_paragraph(text) for text in (command.help or "").split("\n\n"))
    panels: dict[str, list[str]] = {}
    for parameter in command.get_params(context):
        if not getattr(parameter, "hidden", False) and "--help" not in parameter.opts:
            panel = getattr(parameter, "rich_help_panel", None) or ""
            panels.setdefault(panel, []).append(_row(parameter, context))
    for panel, rows in panels.items():
        yield f"| {panel or 'argument or option'} | value | default | what it is |\n|---|---|---|---|"
        yield "\n".join(rows) + "\n"
    if command.epilog:
        yield _paragraph(command.epilog)


def _paragraph(text: str) -> str:
    """Give a paragraph of the help; an example as code."""
    title, _, example = text.partition("Example: ")
    return f"    {example.strip()}\n" if example and not title else _in_text(text) + "\n"


def _row(parameter: Any, context: Any) -> str:
    names, value = parameter.display_name_raw, ""
    if parameter.param_type_name == "option":
        names = "`, `".join([*parameter.opts, *parameter.secondary_opts])
        value = "" if parameter.is_flag else f"`{parameter.display_type_rich(context)}`"
    return f"| `{names}` | {_in_table(value)} | {_default(parameter)} | {_in_table(parameter.help or '')} |"


def _default(parameter: Any) -> str:
    if parameter.required:
        return "needed"
    default = parameter.default.value if isinstance(parameter.default, Enum) else parameter.default
    is_said = isinstance(default, str | int | float | Path) and not isinstance(default, bool) and default != ""
    return f"`{default}`" if is_said else ""


def _in_text(text: str) -> str:
    """Give help as Markdown: on one line, and signs that would be markup made plain."""
    plain = " ".join(text.replace("\b", "").split())
    return "".join(f"\\{sign}" if sign in "*_<>[]" else sign for sign in plain)


def _in_table(text: str) -> str:
    return _in_text(text).replace("|", "\\|") if "`" not in text else " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    Path("docs/reference/cli.md").write_text(cli_page(), encoding="utf-8")
