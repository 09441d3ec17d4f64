"""card.json: what a published model is, for people; what its author says, and what the program knows."""

from __future__ import annotations

from pathlib import Path

__all__ = ["description_template"]


def description_template(run: Path) -> str:
    """Give the file that the author of a card fills in: YAML, each field with what belongs there.

    Args:
        run: a run folder.
    """
    raise NotImplementedError
