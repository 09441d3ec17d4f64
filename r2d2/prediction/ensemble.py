"""Networks that are asked together, such as those of the folds of a cross-validation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from dist_training.inference.model_card import ModelCard
from imgmed import ScanPreparation
from r2d2.errors import PredictionError
from r2d2.prediction.member import Member

__all__ = ["by_preparation", "check_ensemble", "preparation_differences"]

MAY_DIFFER = ("slice_size", "source_channels")  # between preparations that give the same slices
ASKED = ("labels", "class_values", "regions", "channels")


def check_ensemble(cards: Sequence[tuple[Path, ModelCard]]) -> None:
    """Refuse networks that do not answer the same question of the same channels.

    Args:
        cards: the networks' files and cards.

    Raises:
        PredictionError: names the first two that differ, and in what.
    """
    (first_path, first), *others = cards
    for path, card in others:
        differences = [
            f"{name}: {getattr(first, name)} and {getattr(card, name)}"
            for name in ASKED
            if getattr(first, name) != getattr(card, name)
        ]
        indices = (first.scan_preparation.channel_indices, card.scan_preparation.channel_indices)
        if not differences and indices[0] != indices[1]:
            differences.append(f"channels of the source: {indices[0] or 'all'} and {indices[1] or 'all'}")
        if differences:
            raise PredictionError(
                f"networks that are asked together must agree on labels and channels; {first_path} and {path}"
                f" differ ({'; '.join(differences)})"
            )


def by_preparation(members: Sequence[Member]) -> list[list[Member]]:
    """Put networks together that take the same slices, or volume, of a scan; groups come in the order given."""
    groups: list[list[Member]] = []
    for member in members:
        own, is_of_volumes = ("", member.card.scan_preparation), member.card.patch_size is not None
        fitting = (
            group
            for group in groups
            if not preparation_differences(("", group[0].card.scan_preparation), own)
            and (group[0].card.patch_size is not None) == is_of_volumes
        )
        group = next(fitting, None)
        if group is None:
            groups.append([member])
        else:
            group.append(member)
    return groups


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
        return ", ".join(map(_operation, value))
    return str(value)


def _operation(operation: BaseModel) -> str:
    """An operation as text: its name, and what differs from its defaults."""
    given = operation.model_dump(mode="json", exclude_defaults=True, exclude={"op"})
    told = " ".join(f"{name}={value}" for name, value in given.items())
    return f"{getattr(operation, 'op', '')} ({told})" if told else str(getattr(operation, "op", ""))
