"""From scans to a prepared dataset with settings that suit it."""

from __future__ import annotations

from pathlib import Path

from imgmed import PreparationSettings, PreparedDataset, prepare_dataset, write_phantom_study
from imgmed.progress import Progress
from imgmed.storage import write_bytes
from r2d2.config import FILE_NAME, commented_yaml
from r2d2.proposal import propose_here

__all__ = ["PHANTOM_FOLDER", "phantom_dataset", "prepare"]

PHANTOM_FOLDER = Path("r2d2-phantom")


def prepare(
    source: Path, out: Path, settings: PreparationSettings, progress: Progress | None = None
) -> PreparedDataset:
    """Prepare a study and write the settings that suit it beside it, as ``r2d2.yaml``.

    Args:
        source: folder of the scans.
        out: folder of the prepared dataset; must not exist yet, or be empty.
        settings: how to prepare.
        progress: told of each stage.

    Returns:
        The prepared dataset.
    """
    dataset = prepare_dataset(source, out, settings, progress=progress)
    proposal = propose_here(dataset)
    proposed = proposal.configuration.model_copy(update={"dataset": Path(), "preparation": settings})
    title = f"Settings proposed for {dataset.name}; 'r2d2 train --dataset {out}' uses them."
    write_bytes(out / FILE_NAME, commented_yaml(proposed, title, proposal.reasons).encode())
    return dataset


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
    return prepare(study, prepared, PreparationSettings(seed=seed), progress)
