"""What a preset says of network and training, laid over what is proposed for a dataset that was prepared with it."""

from __future__ import annotations

from imgmed.presets import read_preset
from r2d2.config import configure, laid_over
from r2d2.proposal import Proposal

__all__ = ["with_preset"]

SECTIONS = ("network", "training")


def with_preset(proposal: Proposal, name: str) -> Proposal:
    """Lay a preset's network and training over a proposal.

    Args:
        proposal: for a dataset.
        name: of the preset.

    Returns:
        The proposal with the preset's settings, for each of which the preset is the reason; of another network than
        the one that was proposed no reason is left.
    """
    preset = {section: values for section, values in read_preset(name).items() if section in SECTIONS}
    below = proposal.configuration.model_dump(mode="json")
    configuration = configure(laid_over(below, preset), origin=f"preset {name}")
    theirs = {f"{section}.{key}" for section, values in preset.items() for key in values}
    is_other = configuration.network.architecture != proposal.configuration.network.architecture
    kept = {
        key: reason
        for key, reason in proposal.reasons.items()
        if key not in theirs and not (is_other and key.startswith("network."))
    }
    return Proposal(configuration, kept | dict.fromkeys(sorted(theirs), f"the preset {name}"))
