"""A run's settings and versions as MLflow's parameters and tags; of paths, which may name patients, the last name."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dist_training.record.run_folder import RunFolder
from r2d2.config import configure, read_layer
from r2d2.zoo.registries.names import is_zoo_name
from r2d2_base.files import read_json

__all__ = ["LONGEST_VALUE", "fitted", "flat", "shown_settings", "tags_of"]

LONGEST_VALUE = 6000
"""Characters of a parameter that MLflow keeps, since its version 2.8."""
_CUT = " ... (cut)"
_NOT_IN_NAMES = re.compile(r"[^\w.\-]")


def shown_settings(folder: RunFolder) -> dict[str, Any]:
    """Read every setting of a run, nested as in its config.yaml.

    Raises:
        ConfigurationError: config.yaml is missing or damaged.
    """
    settings = configure(read_layer(folder.config), origin=str(folder.config)).model_dump()
    return {key: _shown(value) for key, value in settings.items()}


def _shown(value: Any) -> Any:
    """Give a value that JSON and YAML can hold, with the last name of a path in its place.

    >>> _shown({"file": Path("/data/Doe/w.h5"), "from": "/data/Doe/run", "url": "https://a/b", "zoo": "zoo:lab/a:1.0"})
    {'file': 'w.h5', 'from': 'run', 'url': 'https://a/b', 'zoo': 'zoo:lab/a:1.0'}
    """
    if isinstance(value, Mapping):
        return {str(key): _shown(one) for key, one in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_shown(one) for one in value]
    if isinstance(value, Path) or (isinstance(value, str) and "/" in value and not _is_address(value)):
        return Path(value).name
    return value


def _is_address(value: str) -> bool:
    return "://" in value or is_zoo_name(value)


def flat(settings: Mapping[str, Any], start: str = "") -> Iterator[tuple[str, str]]:
    """Give settings under dotted keys, values as text: of lists JSON, of nothing ``null``.

    >>> dict(flat({"training": {"epochs": 5, "momentum": None}, "workers": 2, "flips": [True, False]}))
    {'training.epochs': '5', 'training.momentum': 'null', 'workers': '2', 'flips': '[true, false]'}
    """
    for key, value in settings.items():
        name = f"{start}{key}"
        if isinstance(value, Mapping) and value:
            yield from flat(value, f"{name}.")
        else:
            yield name, value if isinstance(value, str) else json.dumps(value, default=str)


def fitted(settings: Mapping[str, str], known: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """Give the parameters that MLflow has not got: it keeps each as it was first logged.

    Args:
        settings: all, by key.
        known: that it has.

    Returns:
        What to log, where a value that a resumed run has changed stands under ``KEY:2`` (``KEY:3`` ...), and the keys
        whose values are cut.

    >>> fitted({"a": "2", "b": "x", "c": "3"}, {"a": "1", "b": "x"})
    ({'a:2': '2', 'c': '3'}, [])
    >>> fitted({"a": "1"}, {"a": "1", "a:2": "2"})
    ({'a:3': '1'}, [])
    """
    new: dict[str, str] = {}
    cut = []
    for key, value in settings.items():
        plain = _NOT_IN_NAMES.sub("_", key)
        name, number, last = plain, 1, None
        while name in known or name in new:
            last = known.get(name)
            number += 1
            name = f"{plain}:{number}"
        if len(value) > LONGEST_VALUE:
            value = value[: LONGEST_VALUE - len(_CUT)] + _CUT
            cut.append(key)
        if last != value:
            new[name] = value
    return new, cut


def tags_of(folder: RunFolder) -> dict[str, str]:
    """Read the versions that a run was made with, and where, as far as its environment.json says."""
    try:
        found = read_json(folder.environment)
    except (OSError, ValueError):
        return {}
    versions = found.get("versions")
    tags = {f"version.{name}": str(version) for name, version in versions.items()} if versions else {}
    told = {
        "mlflow.source.git.commit": "commit",
        "r2d2.host": "host",
        "r2d2.workers": "world_size",
        "r2d2.cores": "cores",
    }
    return tags | {tag: str(found[key]) for tag, key in told.items() if found.get(key) is not None}
