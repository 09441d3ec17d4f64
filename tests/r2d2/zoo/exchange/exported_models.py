"""Model folders for tests of what is exported: any network, with a card that fits it."""

from pathlib import Path

from dist_training.architectures import NetworkSettings
from dist_training.inference.model_card import ModelCard, UsedCase
from imgmed import Normalisation, ScanPreparation
from r2d2_base.files import sha256_of, write_json

__all__ = ["write_model"]

SECRET = "Anna Example"  # a name, as those of files often are


def write_model(folder: Path, network: NetworkSettings, model, slice_size: tuple[int, int] = (36, 48)) -> ModelCard:
    """Write model.keras and model.json of a network with one channel and the outputs of three classes."""
    folder.mkdir(parents=True)
    model.save(folder / "model.keras")
    card = ModelCard(
        network=network,
        channels=("MRI",),
        num_outputs=3,
        labels={"background": 0, "anterior": 1, "posterior": 2},
        class_values=(0, 1, 2),
        scan_preparation=ScanPreparation(channels=("MRI",), slice_axis=2, slice_size=slice_size),
        normalisation=Normalisation(kind="zscore_case"),
        validation_dice=0.5,
        validation_dice_per_label={"anterior": 0.5, "posterior": 0.5},
        epoch=1,
        dataset="hippocampus",
        cases=(UsedCase(case_id=SECRET, split="train", image_sha256=("0" * 64,)),),
        versions={},
        model_sha256=sha256_of(folder / "model.keras"),
    )
    write_json(folder / "model.json", card.model_dump(mode="json"))
    return card
