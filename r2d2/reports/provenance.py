"""Where a model comes from, as its run folder tells."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["read_provenance"]

_CARD = (
    ("dataset", "Dataset"),
    ("channels", "Channels"),
    ("epoch", "Epoch of the weights"),
    ("validation_dice", "Validation Dice of the weights"),
    ("model_sha256", "SHA-256 of model.keras"),
)
_ENVIRONMENT = (
    ("world_size", "Workers"),
    ("threads_per_worker", "Threads of each worker"),
    ("cores", "Cores"),
    ("host", "Host"),
    ("platform", "Platform"),
    ("command", "Command"),
)


def read_provenance(run_dir: Path) -> list[tuple[str, str]]:
    """Collect what `model.json` and `environment.json` say about a run.

    Args:
        run_dir: a run folder; files that are missing or damaged are passed over.

    Returns:
        Names and values, in the order in which they are shown.

    Example:
        >>> read_provenance(Path("nowhere"))
        [('Run folder', 'nowhere')]
    """
    card, environment = _read(run_dir / "model.json"), _read(run_dir / "environment.json")
    entries = [("Run folder", str(run_dir))]
    network = card.get("network")
    if isinstance(network, Mapping):
        entries.append(("Network", _network(network)))
    entries += [(name, _text(card[key])) for key, name in _CARD if card.get(key) is not None]
    entries += [(name, _text(environment[key])) for key, name in _ENVIRONMENT if environment.get(key) is not None]
    versions = environment.get("versions") or card.get("versions")
    if isinstance(versions, Mapping):
        entries.append(("Versions", ", ".join(f"{name} {version}" for name, version in versions.items())))
    return entries


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _network(network: Mapping[str, Any]) -> str:
    settings = [f"{name.replace('_', ' ')} {_text(value)}" for name, value in network.items() if name != "architecture"]
    return ": ".join(filter(None, [str(network.get("architecture", "")), ", ".join(settings)]))


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list | tuple):
        return " ".join(_text(item) for item in value)
    return str(value)
