"""Networks that are asked together, such as those of the folds of a cross-validation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from dist_training.inference.model_card import ModelCard
from imgmed import ScanPreparation
from r2d2.errors import PredictionError

__all__ = ["check_ensemble", "preparation_differences"]

MAY_DIFFER = ("slice_size", "source_channels")  # between preparations that give the same slices


def check_ensemble(cards: Sequence[tuple[Path, ModelCard]]) -> None:
    """Refuse networks that do not answer the same question of the same slices.

    Args:
        cards: the networks' files and cards.

    Raises:
        PredictionError: names the first two that differ, and in what.
    """
    (first_path, first), *others = cards
    for path, card in others:
        differences = [
            f"{name}: {getattr(first, name)} and {getattr(card, name)}"
            for name in ("labels", "class_values", "regions")
            if getattr(first, name) != getattr(card, name)
        ]
        differences += preparation_differences(("one", first.scan_preparation), ("other", card.scan_preparation))
        if differences:
            raise PredictionError(
                f"networks that are asked together must agree on labels and preparation; {first_path} and {path}"
                f" differ ({'; '.join(differences)})"
            )


def preparation_differences(one: tuple[str, ScanPreparation], other: tuple[str, ScanPreparation]) -> list[str]:
    """Say in what two preparations of scans differ that give other slices.

    Args:
        one, other: each with what it is called.
    """
    (one_name, ours), (other_name, theirs) = one, other
    pairs = {name: (getattr(ours, name), getattr(theirs, name)) for name in type(ours).model_fields}
    return [
        f"{name}: {one_name} {_shown(own)}, {other_name} {_shown(their)}"
        for name, (own, their) in pairs.items()
        if name not in MAY_DIFFER and own != their
    ]


def _shown(value: Any) -> str:
    """A setting as text; operations as their names and parameters."""
    if isinstance(value, tuple) and value and isinstance(value[0], BaseModel):
        return "[" + ", ".join(str(dict(operation)) for operation in value) + "]"
    return str(value)
