"""The stages of a network, by the names of its layers: what is frozen together, or learns at a rate of its own."""

from typing import TYPE_CHECKING

from r2d2_base.errors import ConfigurationError

if TYPE_CHECKING:
    import keras

__all__ = ["STAGES", "stages"]

STAGES: dict[str, tuple[str, ...]] = {
    "encoder": ("encoder", "down", "bottom", "block", "fc6", "fc7"),
    "decoder": ("decoder", "up"),
    "head": ("head", "logits", "score_", "enlarge_"),
    "autoencoder": ("autoencoder",),
}
"""Each stage, from the input, with what the names of its layers begin with.

The head is what depends on the number of outputs, and nothing else: other labels need another head only. ``block``,
``fc6`` and ``fc7`` are of Dist-FCN, all of whose layers after them depend on the outputs: it has no decoder. The
autoencoder is there in training only, and only where it is asked for.
"""


def stages(model: "keras.Model") -> dict[str, list[str]]:
    """Sort the layers that have weights into the stages of their network.

    Args:
        model: a network from ``build_network``.

    Returns:
        Names of layers by stage, from the input on; each layer with weights is in one stage. A stage may be empty.

    Raises:
        ConfigurationError: a layer of a network of the user's own is called otherwise.

    >>> from dist_training.architectures import UNetSettings, build_network
    >>> found = stages(build_network(UNetSettings(base_filters=2, depth=1, normalisation="none"), 1, 2))
    >>> found["decoder"], found["head"]
    (['up0_transposed', 'up0a', 'up0b'], ['logits'])
    """
    found: dict[str, list[str]] = {stage: [] for stage in STAGES}
    for layer in model.layers:
        if not layer.weights:  # the state of dropout's random numbers is no weight
            continue
        stage = next((stage for stage, starts in STAGES.items() if layer.name.startswith(starts)), None)
        if stage is None:
            raise ConfigurationError(
                f"stages need layers whose names begin with encoder, decoder or head; received {layer.name}; "
                f"name the layers of {model.name} so, or train all of it"
            )
        found[stage].append(layer.name)
    return found
