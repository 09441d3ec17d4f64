"""How a network came about, as its run folder tells: training, machine, parent, the dataset and all its names."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from dist_training.inference.model_card import ModelCard, read_kept_start
from dist_training.record.events import EpochEnded, Starting, WeightsTaken, read_events
from dist_training.record.run_folder import RunFolder
from imgmed import PreparedDataset, case_stem
from r2d2.config import read_layer
from r2d2.zoo.card.description import TrainingOfModel, read_description
from r2d2.zoo.publishing.evaluated import EvaluatedModel
from r2d2.zoo.publishing.privacy import SourceNames
from r2d2_base.errors import R2D2Error
from r2d2_base.files import read_json

__all__ = ["dataset_of", "parent_of", "source_names", "training_of"]

NAME_IN_PATH = re.compile(r"(?P<name>[a-z0-9]+(-[a-z0-9]+)*)/(?P<version>[1-9]\d*)/?$")


def training_of(run: RunFolder) -> TrainingOfModel | None:
    """Say how a network was trained; None where the folder holds no run."""
    if not run.holds_run():
        return None
    status, events = run.status(), read_events(run.events)
    epochs = {event.epoch: event for event in events if isinstance(event, EpochEnded)}
    seconds = [(event.seconds or 0) + (event.validation_seconds or 0) for event in epochs.values()]
    starts = [event.world_size for event in events if isinstance(event, Starting)]
    machine = _machine(run.environment)
    return TrainingOfModel(
        state=status.state or "unknown",
        epochs=status.epoch,
        minutes=sum(seconds) / 60 if any(seconds) else None,
        workers=starts[-1] if starts else None,
        cores=_cores(machine),
        platform=_platform(machine.get("platform")),
    )


def _machine(path: Path) -> dict[str, Any]:
    try:
        content = read_json(path)
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _cores(machine: dict[str, Any]) -> str | None:
    cores, threads = machine.get("cores"), machine.get("threads_per_worker")
    if not isinstance(cores, int):
        return None
    words = f"{cores} core{'' if cores == 1 else 's'}"
    return f"{words}, {threads} thread{'' if threads == 1 else 's'} a worker" if isinstance(threads, int) else words


def _platform(platform: Any) -> str | None:
    """Give system and processor of a platform's name, and not which build of it: that may tell a host."""
    if not isinstance(platform, str):
        return None
    processor = next((one for one in ("x86_64", "aarch64", "arm64", "ppc64le") if one in platform), "")
    return f"{platform.partition('-')[0]} {processor}".strip()


def parent_of(run: RunFolder) -> tuple[str | None, str | None]:
    """Name the network that a run started from.

    Returns:
        NAME:VERSION of the zoo, or words, and the SHA-256 of its model.keras; None: it started from none, or nothing
        else is known.
    """
    taken = [event for event in read_events(run.events) if isinstance(event, WeightsTaken)]
    card = read_kept_start(run)
    if card is None:
        return ("a network of which nothing else is known" if taken else None), None
    name = _zoo_name(Path(taken[-1].source), card) if taken else None
    return name or f"a network ({card.network.architecture}) that is not in the zoo", card.model_sha256


def _zoo_name(source: Path, card: ModelCard) -> str | None:
    """Give the name of a published model, as it says itself, or as its place in a registry does."""
    folder = source.parent if source.suffix == ".keras" else source
    try:
        description = read_description(folder)
    except R2D2Error:
        return None
    if description.weights_sha256 != card.model_sha256:
        return None
    place = NAME_IN_PATH.search(folder.absolute().as_posix())
    return description.name or (f"{place['name']}:{place['version']}" if place else None)


def dataset_of(run: RunFolder, card: ModelCard) -> PreparedDataset | None:
    """Open the prepared dataset that a run was trained on, where it is still there."""
    try:
        dataset = PreparedDataset.read(Path(read_layer(run.config)["dataset"]))
    except (R2D2Error, KeyError, TypeError):
        return None
    return dataset if {case.case_id for case in card.cases} <= set(dataset.cases) else None


def source_names(
    card: ModelCard, dataset: PreparedDataset | None, evaluated: EvaluatedModel | None, run: RunFolder
) -> SourceNames:
    """Collect what the sources of a model call patients, cases, files and folders.

    Args:
        card: of the run.
        dataset: that it was trained on; None: it is gone, and only cases' names are known.
        evaluated: its evaluation; None: there is none.
        run: the run folder, which keeps the card of the network that it started from.
    """
    scored_cases = () if evaluated is None else evaluated.evaluation.cases
    predicted_cases = {} if evaluated is None else evaluated.predicted
    known = {} if dataset is None else dataset.cases
    patients = {scored.case_id: scored.patient_id for scored in scored_cases}
    patients |= {case_id: case.patient_id for case_id, case in known.items()}
    names: dict[str, set[str]] = {}
    folders: dict[str, set[str]] = {}
    above: set[str] = set()
    start = read_kept_start(run)
    ancestors = () if start is None else start.used_cases.values()
    for used in (*card.cases, *card.seen_before, *ancestors):
        if not used.hash_salt:
            names.setdefault(patients.get(used.case_id, used.case_id), set()).add(used.case_id)
    if dataset is not None:
        above |= {*dataset.source_root.resolve().parts, *dataset.source_root.parts, *dataset.folder.absolute().parts}
    for case_id, case in known.items():
        of_case = names.setdefault(case.patient_id, set())
        of_case |= {case_id, case.patient_id}
        volumes = (*case.images, *(() if case.label is None else (case.label,)))
        _add_paths((Path(file) for volume in volumes for file in volume.files), case.patient_id, of_case, folders)
    for scored in scored_cases:
        of_case = names.setdefault(patients[scored.case_id], set())
        stems = (case_stem(Path(path)) for path in (scored.reference, scored.prediction))
        of_case |= {scored.case_id, scored.patient_id, *stems}
        predicted = predicted_cases.get(scored.case_id)
        if predicted is not None and scored.case_id not in known:
            _add_paths([Path(predicted.source)], patients[scored.case_id], of_case, folders)
    for folder, owners in folders.items():
        if len(owners) == 1 and len(names) > 1:
            names[next(iter(owners))].add(folder)
        else:
            above.add(folder)
    return SourceNames({patient: frozenset(each) for patient, each in names.items()}, frozenset(above - {"/"}))


def _add_paths(paths: Iterable[Path], patient: str, names: set[str], folders: dict[str, set[str]]) -> None:
    for path in paths:
        names.add(case_stem(path))
        for folder in path.parts[:-1]:
            folders.setdefault(folder, set()).add(patient)
