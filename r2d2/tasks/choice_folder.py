"""The folder of a choice: what was asked for when it was begun, so that the same call goes on with it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from imgmed import PreparedDataset
from r2d2.config import commented_yaml, configure, read_layer
from r2d2.launching.plan import plan_run
from r2d2.tasks.compared_configurations import AskedConfiguration, ResolvedConfiguration, check_comparable, resolved
from r2d2_base.errors import ConfigurationError, OutputExistsError
from r2d2_base.files import make_folder, read_json, sha256_of, write_bytes, write_json

__all__ = ["CONFIGURATION", "begin", "begun_configurations"]

ASKED = "asked.json"
CONFIGURATION = "configuration.yaml"
SCHEMA_VERSION = 1
_OF_STUDY = ("cases.json", "splits.json")


def begun_configurations(
    asked: Sequence[AskedConfiguration], dataset: Path, settings: Sequence[str], out: Path
) -> tuple[ResolvedConfiguration, ...]:
    """Fill in all configurations, those that were begun in ``out`` as they were then; writes nothing.

    What is proposed for a dataset depends on the memory at hand, so it is not proposed twice.

    Args:
        asked: the configurations.
        dataset: prepared dataset of those that name none.
        settings: ``key=value`` words of all.
        out: folder of the choice.

    Raises:
        OutputExistsError: the folder holds something else.
        ConfigurationError: settings that cannot work or be compared; or one was begun otherwise.
        DistTrainingError: one could not be trained.
    """
    before = _read(out)
    found = []
    for one in asked:
        facts, known = _facts(one, dataset, settings), before.get(one.name)
        if known is None:
            found.append(resolved(one, dataset, settings))
        elif known["asked"] != facts:
            changed = ", ".join(key for key in facts if known["asked"].get(key) != facts[key])
            raise ConfigurationError(
                f"{one.name} was begun in {out} with other settings ({changed}); give it another name, or another --out"
            )
        else:
            found.append(_as_begun(one, known, out))
    check_comparable(found)
    for configuration in found:
        _check_trainable(configuration, out)
    return tuple(found)


def begin(
    found: Sequence[ResolvedConfiguration],
    asked: Sequence[AskedConfiguration],
    dataset: Path,
    settings: Sequence[str],
    out: Path,
) -> None:
    """Write down what was asked for, and each configuration as it is to be trained; arguments as before."""
    before = _read(out)
    for one, words in zip(found, asked, strict=True):
        if one.name in before:
            continue
        make_folder(out / one.name)
        text = commented_yaml(one.configuration, f"The configuration {one.name} of a choice, written by R2D2.")
        write_bytes(out / one.name / CONFIGURATION, text.encode())
        before[one.name] = {
            "asked": _facts(words, dataset, settings),
            "study": _study(one.dataset),
            "configuration": one.configuration.model_dump(mode="json"),
        }
        write_json(out / ASKED, {"schema_version": SCHEMA_VERSION, "configurations": before}, is_durable=True)


def _read(out: Path) -> dict[str, Any]:
    """Read what was begun in a folder, by the names of the configurations."""
    path = out / ASKED
    if path.is_file():
        try:
            content = read_json(path)
            if content["schema_version"] == SCHEMA_VERSION:
                return dict(content["configurations"])
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigurationError(f"{path} is damaged; give another --out") from error
        raise ConfigurationError(f"{path} is of another version of R2D2; give another --out")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise OutputExistsError(f"{out} is not empty, and no choice was begun there; give another --out")
    return {}


def _facts(asked: AskedConfiguration, dataset: Path, settings: Sequence[str]) -> dict[str, Any]:
    return {
        "dataset": str(dataset.absolute()),
        "file": None if asked.file is None else _plain(read_layer(asked.file)),
        "words": list(asked.words),
        "settings for all": list(settings),
    }


def _plain(value: Any) -> Any:
    """Say what YAML held as JSON can: dates and other keys than text as they are written."""
    if isinstance(value, dict):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)


def _study(dataset: PreparedDataset) -> str:
    """Stand for the cases and splits of a dataset."""
    digests = "".join(sha256_of(dataset.folder / name) for name in _OF_STUDY)
    return hashlib.sha256(digests.encode()).hexdigest()


def _as_begun(asked: AskedConfiguration, known: dict[str, Any], out: Path) -> ResolvedConfiguration:
    configuration = configure(known["configuration"], origin=str(out / ASKED))
    dataset = PreparedDataset.read(Path(configuration.dataset or ""))
    if _study(dataset) != known["study"]:
        raise ConfigurationError(
            f"{dataset.folder} has other cases or folds than when {out} was begun; give another --out"
        )
    return ResolvedConfiguration(asked.name, configuration, dataset)


def _check_trainable(one: ResolvedConfiguration, out: Path) -> None:
    """Refuse now what would be refused when its turn comes, hours later."""
    nowhere = out / one.name / "fold-0.checked"  # that a run is there already does not matter
    configuration = one.configuration.model_copy(update={"fold": 0, "run_dir": nowhere})
    try:
        plan_run(configuration, world_size=configuration.workers, is_resumed=False)
    except ConfigurationError as error:
        raise ConfigurationError(f"{one.name}: {error}", error.faults) from error
