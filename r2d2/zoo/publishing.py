"""Publishing: a trained network and its card as a folder that another person can trust."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from dist_training.inference.model_card import ModelCard

__all__ = ["PublishSettings", "PublishedModel", "publish_model"]


class PublishSettings(BaseModel):
    """What is published with a network, and how.

    >>> PublishSettings(description="card.yaml").half
    False
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    description: Path = Field(description="YAML file with what only the author knows, as 'r2d2 zoo describe' writes it")
    evaluation: Path | None = Field(default=None, description="folder of an evaluation of this network; none: no scores")
    prediction: Path | None = Field(
        default=None, description="folder of the evaluated label maps; none: where the evaluation names them"
    )
    with_pictures: bool = Field(default=False, description="show the worst cases as pictures of patients in card.html")
    half: bool = Field(default=False, description="store the weights in half precision, in half the room")
    unfinished: bool = Field(default=False, description="publish the best network so far of a run that has not ended")
    name: str | None = Field(default=None, description="what its card calls it, such as hippocampus-unet:1")


@dataclass(frozen=True)
class PublishedModel:
    """A model folder that was published.

    Attributes:
        folder: model.keras, model.json, card.json, card.html, card.md, LICENSE and files.json.
        card: its model.json.
        notices: sentences that its publisher should read, such as that it has no evaluation.
    """

    folder: Path
    card: ModelCard
    notices: tuple[str, ...] = ()


def publish_model(run: Path, folder: Path, wishes: PublishSettings) -> PublishedModel:
    """Write a network with its card as a published model; the folder appears whole or not at all.

    Args:
        run: the run folder, or another one that holds model.keras and model.json.
        folder: where it is written; it must be free.
        wishes: what goes with it, and how.

    Raises:
        ZooError: it cannot be published; lists all reasons.
        ModelError: there is no network in `run`, or a damaged one.
        OutputExistsError: `folder` is not free.
    """
    raise NotImplementedError
