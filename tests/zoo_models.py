"""Published models for tests of the zoo: whole folders, whose network is no real one where nothing is computed."""

import zipfile
from pathlib import Path
from typing import Any

import pytest

from dist_training.architectures import NetworkSettings, UNetSettings
from dist_training.inference.model_card import ModelCard, ViewSettings
from imgmed import Normalisation, ScanPreparation
from r2d2.zoo.card.description import DataOfModel, ModelDescription
from r2d2.zoo.registries import registry
from r2d2.zoo.registries.registry import FolderRegistry
from r2d2_base.files import sha256_of, write_json

__all__ = ["WEIGHTS", "add_model", "begin_empty", "list_files", "write_model"]

WEIGHTS = bytes(range(256)) * 400


def begin_empty(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let the local zoo, and what R2D2 ships, be empty folders in this one; give the local zoo."""
    monkeypatch.setenv("R2D2_ZOO", str(folder / "zoo"))
    monkeypatch.setattr(registry, "SHIPPED", folder / "shipped")
    return folder / "zoo"


def write_model(
    folder: Path,
    weights: bytes = b"weights",
    *,
    title: str = "Hippocampus in MRI",
    network: NetworkSettings | None = None,
    name: str | None = None,
    views: ViewSettings | None = None,
) -> Path:
    """Write the folder of a published model; its network has weights and nothing else."""
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(folder / "model.keras", "w") as packed:
        packed.writestr(zipfile.ZipInfo("model.weights.h5"), weights)  # at one time, so that the same is the same
    card = ModelCard(
        network=network or UNetSettings(depth=1, base_filters=2),
        channels=("MRI",),
        num_outputs=3,
        labels={"background": 0, "Anterior": 1, "Posterior": 2},
        class_values=(0, 1, 2),
        scan_preparation=ScanPreparation(channels=("MRI",), operations=(), slice_axis=2, slice_size=(8, 8)),
        normalisation=Normalisation(kind="zscore_case"),
        views=views or ViewSettings(),
        validation_dice=None,
        validation_dice_per_label={},
        epoch=1,
        dataset="Task04",
        cases=(),
        versions={},
        model_sha256=sha256_of(folder / "model.keras"),
    )
    write_json(folder / "model.json", card.model_dump(mode="json"))
    said = ModelDescription(
        name=name,
        title=title,
        intended_use="tests",
        not_for="patients",
        data=DataOfModel(name="Task04", licence="CC-BY-SA-4.0", source="nowhere", cases={"train": 1}),
        licence="CC-BY-SA-4.0",
        attribution="nobody",
        author="a test",
        published="2026-12-01",
        known_failures="all",
        weights_sha256=card.model_sha256,
    )
    write_json(folder / "card.json", said.model_dump(mode="json"))
    (folder / "card.md").write_text(f"# {title}\n")
    (folder / "card.html").write_text(f"<h1>{title}</h1>")
    (folder / "LICENSE").write_text("CC-BY-SA-4.0")
    return list_files(folder)


def list_files(folder: Path) -> Path:
    """Write files.json of what is in a folder."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "files.json")
    facts = {
        path.relative_to(folder).as_posix(): {"sha256": sha256_of(path), "size": path.stat().st_size} for path in paths
    }
    write_json(folder / "files.json", {"schema_version": 1, "files": facts})
    return folder


def add_model(registry: Path, name: str, weights: bytes = b"weights", **said: Any) -> Path:
    """Publish such a model into a registry as the next version; give its folder."""
    place = FolderRegistry(registry, str(registry))
    added, _ = place.add(name, lambda called, folder: write_model(folder, weights, name=str(called), **said))
    return place.folder_of(added)
