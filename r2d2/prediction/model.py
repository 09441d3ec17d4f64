"""Which model is meant, or which ones together: paths, and names of the zoo."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dist_training.errors import ModelError
from dist_training.record.run_folder import RunFolder
from r2d2.zoo.registries.names import is_zoo_name
from r2d2.zoo.registries.published import networks_in
from r2d2.zoo.registries.resolution import resolve

__all__ = ["resolve_ensemble", "resolve_model"]

WORKS = "give a run folder of 'r2d2 train', a model.keras with its model.json beside it, or zoo:NAME"
MOST_NAMED = 3


def resolve_model(name: str | Path) -> Path:
    """Find the model that a user names.

    Args:
        name: a run folder or another one that holds model.keras and model.json, or either of these files; a network of
            another name is named by its file, beside which lies its card: other.keras, other.json. Or zoo:NAME, or
            zoo:NAME:VERSION, which `r2d2.zoo.registries.resolution.resolve` finds.

    Returns:
        The folder, or the file of a network of another name: what `read_model_card` takes.

    Raises:
        ModelError: there is no such model; says what is there, and what works.
        ZooError: there is none of this name in the zoo on this machine, or it is not to be used.
    """
    if is_zoo_name(name):
        return resolve(name).folder
    path = Path(name)
    if path.is_dir():
        return _in_folder(path)
    if not path.exists():
        raise ModelError(f"no such model: {path}; {WORKS}")
    network = path.with_suffix(".keras")
    if path.suffix not in (".keras", ".json") or not network.is_file():
        raise ModelError(f"{path} is no model; {WORKS}")
    return network.parent if network.name == RunFolder(network.parent).model.name else network


def resolve_ensemble(names: str | Path | Sequence[str | Path]) -> tuple[Path, ...]:
    """Find the networks that a user names to be asked together.

    The folder of a cross-validation stands for its folds, a published model for all its networks.

    Args:
        names: one or several of what `resolve_model` takes, or folders of cross-validations.

    Raises:
        ModelError: there is no such model, or one is named twice; a fold has none yet.
        ZooError: see `resolve_model`.
    """
    found: list[Path] = []
    for name in [names] if isinstance(names, str | Path) else names:
        folds = [] if is_zoo_name(name) else sorted(path for path in Path(name).glob("fold-*") if path.is_dir())
        is_run = RunFolder(Path(name)).model.is_file()
        models = map(resolve_model, [name] if is_run or not folds else folds)
        found += [network for model in models for network in (networks_in(model) if model.is_dir() else [model])]
    twice = [path for number, path in enumerate(found) if path in found[:number]]
    if twice:
        raise ModelError(f"{twice[0]} is named twice; an ensemble asks each of its networks once")
    if not found:
        raise ModelError(f"no model is named; {WORKS}")
    return tuple(found)


def _in_folder(folder: Path) -> Path:
    run = RunFolder(folder)
    if run.model.is_file():
        return folder
    below = sorted(path.parent for path in folder.glob(f"*/{run.model.name}"))
    are_folds = any(folder.glob("fold-*/config.yaml")) or any(path.name.startswith("fold-") for path in below)
    if below:
        shown = ", ".join(map(str, below[:MOST_NAMED])) + (" ..." if len(below) > MOST_NAMED else "")
        kind = "is a cross-validation, with a model for each fold" if are_folds else "holds no model itself"
        raise ModelError(f"{folder} {kind}; name {'one of ' if len(below) > 1 else ''}{shown}")
    if are_folds:
        raise ModelError(f"{folder} is a cross-validation, and none of its folds has a model yet; train them first")
    if run.holds_run():
        raise ModelError(f"{folder} holds no model yet: its run has written none; train it with 'r2d2 train --resume'")
    raise ModelError(f"{folder} holds no trained network ({run.model.name} is missing); {WORKS}")
