"""Rules that a label map is set right by, after the network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from imgmed import Volume
from r2d2_base.errors import ConfigurationError

__all__ = [
    "FillHoles",
    "LargestComponent",
    "MinimumSize",
    "OnlyInside",
    "Rule",
    "apply_rules",
    "check_rules",
    "parse_rule",
]

CUBIC_MM = 1000.0  # of a millilitre


class _Rule(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    label: str = Field(description="Name of the label that the rule is about.")

    @property
    def names(self) -> tuple[str, ...]:
        """The labels that the rule speaks of."""
        return (self.label,)

    @property
    def text(self) -> str:
        """The rule as the command line has it: what `parse_rule` reads.

        >>> MinimumSize(label="lesion", ml=0.05).text
        'minimum_size:lesion:0.05'
        """
        given = self.model_dump()
        values = [given[word] for word in _WORDS[given["kind"]]]
        return ":".join([given["kind"], self.label, *(str(value) for value in values)])


class LargestComponent(_Rule):
    """Keep the largest connected part of a label; the others become background.

    >>> parse_rule("largest_component:liver")
    LargestComponent(label='liver', kind='largest_component')
    """

    kind: Literal["largest_component"] = "largest_component"

    def apply(self, array: np.ndarray, values: Mapping[str, int], voxel_ml: float) -> None:
        """Change a label map (i, j, k) in place."""
        value = values[self.label]
        parts, sizes = _components(array == value)
        if len(sizes) > 1:
            array[(parts > 0) & (parts != 1 + int(np.argmax(sizes)))] = 0


class MinimumSize(_Rule):
    """Keep connected parts of a label that are at least so large; smaller ones become background.

    >>> parse_rule("minimum_size:lesion:0.05").ml
    0.05
    """

    kind: Literal["minimum_size"] = "minimum_size"
    ml: float = Field(gt=0, description="Smallest volume in millilitres.")

    def apply(self, array: np.ndarray, values: Mapping[str, int], voxel_ml: float) -> None:
        """Change a label map (i, j, k) in place."""
        parts, sizes = _components(array == values[self.label])
        is_small = np.concatenate([[False], sizes * voxel_ml < self.ml])
        array[is_small[parts]] = 0


class FillHoles(_Rule):
    """Give a label the background that it encloses, on all sides."""

    kind: Literal["fill_holes"] = "fill_holes"

    def apply(self, array: np.ndarray, values: Mapping[str, int], voxel_ml: float) -> None:
        """Change a label map (i, j, k) in place."""
        from scipy import ndimage

        value = values[self.label]
        array[ndimage.binary_fill_holes(array == value) & (array == 0)] = value


class OnlyInside(_Rule):
    """Keep connected parts of a label that touch another one; those that lie elsewhere become background.

    >>> parse_rule("only_inside:tumour:kidney").within
    'kidney'
    """

    kind: Literal["only_inside"] = "only_inside"
    within: str = Field(description="Name of the other label.")

    @property
    def names(self) -> tuple[str, ...]:
        """The labels that the rule speaks of."""
        return (self.label, self.within)

    def apply(self, array: np.ndarray, values: Mapping[str, int], voxel_ml: float) -> None:
        """Change a label map (i, j, k) in place."""
        from scipy import ndimage

        parts, sizes = _components(array == values[self.label])
        near = ndimage.binary_dilation(array == values[self.within], np.ones((3, 3, 3), bool))
        touches = np.zeros(len(sizes) + 1, bool)
        touches[np.unique(parts[near])] = True
        touches[0] = True
        array[~touches[parts]] = 0


Rule = Annotated[LargestComponent | MinimumSize | FillHoles | OnlyInside, Field(discriminator="kind")]

_ADAPTER: TypeAdapter[Rule] = TypeAdapter(Rule)
_WORDS = {"largest_component": (), "minimum_size": ("ml",), "fill_holes": (), "only_inside": ("within",)}


def parse_rule(text: str) -> Rule:
    """Read a rule as the command line has it, KIND:LABEL or KIND:LABEL:VALUE.

    Raises:
        ConfigurationError: there is no such kind, or it takes something else.
    """
    kind, _, rest = text.partition(":")
    label, *others = rest.split(":")
    try:
        names = _WORDS[kind]
        return _ADAPTER.validate_python({"kind": kind, "label": label, **dict(zip(names, others, strict=True))})
    except (KeyError, ValueError, ValidationError):
        forms = ", ".join(":".join([known, "LABEL", *map(str.upper, words)]) for known, words in _WORDS.items())
        raise ConfigurationError(f"a rule is one of {forms}; received {text!r}") from None


def apply_rules(label_map: Volume, rules: Sequence[Rule], labels: Mapping[str, int]) -> Volume:
    """Set a label map right by rules, one after the other.

    Args:
        label_map: (i, j, k) label values; it is not changed. Parts are connected by faces, edges and corners.
        rules: in their order.
        labels: name to label value.

    Raises:
        ConfigurationError: a rule is about a label that there is not.
    """
    check_rules(rules, labels)
    if not rules:
        return label_map
    array = label_map.array.copy()
    voxel_ml = float(np.prod(label_map.spacing_mm)) / CUBIC_MM
    for rule in rules:
        rule.apply(array, labels, voxel_ml)
    return Volume(array, label_map.affine)


def check_rules(rules: Sequence[Rule], labels: Mapping[str, int]) -> None:
    """Refuse rules about labels that there are not; see `apply_rules`."""
    known = {name for name, value in labels.items() if value}
    for rule in rules:
        unknown = [name for name in rule.names if name not in known]
        if unknown:
            raise ConfigurationError(
                f"the rule {rule.kind} is about {' and '.join(unknown)}; the model's labels are"
                f" {', '.join(sorted(known))}"
            )


def _components(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The parts of a mask (i, j, k), numbered from 1, and how many voxels each has."""
    from scipy import ndimage

    parts, count = ndimage.label(mask, np.ones((3, 3, 3), bool))
    return parts, np.bincount(parts.ravel(), minlength=count + 1)[1:]
