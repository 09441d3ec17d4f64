"""From scans to a prepared dataset with its report and with settings that suit it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from imgmed import AugmentationSettings, PreparationSettings, PreparedDataset, prepare_dataset, write_phantom_study
from imgmed.presets import preset_names, read_preset
from r2d2.config import FILE_NAME, Configuration, commented_yaml, configure, find_layer
from r2d2.preset_proposal import with_preset
from r2d2.proposal import propose_here
from r2d2_base.errors import ConfigurationError
from r2d2_base.files import write_bytes
from r2d2_base.machine import whole_cores
from r2d2_base.progress import Progress, StopRequest

__all__ = [
    "PHANTOM_FOLDER",
    "PreparationResult",
    "PrepareSettings",
    "configured",
    "phantom_dataset",
    "prepare",
    "prepare_with_report",
    "preset_layer",
    "preset_names",
]

PHANTOM_FOLDER = Path("r2d2-phantom")
REPORT = "dataset.html"
_SECTIONS = ("preparation.", "augmentation.", "augmentation=")


class PrepareSettings(BaseModel):
    """What a preparation is told; what is left out is derived from the data.

    >>> PrepareSettings(source="Task04_Hippocampus", out="work/hippocampus", settings=["preparation.seed=3"]).preset
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: Path = Field(description="folder or archive of the study")
    out: Path = Field(description="folder for the prepared dataset; an unfinished or older one is continued")
    settings: tuple[str, ...] = Field(default=(), description="key=value words, like preparation.seed=3")
    config: Path | None = Field(default=None, description="configuration file; none: r2d2.yaml where there is one")
    recipe: str | None = Field(default=None, description="layout of the source; none: recognised")
    preset: str | None = Field(default=None, description="settings of a published use case; none: no preset")
    augment_to: int | None = Field(default=None, ge=1, description="training slices with augmented copies; none: as is")
    workers: int | None = Field(default=None, ge=1, description="processes; none: one for each core")
    patient_key: Path | None = Field(default=None, description="key file that hides names; none: this user's own")


@dataclass(frozen=True)
class PreparationResult:
    """A prepared dataset.

    Attributes:
        dataset: what was prepared.
        is_changed: whether anything had to be done for it.
        report: HTML file.
    """

    dataset: PreparedDataset
    is_changed: bool
    report: Path


def prepare(
    settings: PrepareSettings, *, progress: Progress | None = None, stop: StopRequest | None = None
) -> PreparationResult:
    """Turn a study into a patient-split dataset of slices, with a report and with settings that suit it.

    Args:
        settings: what to prepare, and how.
        progress: told of each stage.
        stop: ends the work where it is made; the same call then goes on where it was.

    Returns:
        The dataset.

    Raises:
        ConfigurationError: faults of the configuration file or the words, all listed.
        ImgMedError: what is wrong with the source; all of its cases are listed.
        CancelledError: ``stop`` was made.
    """
    configuration = configured(settings)
    return prepare_with_report(
        settings.source,
        settings.out,
        configuration.preparation,
        configuration.augmentation,
        preset=settings.preset,
        workers=settings.workers or whole_cores(),
        key_file=settings.patient_key or own_patient_key(),
        progress=progress,
        stop=stop,
    )


def configured(settings: PrepareSettings) -> Configuration:
    """Find all settings of a preparation: what was typed, over a configuration file, over a preset.

    Raises:
        ConfigurationError: faults of the configuration file or the words, all listed.
    """
    foreign = [word for word in settings.settings if not word.startswith(_SECTIONS)]
    if foreign:
        raise ConfigurationError(
            f"{', '.join(foreign)}: 'prepare' takes preparation and augmentation settings only, like preparation.seed=3"
        )
    path, content = find_layer(settings.config)
    layer: dict[str, Any] = {key: content[key] for key in ("preparation", "augmentation") if key in content}
    if settings.preset is not None:
        layer = preset_layer(settings.preset, layer)
    options = {"preparation.recipe": settings.recipe, "preparation.augment_to": settings.augment_to}
    return configure(layer, options=options, assignments=settings.settings, origin=str(path or ""))


