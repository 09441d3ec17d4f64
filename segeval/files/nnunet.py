"""What nnU-Net's `dataset.json` beside label maps says of them: which label marks voxels that are not judged."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["IGNORE_NAME", "IgnoreLabel", "find_ignore_label"]

_INDEX = "dataset.json"
IGNORE_NAME = "ignore"
"""What nnU-Net calls the label of voxels without annotation."""


@dataclass(frozen=True, slots=True)
class IgnoreLabel:
    """The integer of voxels without annotation.

    Attributes:
        label: the integer.
        path: the file that says so.
    """

    label: int
    path: Path

    @property
    def sentence(self) -> str:
        """What a reader of the scores must know."""
        return (
            f"Voxels with the label {self.label} in the reference are not judged: {self.path} calls it “{IGNORE_NAME}”."
        )


def find_ignore_label(reference: Path | str, prediction: Path | str) -> IgnoreLabel | None:
    """Look for the ignore label in the `dataset.json` of a folder of label maps, or of the one above it.

    nnU-Net keeps it beside `labelsTr`, and copies it among its predictions.

    Args:
        reference: folder of references, or one of them.
        prediction: folder of predictions, or one of them; looked into last.

    Returns:
        The label, with the file; None where no such file names one.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = Path(folder, "dataset.json").write_text('{"labels": {"background": 0, "liver": 1, "ignore": 2}}')
        ...     find_ignore_label(Path(folder, "labelsTr"), "nowhere").label
        2
    """
    for path in _indices(Path(reference), Path(prediction)):
        try:
            labels = json.loads(path.read_text(encoding="utf-8-sig"))["labels"]
            values = [value for name, value in labels.items() if name == IGNORE_NAME]
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            continue  # no such file, or one of another kind: nothing was asked of it
        value = values[0] if values else None
        value = value[0] if isinstance(value, list) and len(value) == 1 else value
        if isinstance(value, int) and not isinstance(value, bool):
            return IgnoreLabel(value, path)
    return None


def _indices(reference: Path, prediction: Path) -> Iterator[Path]:
    for path, levels in ((reference, 2), (prediction, 1)):
        folder = path.parent if path.is_file() else path
        for above in (folder, *folder.resolve().parents)[:levels]:
            yield above / _INDEX
