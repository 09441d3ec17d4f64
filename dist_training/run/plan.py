"""What is checked before a run starts; loads no TensorFlow."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Sequence
from typing import Any

from dist_training.architectures import NetworkSettings
from dist_training.checkpoints import Checkpoint
from dist_training.errors import CheckpointError, TensorFlowMissingError, TooManyWorkersError
from dist_training.inference.outputs import outputs_of
from dist_training.inputs.patches import patch_count, proposed_patch_size
from dist_training.learning.transfer import TransferSettings
from dist_training.settings import TrainingSettings
from imgmed import AugmentationSettings, PreparedDataset
from r2d2_base.errors import ConfigurationError

__all__ = [
    "check_checkpoint",
    "check_class_weights",
    "check_dimensions",
    "check_epochs",
    "check_normalisation",
    "check_outputs",
    "check_task",
    "check_tensorflow",
    "check_time",
    "check_workers",
    "run_facts",
    "training_slice_count",
    "with_patch_size",
]

_UNCHANGEABLE = {
    "global_batch_size",
    "seed",
    "optimizer",
    "momentum",
    "ema_momentum",
    "loss",
    "loss_options",
    "focal_gamma",
    "tversky_alpha",
    "tversky_beta",
    "class_weights",
    "region_outputs",
    "dtype",
    "patch_size",
    "foreground_share",
    "autoencoder",
    "autoencoder_kl_weight",
    "autoencoder_l2_weight",
}
_NEWER_THAN_0_1 = {"source_channels", "window"}
"""Fields of a preparation that version 0.1 did not know; null where they are not used."""


def training_slice_count(dataset: PreparedDataset) -> int:
    """Count the slices of the training cases that are trained on."""
    return sum(dataset.case(case_id).slices_to_train_on for case_id in dataset.splits.train)


def check_workers(dataset: PreparedDataset, settings: TrainingSettings, world_size: int) -> None:
    """Refuse more workers than there are training slices, or slices in a step.

    Raises:
        ConfigurationError: there is no training slice.
        TooManyWorkersError: where some worker could never get a slice.
    """
    count, what = training_slice_count(dataset), "slices"
    if settings.patch_size is not None:
        what = "patches"
        count = patch_count([dataset.grid(one).stack_shape for one in dataset.splits.train], settings.patch_size)
    if count == 0:
        raise ConfigurationError(
            f"{dataset.folder} has no training slice; prepare it with cases in the split train, and with a "
            "preparation.slices that leaves some"
        )
    if world_size > count:
        raise TooManyWorkersError(
            f"more workers than training {what}: {world_size} workers, {count} {what} in {dataset.folder}; "
            f"use at most {count} workers"
        )
    if settings.global_batch_size is not None and world_size > settings.global_batch_size:
        raise TooManyWorkersError(
            f"more workers than slices in a step: {world_size} workers, "
            f"global_batch_size {settings.global_batch_size}; use at most {settings.global_batch_size} workers"
        )


def check_tensorflow() -> None:
    """Refuse to go on without TensorFlow and Keras; loads neither.

    Raises:
        TensorFlowMissingError: naming what brings them.
    """
    missing = [name for name in ("tensorflow", "keras") if importlib.util.find_spec(name) is None]
    if missing:
        raise TensorFlowMissingError(
            f"training and prediction need {' and '.join(missing)}: install R2D2 with pip install '.[train]', "
            "or with make install"
        )


def check_normalisation(network: NetworkSettings, settings: TrainingSettings) -> None:
    """Refuse batch normalisation of a batch that is computed in parts.

    Raises:
        ConfigurationError: where the result would depend on the parts.
    """
    if settings.accumulation_steps > 1 and getattr(network, "normalisation", None) == "batch":
        raise ConfigurationError(
            "network.normalisation=batch averages over the whole batch, which training.accumulation_steps="
            f"{settings.accumulation_steps} never has at once; use accumulation_steps=1 (and more workers), or "
            "normalisation group (the default) or instance"
        )


def check_dimensions(
    dataset: PreparedDataset, network: NetworkSettings, settings: TrainingSettings, augmentation: AugmentationSettings
) -> None:
    """Refuse settings of slices for a network of volumes, and the reverse.

    Raises:
        ConfigurationError: says what would work.
    """
    if len(network.size_multiples) == 2:
        if settings.patch_size is not None:
            raise ConfigurationError(
                f"training.patch_size is of networks of volumes, and {network.architecture} takes slices: use "
                "network.dimensions=3, or augmentation.crop_size for slices"
            )
        if augmentation.of_volumes:
            raise ConfigurationError(
                f"{_named(augmentation.of_volumes)} of networks of volumes, and {network.architecture} takes slices: "
                "use network.dimensions=3, or settings of slices such as augmentation=table1"
            )
        if settings.autoencoder:
            raise ConfigurationError(
                f"training.autoencoder is of networks of volumes, and {network.architecture} takes slices: use "
                "network.dimensions=3, or training.autoencoder=false"
            )
        return
    if augmentation.crop_size is not None:
        raise ConfigurationError(
            "augmentation.crop_size is of slices, and network.dimensions=3 takes volumes: use training.patch_size"
        )
    if all(dataset.grid(case_id).slices == 1 for case_id in dataset.splits.train):
        raise ConfigurationError(
            f"network.dimensions=3 takes volumes, and each training case of {dataset.folder} is a single slice; use "
            "network.dimensions=2"
        )
    if not dataset.description.settings.slices.is_neutral:
        raise ConfigurationError(
            f"network.dimensions=3 learns from whole volumes, and slices of {dataset.folder} were chosen to train on; "
            "prepare it without preparation.slices"
        )
    if dataset.scan_preparation.neighbours:
        raise ConfigurationError(
            f"network.dimensions=3 takes volumes, and slices of {dataset.folder} have their neighbours as channels; "
            "prepare with preparation.neighbours=0"
        )


def _named(settings: Sequence[str]) -> str:
    """Name some settings of augmentation, with the verb that goes with them."""
    return ", ".join(f"augmentation.{name}" for name in settings) + (" is" if len(settings) == 1 else " are")


def with_patch_size(dataset: PreparedDataset, network: NetworkSettings, settings: TrainingSettings) -> TrainingSettings:
    """Fill in the size of patches that a network of volumes learns from, where it is left open."""
    if len(network.size_multiples) == 2 or settings.patch_size is not None:
        return settings
    shapes = [dataset.grid(case_id).stack_shape for case_id in dataset.splits.train]
    return settings.model_copy(update={"patch_size": proposed_patch_size(shapes, network.size_multiples)})


def check_task(dataset: PreparedDataset) -> None:
    """Refuse a dataset without label maps.

    Raises:
        ConfigurationError: where the dataset is of another task than segmentation.
    """
    if dataset.description.task != "segmentation":
        raise ConfigurationError(
            f"{dataset.folder} is prepared for {dataset.description.task}; networks are trained for segmentation here:"
            " prepare a study with label maps"
        )


def check_class_weights(dataset: PreparedDataset, settings: TrainingSettings) -> None:
    """Refuse class weights that are not one number for each class of the dataset.

    Raises:
        ConfigurationError: naming the classes in their order.
    """
    weights = settings.class_weights
    if weights is not None and len(weights) != len(dataset.class_values):
        names = sorted(dataset.labels, key=dataset.labels.__getitem__)
        raise ConfigurationError(
            f"training.class_weights must be one number for each of {len(names)} classes ({', '.join(names)}); "
            f"received {len(weights)}"
        )


def check_outputs(dataset: PreparedDataset, settings: TrainingSettings) -> None:
    """Refuse outputs for regions where the dataset has none, or none that tell its labels apart.

    Raises:
        ConfigurationError: naming the labels.
    """
    outputs_of(dataset.labels, dataset.description.regions, has_regions=settings.region_outputs)


def run_facts(
    dataset: PreparedDataset,
    settings: TrainingSettings,
    augmentation: AugmentationSettings,
    transfer: TransferSettings,
) -> dict[str, Any]:
    """Collect what must not change between the parts of a run, as JSON has it.

    Args:
        dataset: the prepared dataset.
        settings: resolved, so that the global batch is known.
        augmentation: how the training slices are varied; where that happens may change.
        transfer: what the network started from, and which of its layers learn.
    """
    started = transfer.model_dump(mode="json", exclude={"start_name"})  # which says nothing that start_from does not
    return {
        "training_slices": training_slice_count(dataset),
        "channels": len(dataset.channels),
        "class_values": list(dataset.class_values),
        "data_sha256": _data_digest(dataset),
        **settings.model_dump(mode="json", include=_UNCHANGEABLE),
        **{f"augmentation.{name}": value for name, value in augmentation.facts().items()},
        **{f"transfer.{name}": value for name, value in started.items()},
    }


def _data_digest(dataset: PreparedDataset) -> str:
    """Tell datasets apart by the source files of each split and how they were prepared (and augmented)."""
    parts = [[dataset.case(case_id) for case_id in ids] for ids in (dataset.splits.train, dataset.splits.validation)]
    files = [[[case.sha256, case.training_slices, case.intensity.sums] for case in part] for part in parts]
    preparation = _without_unset_newcomers(dataset.scan_preparation.model_dump(mode="json"))
    return hashlib.sha256(json.dumps([files, preparation], sort_keys=True).encode()).hexdigest()


def _without_unset_newcomers(preparation: dict[str, Any]) -> dict[str, Any]:
    """A preparation as version 0.1 wrote it where it uses nothing newer, so that runs of that version go on."""
    kept = {name: value for name, value in preparation.items() if name not in _NEWER_THAN_0_1 or value is not None}
    if "operations" in kept:
        kept["operations"] = [_without_unset_newcomers(operation) for operation in kept["operations"]]
    return kept


def check_checkpoint(checkpoint: Checkpoint, network: NetworkSettings, facts: dict[str, Any]) -> None:
    """Refuse a checkpoint of another architecture or of other data.

    Args:
        checkpoint: what would be resumed.
        network: the architecture in use.
        facts: what must not change between the parts of a run, see ``run_facts``.

    Raises:
        CheckpointError: naming each difference.
    """
    wanted = network.model_dump(mode="json")
    differences = _differences(checkpoint.network, wanted) + _differences(checkpoint.facts, facts)
    if differences:
        raise CheckpointError(
            f"{checkpoint.path} is a checkpoint of another architecture, dataset or setting: {'; '.join(differences)}; "
            "resume with the settings it was made with, or train anew with another --run-dir"
        )


def check_epochs(checkpoint: Checkpoint, settings: TrainingSettings) -> None:
    """Refuse to go on with fewer epochs than a run has behind it: it would end at once, as if it had just these.

    Args:
        checkpoint: what would be resumed.
        settings: of the run to come.

    Raises:
        ConfigurationError: saying how many epochs there are.
    """
    progress = checkpoint.progress
    if (progress.epoch, progress.step_in_epoch) > (settings.epochs, 0):
        began = progress.epoch + (progress.step_in_epoch > 0)
        raise ConfigurationError(
            f"training.epochs must be at least {began}, which the run of {checkpoint.path} has begun; "
            f"received {settings.epochs}; use more, or train anew with another --run-dir"
        )


def check_time(checkpoint: Checkpoint, settings: TrainingSettings) -> None:
    """Refuse to go on where the run would stop again after a step: its time is over, or its patience.

    Args:
        checkpoint: what would be resumed.
        settings: of the run to come.

    Raises:
        ConfigurationError: saying what lets it go on.
    """
    progress, limit, patience = checkpoint.progress, settings.max_minutes, settings.early_stopping_patience
    if limit is not None and progress.minutes >= limit:
        raise ConfigurationError(
            f"the run of {checkpoint.path} has trained {progress.minutes:.3g} minutes and training.max_minutes is "
            f"{limit:g}; go on with --max-minutes {2 * limit:g}, or with training.max_minutes=null"
        )
    if progress.early_stopping.is_exhausted(patience):
        raise ConfigurationError(
            f"the run of {checkpoint.path} has had {progress.early_stopping.epochs_without} epochs without a better "
            f"validation Dice and training.early_stopping_patience is {patience}; go on with a larger one, or with null"
        )


def _differences(theirs: dict[str, Any], ours: dict[str, Any]) -> list[str]:
    names = sorted(theirs)  # what an older version did not record cannot be compared
    return [f"{n} was {theirs.get(n)!r}, now {ours.get(n)!r}" for n in names if theirs.get(n) != ours.get(n)]
