"""What settings may not have run: code (module:function) that lies in no folder named for it, and other hosts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from pydantic import BaseModel

from dist_training.architectures import CustomSettings
from dist_training.own_code import is_own_name, module_of
from r2d2.config import Configuration
from r2d2.engine.errors import RefusedError

__all__ = ["check_code", "check_own_host"]


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


def check_own_host(settings: BaseModel) -> None:
    """Refuse hosts for a training's workers: a task's settings, or all settings as they count in the end.

    Raises:
        RefusedError: there are some.

    >>> check_own_host(Configuration())
    """
    if getattr(settings, "hosts", None) is not None:
        sentence = "this engine's jobs run on its own host"
        raise RefusedError(f"hosts: {sentence}", [("hosts", sentence)])


def _code_in(configuration: Configuration) -> Iterator[tuple[str, str]]:
    network, loss = configuration.network, configuration.training.loss
    if isinstance(network, CustomSettings):
        yield "network.build", network.build
    if is_own_name(loss):
        yield "training.loss", loss


def _holds(root: Path, module: str) -> bool:
    place = root / module.partition(".")[0]
    return place.with_suffix(".py").is_file() or (place / "__init__.py").is_file()
