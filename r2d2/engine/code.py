"""Code that settings name: networks and losses as module:function, which only some folders may hold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from dist_training.architectures import CustomSettings
from dist_training.own_code import is_own_name, module_of
from r2d2.config import Configuration
from r2d2.engine.errors import RefusedError

__all__ = ["check_code"]


def check_code(configuration: Configuration, roots: Sequence[Path]) -> None:
    """Refuse code that is not in one of some folders, by the settings as they count in the end. Nothing of it is run.

    What no settings show, such as a model's card that a later job writes, the job's own processes refuse.

    Raises:
        RefusedError: naming each, at its key.

    >>> check_code(Configuration(), [])
    """
    faults = [
        (key, f"{name} is code, and jobs run code only from folders that an administrator has named")
        for key, name in _code_in(configuration)
        if not any(_holds(root, module_of(name)) for root in roots)
    ]
    if faults:
        raise RefusedError("; ".join(f"{key}: {sentence}" for key, sentence in faults), faults)


def _code_in(configuration: Configuration) -> Iterator[tuple[str, str]]:
    network, loss = configuration.network, configuration.training.loss
    if isinstance(network, CustomSettings):
        yield "network.build", network.build
    if is_own_name(loss):
        yield "training.loss", loss


def _holds(root: Path, module: str) -> bool:
    place = root / module.partition(".")[0]
    return place.with_suffix(".py").is_file() or (place / "__init__.py").is_file()