def own_patient_key() -> Path:
    """Give where this user's key for pseudonyms lies: r2d2/patient_key in the folder of configurations."""
    folder = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(folder) / "r2d2" / "patient_key"


def prepare_with_report(
    source: Path,
    out: Path,
    settings: PreparationSettings,
    augmentation: AugmentationSettings | None = None,
    *,
    preset: str | None = None,
    workers: int = 1,
    key_file: Path | None = None,
    progress: Progress | None = None,
    stop: StopRequest | None = None,
) -> PreparationResult:
    """Prepare a study, with its report (dataset.html) and the settings that suit it (r2d2.yaml) in its folder.

    Args:
        source: folder or archive of the scans.
        out: folder of the prepared dataset; see `imgmed.prepare_dataset` on one that exists.
        settings: how to prepare.
        augmentation: of the copies where `settings.augment_to` asks for some; kept in r2d2.yaml otherwise.
        preset: whose network and training are proposed, where it has any; None: of none.
        workers: processes.
        key_file: of the pseudonyms.
        progress: told of each stage.
        stop: ends the work where it is made; the same call then goes on where it was.
    """
    finished: list[PreparedDataset] = []

    def finish(dataset: PreparedDataset) -> None:
        from r2d2.reports.dataset import build_dataset_report  # here: where nothing is to be done, no picture is drawn

        proposal = propose_here(dataset)
        if preset is not None:
            proposal = with_preset(proposal, preset)
        proposed = proposal.configuration.model_copy(update={"dataset": Path(), "preparation": settings})
        if augmentation is not None and settings.augment_to is None:
            proposed = proposed.model_copy(update={"augmentation": augmentation})
        title = f"Settings proposed for {dataset.name}; 'r2d2 train --dataset' with this folder uses them."
        write_bytes(dataset.folder / FILE_NAME, commented_yaml(proposed, title, proposal.reasons).encode())
        build_dataset_report(dataset, dataset.folder / REPORT, proposal)
        finished.append(dataset)

    dataset = prepare_dataset(
        source,
        out,
        settings,
        augmentation=augmentation,
        workers=workers,
        key_file=key_file,
        finish=finish,
        progress=progress,
        stop=stop,
    )
    return PreparationResult(dataset, bool(finished), out / REPORT)


def preset_layer(name: str, layer: Mapping[str, Any]) -> dict[str, Any]:
    """Put the settings of a preset under those of a configuration layer, which come first.

    What has its default value in the layer decides nothing: 'r2d2 init' writes every setting.

    Raises:
        UnknownPresetError: no such preset; lists those there are.
    """
    preset = read_preset(name)
    if isinstance(preset.get("augmentation"), str):
        preset["augmentation"] = AugmentationSettings.model_validate(preset["augmentation"]).model_dump(mode="json")
    return _laid_over(preset, layer, Configuration().model_dump(mode="json"))


def _laid_over(below: Mapping[str, Any], layer: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in layer.items():
        known, default = merged.get(key), defaults.get(key)
        if isinstance(known, Mapping) and isinstance(value, Mapping) and isinstance(default, Mapping):
            merged[key] = _laid_over(known, value, default)
        elif key not in merged or value != default:
            merged[key] = value
    return merged


def phantom_dataset(folder: Path, progress: Progress | None = None, seed: int = 0) -> PreparedDataset:
    """Prepare the generated phantom study, unless it is there already.

    Args:
        folder: gets ``study/`` (volumes) and ``dataset/`` (prepared).
        progress: told of each stage.
        seed: of the phantoms.

    Returns:
        The prepared dataset.
    """
    study, prepared = folder / "study", folder / "dataset"
    if prepared.exists():
        return PreparedDataset.read(prepared)
    if not study.exists():
        write_phantom_study(study, seed=seed, progress=progress)
    return prepare_with_report(study, prepared, PreparationSettings(seed=seed), progress=progress).dataset
