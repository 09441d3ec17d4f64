"""What a form comes to, said while one types: its faults, the command line and the r2d2.yaml for the same."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import yaml

__all__ = ["Preview", "command_line", "yaml_text"]


@dataclass(frozen=True)
class Preview:
    """What a page shows below a form; `web/layout/preview.js` keeps it true.

    Attributes:
        faults: sentences by the key of their field.
        general: those of no field.
        warnings: what may surprise.
        changed: keys of the settings that differ from what stood there.
        command: what would be typed.
        yaml: what differs, as r2d2.yaml.
        lists: further sentences, by the id of the element that lists them.
        is_checked: whether the engine was asked what it would refuse.
    """

    faults: Mapping[str, Sequence[str]]
    general: Sequence[str]
    warnings: Sequence[str]
    changed: Sequence[str]
    command: str
    yaml: str
    lists: Mapping[str, Sequence[str]] = field(default_factory=dict)
    is_checked: bool = True

    @property
    def verdict(self) -> str:
        """Whether something is to be mended.

        >>> Preview({"workers": ["too many"]}, ["no room"], (), (), "", "").verdict
        '2 to be mended.'
        """
        count = len(self.faults) + len(self.general)
        if count:
            return f"{count} to be mended."
        return "Nothing stands in the way." if self.is_checked else "Not looked at yet."

    def to_json(self) -> dict[str, Any]:
        """Give it as the script takes it."""
        return {**asdict(self), "verdict": self.verdict}


def command_line(*words: str) -> str:
    """Write a command as a shell reads it.

    >>> command_line("prepare", "my scans", "--out", "work/liver")
    "r2d2 prepare 'my scans' --out work/liver"
    """
    return shlex.join(["r2d2", *words])


def yaml_text(words: Sequence[str], **first: Any) -> str:
    """Write settings as r2d2.yaml.

    Args:
        words: settings as ``key=value``.
        first: what stands before them; None: nothing.

    >>> print(yaml_text(("training.epochs=3", "network.depth=2"), dataset="work/liver"), end="")
    dataset: work/liver
    training:
      epochs: 3
    network:
      depth: 2
    """
    content: dict[str, Any] = {name: value for name, value in first.items() if value is not None}
    for word in words:
        key, _, text = word.partition("=")
        section, _, name = key.rpartition(".")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError:
            value = text
        (content.setdefault(section, {}) if section else content)[name] = value
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True) if content else ""
