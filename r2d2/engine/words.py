"""A submission from ``key=value`` words, as a person types them in some folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_origin

import yaml

from r2d2.config import FILE_NAME
from r2d2.engine.errors import RefusedError
from r2d2.engine.paths import placed, placed_words
from r2d2.engine.validation import validated
from r2d2.tasks.registry import Task

__all__ = ["settings_of_words"]


def settings_of_words(task: Task, words: Sequence[str], here: Path) -> dict[str, Any]:
    """Read words: those whose key is a field of the task's settings, and others, which are settings of its work.

    Args:
        task: whose settings they are.
        words: like ``dataset=work/liver`` and ``training.epochs=10``; values are YAML.
        here: where relative paths begin; its r2d2.yaml counts, as for the task's command.

    Returns:
        Settings for a `Submission`, with absolute paths.

    Raises:
        RefusedError: words that are none, or values that cannot be; all are told.

    >>> from r2d2.tasks.registry import find_task
    >>> words = ["dataset=liver", "workers=2", "training.epochs=3"]
    >>> given = settings_of_words(find_task("train"), words, Path("/data"))
    >>> given["dataset"], given["workers"], given["settings"]
    ('/data/liver', 2, ['training.epochs=3'])
    """
    fields, given, others, faults = task.settings.model_fields, dict[str, Any](), list[str](), list[str]()
    for word in words:
        key, separator, text = word.partition("=")
        key = key.strip()
        first, *rest = key.split(".")
        if not separator or not key:
            faults.append(f"'{word}' is not key=value, like dataset=work/liver")
        elif first in fields and first != "settings":
            _set(given, (first, *rest), _value(text, word, faults))
        elif "settings" in fields:
            others.append(word)
        else:
            faults.append(f"{key}: unknown key; {task.name} has {', '.join(fields)}")
    if faults:
        raise RefusedError("; ".join(faults))
    for name, value in given.items():
        if get_origin(fields[name].annotation) is tuple and not isinstance(value, list | None):
            given[name] = [value]
    if "config" in fields and "config" not in given and (here / FILE_NAME).exists():
        given["config"] = FILE_NAME
    if others:
        given["settings"] = list(placed_words(others, here))
    if task.output is not None and given.get(task.output) is None:
        # The engine names it; a value stands in for it, so that the others can be read.
        content = {**given, task.output: "output"}
        placed_fields = placed(validated(task.settings, content, f"settings of {task.name}"), here)
        dumped = placed_fields.model_dump(mode="json", exclude_unset=True)
        del dumped[task.output]
        return dumped
    read = placed(validated(task.settings, given, f"settings of {task.name}"), here)
    return read.model_dump(mode="json", exclude_unset=True)


def _value(text: str, word: str, faults: list[str]) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        faults.append(f"the value of '{word}' is not YAML")
        return None


def _set(given: dict[str, Any], keys: Sequence[str], value: Any) -> None:
    *parents, last = keys
    for parent in parents:
        inner = given.setdefault(parent, {})
        given = inner if isinstance(inner, dict) else {}
    given[last] = value
