"""A Keras network that was made elsewhere as a model of R2D2: model.keras with a card of what only its makers know."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dist_training.architectures import ImportedSettings
from dist_training.inference.model_card import ModelCard
from dist_training.record.environment import versions
from r2d2.errors import ZooError
from r2d2.zoo.exchange.answers import ImportAnswers
from r2d2.zoo.exchange.foreign_network import Foreign, read_foreign, to_logits
from r2d2_base.files import sha256_of, write_json
from r2d2_base.folders import check_absent, staged_folder

__all__ = ["ImportedModel", "import_model", "read_foreign"]


@dataclass(frozen=True)
class ImportedModel:
    """A model folder that was made of a network.

    Attributes:
        folder: with model.keras and model.json.
        card: its card.
        weights: numbers that the network has.
    """

    folder: Path
    card: ModelCard
    weights: int


def import_model(foreign: Foreign, answers: ImportAnswers, out: Path) -> ImportedModel:
    """Make a model folder of a network.

    Args:
        foreign: what ``read_foreign`` read; its layers may get other names.
        answers: what its file does not say.
        out: the folder; it must not exist, or be empty.

    Raises:
        ZooError: the answers do not fit the network, or it cannot be made one of logits.
        OutputExistsError: ``out`` is not free.
    """
    check_absent(out)
    preparation = answers.scan_preparation
    if preparation.input_channels != foreign.channels:
        names = ", ".join(answers.channels)
        raise ZooError(
            f"{foreign.path} takes {foreign.channels} channels; the answers name {names} with {answers.neighbours} "
            f"neighbours on either side, which makes {preparation.input_channels}"
        )
    outputs = answers.outputs(foreign.num_outputs)
    mean = answers.normalisation.mean
    if mean is not None and len(mean) != len(answers.channels):
        raise ZooError(f"normalisation needs a mean and std for each of the channels {', '.join(answers.channels)}")
    network = to_logits(foreign, answers.activation, answers.slice_size)
    values = tuple(answers.labels.values())  # in the order of the outputs; of regions, classes go by their values
    values = (0, *(sorted(values) if outputs.kind == "regions" else values))
    with staged_folder(out) as folder:
        network.save(folder / "model.keras")
        card = ModelCard(
            network=ImportedSettings(),
            channels=answers.channels,
            num_outputs=outputs.num_outputs,
            labels=answers.all_labels,
            class_values=values,
            regions={name: (value,) for name, value in answers.labels.items()} if outputs.kind == "regions" else {},
            scan_preparation=preparation,
            normalisation=answers.normalisation,
            validation_dice=None,
            validation_dice_per_label=dict.fromkeys(answers.labels),
            epoch=0,
            dataset=answers.trained_on,
            cases=(),
            versions=versions(),
            model_sha256=sha256_of(folder / "model.keras"),
        )
        write_json(folder / "model.json", card.model_dump(mode="json"))
    return ImportedModel(out, card, network.count_params())
