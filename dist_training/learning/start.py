"""What a new run starts from: the weights of a trained network, and what that one was trained on."""

from __future__ import annotations

from pathlib import Path

from dist_training.architectures import read_network, stages
from dist_training.inference.model_card import ModelCard, keep_start_card, read_model_card, read_start_card
from dist_training.learning.learner import Learner
from dist_training.learning.transfer import copy_weights
from dist_training.record.events import WeightsTaken
from dist_training.record.run_folder import RunFolder
from imgmed import PreparedDataset

__all__ = ["take_weights"]


def take_weights(
    learner: Learner, start: Path | None, dataset: PreparedDataset, folder: RunFolder
) -> WeightsTaken | None:
    """Give a learner the weights of a trained network, if any; where its labels are others, with a head of its own.

    Args:
        learner: changed in place.
        start: a run folder or a .keras file; None: the learner keeps its initial weights.
        dataset: what will be trained on.
        folder: of the run, which keeps the card of the network that it starts from.

    Returns:
        What was taken from where, as an event; None where there is nothing to start from.

    Raises:
        ModelError: there is no such network, or it does not fit.
    """
    card = None if start is None else read_start_card(start)
    keep_start_card(folder, card)
    if start is None:
        return None
    # No code that a card names: the learner's network is built, so that the layers of its own module are known.
    source = read_network(start if card is None else read_model_card(start)[0])
    is_other = source.output_shape[-1] != learner.network.output_shape[-1]
    if card is not None:
        regions = learner.outputs.region_values(dataset.class_values)
        is_other = card.labels != dataset.labels or list(card.regions.items()) != list(regions.items())
    head = stages(learner.model)["head"] if is_other else ()  # where nothing starts anew, names need tell no stages
    taken = copy_weights(learner.model, source, has_new_head=is_other, head=head)
    return WeightsTaken(
        source=str(start),
        copied=len(taken.copied),
        fresh=tuple(taken.fresh),
        trained_on=None if card is None else _held_out_cases_of(card, dataset),
    )


def _held_out_cases_of(card: ModelCard, dataset: PreparedDataset) -> dict[str, int]:
    """Count the cases that the run validates or tests on and another network was trained on."""
    splits = {"validation": dataset.splits.validation, "test": dataset.splits.test}
    return {
        split: card.trained_on(dataset.case(case_id).image_sha256 for case_id in case_ids)
        for split, case_ids in splits.items()
    }
