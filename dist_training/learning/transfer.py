"""Starting from a trained network: which weights come from it, which layers rest, and how fast the others learn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from dist_training.errors import ModelError
from dist_training.learning.inflation import inflated_weights
from r2d2_base.errors import ConfigurationError

__all__ = ["StartWeights", "TransferSettings", "copy_weights", "freeze_stages", "rate_factors", "stage_layers"]


class TransferSettings(BaseModel):
    """How a run uses a network that was trained before.

    >>> TransferSettings(frozen_stages=("encoder",), unfreeze_after_epochs=2).frozen_in(epoch=1)
    ('encoder',)
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    start_from: Path | None = Field(
        default=None,
        description="run folder, .keras file or zoo:NAME whose weights the network starts from; null: from scratch",
    )
    start_name: str | None = Field(
        default=None,
        description="name and version of that network in the zoo, which a run notes; null: not from there",
    )
    frozen_stages: tuple[str, ...] = Field(
        default=(), description="stages (encoder, decoder, head) or layers, by their names, that do not learn"
    )
    unfreeze_after_epochs: int | None = Field(
        default=None, ge=1, description="epochs after which the frozen stages learn, too; null: never"
    )
    learning_rate_factors: dict[str, Annotated[float, Field(gt=0)]] = Field(
        default_factory=dict, description="factors on the learning rate of stages or layers, like {encoder: 0.1}"
    )

    @model_validator(mode="after")
    def _something_unfreezes(self) -> TransferSettings:
        if self.unfreeze_after_epochs is not None and not self.frozen_stages:
            raise ValueError(
                "unfreeze_after_epochs is for frozen_stages, which names none; use frozen_stages [encoder], or "
                "unfreeze_after_epochs null"
            )
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """The stages and layers that are named."""
        return (*self.frozen_stages, *self.learning_rate_factors)

    def frozen_in(self, epoch: int) -> tuple[str, ...]:
        """Name the stages that do not learn in an epoch.

        Args:
            epoch: 0-based.
        """
        is_over = self.unfreeze_after_epochs is not None and epoch >= self.unfreeze_after_epochs
        return () if is_over else self.frozen_stages


@dataclass(frozen=True)
class StartWeights:
    """What a network got from another.

    Attributes:
        copied: paths of the variables that have the other's values.
        fresh: paths of those that keep their initial values: a new head, or what the other lacks.
    """

    copied: tuple[str, ...]
    fresh: tuple[str, ...]


def copy_weights(model: Any, source: Any, *, has_new_head: bool, head: Sequence[str] = ()) -> StartWeights:
    """Give a network the weights of another of the same architecture; one of volumes also those of one of slices.

    Args:
        model: the network, changed in place: it is the run's own.
        source: the trained network.
        has_new_head: whether the head starts anew, as it must where the labels differ.
        head: names of the head's layers.

    Returns:
        Which variables were copied.

    Raises:
        ModelError: no layer fits, or one other than the head's has other shapes.
    """
    # By layer, not by the variable's path: a path names neither the model that a layer is nested in, nor always alike
    # the layers that a layer makes for itself.
    sources = {layer.name: layer for layer in source.layers}
    copied, fresh, misfits = [], [], []
    for layer in model.layers:
        ours, origin = layer.weights, sources.get(layer.name)
        paths = [variable.path for variable in ours]
        theirs = () if origin is None else inflated_weights(layer, origin) or origin.weights
        if origin is None or (has_new_head and layer.name in head):
            fresh += paths
        elif (shapes := _shapes(theirs)) != (wanted := _shapes(ours)):
            misfits.append(f"{layer.name} {shapes} for {wanted}")
        else:
            for variable, value in zip(ours, theirs, strict=True):
                variable.assign(value)
            copied += paths
    if misfits or not copied:
        raise ModelError(
            "the network to start from has other shapes than this one: "
            f"{'; '.join(misfits[:3]) or 'no layer of the same name'}; start from a network of the same architecture, "
            f"channels and settings{_also_for_volumes(model, source)}"
        )
    return StartWeights(tuple(copied), tuple(fresh))


def _also_for_volumes(model: Any, source: Any) -> str:
    is_inflated = len(model.inputs[0].shape) == 5 and len(source.inputs[0].shape) == 4
    return "; a unet of volumes takes the weights of one of slices with network.doubling=late" if is_inflated else ""


def _shapes(variables: Sequence[Any]) -> list[tuple[int, ...]]:
    return [tuple(variable.shape) for variable in variables]


def stage_layers(names: Sequence[str], stages: Mapping[str, Sequence[str]]) -> list[str]:
    """Resolve stages and layers to the names of layers.

    Args:
        names: of stages or of layers.
        stages: names of the layers of each stage.

    Raises:
        ConfigurationError: a name is neither, or of a stage without layers.

    >>> stage_layers(["encoder", "b1"], {"encoder": ["a1", "a2"], "decoder": ["b1"]})
    ['a1', 'a2', 'b1']
    """
    layers = {layer for stage in stages.values() for layer in stage}
    unknown = [name for name in names if not stages.get(name) and name not in layers]
    if unknown:
        present = [stage for stage in stages if stages[stage]]
        raise ConfigurationError(
            f"transfer names {', '.join(unknown)}, which this network does not have; "
            f"its stages are {', '.join(present)}; its layers {', '.join(sorted(layers)[:6])}, ..."
        )
    return [layer for name in names for layer in stages.get(name, [name])]


def freeze_stages(model: Any, names: Sequence[str], stages: Mapping[str, Sequence[str]]) -> int:
    """Let some layers rest and the others learn; a resting batch normalisation keeps its statistics.

    Args:
        model: the network, changed in place.
        names: stages or layers that rest.
        stages: names of the layers of each stage.

    Returns:
        The number of trainable numbers that are left.

    Raises:
        ConfigurationError: a name is unknown, or nothing would learn.
    """
    resting = set(stage_layers(names, stages))
    for layer in model.layers:
        layer.trainable = layer.name not in resting
    left = sum(int(variable.value.shape.num_elements()) for variable in model.trainable_variables)
    if left == 0:
        raise ConfigurationError(f"transfer.frozen_stages={list(names)} leaves nothing to learn; freeze fewer")
    return left


def rate_factors(factors: Mapping[str, float], model: Any, stages: Mapping[str, Sequence[str]]) -> dict[str, float]:
    """Give the factor on the learning rate of each variable that has one; of a layer's and its stage's, the layer's.

    Args:
        factors: by names of stages or layers.
        model: the network.
        stages: names of the layers of each stage.

    Returns:
        Factor of each variable's path.

    Raises:
        ConfigurationError: a name is unknown.
    """
    by_layer: dict[str, float] = {}
    for name in sorted(factors, key=lambda name: name not in stages):  # stages first
        by_layer |= dict.fromkeys(stage_layers([name], stages), factors[name])
    return {
        variable.path: by_layer[layer.name]
        for layer in model.layers
        if layer.name in by_layer
        for variable in layer.trainable_variables
    }
