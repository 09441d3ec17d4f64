"""Files and folders in settings: found, made absolute, and kept within the folders that jobs may use."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel

from r2d2.config import WEIGHT_FILES, configure
from r2d2.engine.errors import RefusedError
from r2d2.errors import ZooError
from r2d2.zoo.registries.names import is_zoo_name, parse_name
from r2d2_base.errors import ConfigurationError

__all__ = [
    "check_private",
    "check_roots",
    "checked_words",
    "is_within",
    "missing",
    "paths_in",
    "placed",
    "placed_words",
    "real_path",
    "roots_of",
]

DEEPEST = 32
_INDEX = ("index.sqlite", "index.sqlite-shm", "index.sqlite-wal")
_PRIVATE = (*_INDEX, "engine.changes", "engine.json", "engine.sock", "r2d2.yaml", "web")
_OF_MANY = ("uploads",)  # folders whose parts may be named, each by whom it is of, and never all together
_OF_A_CONFIGURATION = ("dataset", "run_dir", "start_from", "splits", *WEIGHT_FILES)


def placed(settings: BaseModel, base: Path) -> BaseModel:
    """Give settings whose relative paths begin at a folder.

    Args:
        settings: of a task; names of the zoo stay.
        base: where relative paths begin.
    """
    return _changed(settings, lambda path: base / path)


def placed_words(words: Sequence[str], base: Path) -> tuple[str, ...]:
    """Do so with ``key=value`` words.

    >>> placed_words(["training.epochs=3", "transfer.start_from=runs/a", "dataset=zoo:x"], Path("/data"))
    ('training.epochs=3', 'transfer.start_from=/data/runs/a', 'dataset=zoo:x')
    """
    return tuple(_placed_word(word, base) for word in words)


def _placed_word(word: str, base: Path) -> str:
    key, separator, text = word.partition("=")
    if not separator or key.strip().rpartition(".")[2] not in _OF_A_CONFIGURATION:
        return word
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        return word  # is refused with the other faults
    return f"{key}={base / value}" if _is_path_text(value) else word


def _is_path_text(value: Any) -> bool:
    return isinstance(value, str) and value not in ("", "imagenet") and not _is_of_zoo(value)


def _is_of_zoo(value: str | Path) -> bool:
    """Tell whether a value names a model of the zoo; what only begins so, such as zoo:x/../y, is a path."""
    if not is_zoo_name(value):
        return False
    try:
        parse_name(value)
    except ZooError:
        return False
    return True


def _changed(settings: BaseModel, change: Callable[[Path], Path]) -> BaseModel:
    """Give settings with another path in the place of each."""
    update: dict[str, Any] = {}
    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        changed = _changed_value(value, _may_be_path(name, field.annotation), change)
        if changed is not value:
            update[name] = changed
    return settings.model_copy(update=update) if update else settings


def _changed_value(value: Any, may_be_path: bool, change: Callable[[Path], Path]) -> Any:
    if isinstance(value, BaseModel):
        return _changed(value, change)
    if isinstance(value, tuple):
        parts = tuple(_changed_value(part, may_be_path, change) for part in value)
        return value if all(a is b for a, b in zip(parts, value, strict=True)) else parts
    if isinstance(value, Path):
        return value if _is_of_zoo(value) else change(value)
    if may_be_path and _is_path_text(value):
        return change(Path(value))
    return value


def _may_be_path(name: str, annotation: Any) -> bool:
    return name in WEIGHT_FILES or annotation is Path or any(_may_be_path("", one) for one in get_args(annotation))


def paths_in(settings: BaseModel) -> tuple[Path, ...]:
    """Give every file and folder that settings name, those in ``key=value`` words and configuration files too."""
    found: list[Path] = []

    def note(path: Path) -> Path:
        found.append(path)
        return path

    _changed(settings, note)
    words = getattr(settings, "settings", ())
    if words:
        _changed(configure({}, assignments=words), note)
    return tuple(found)


def check_roots(paths: Sequence[Path], roots: Sequence[Path]) -> None:
    """Refuse a path outside of the folders that jobs may use, wherever links lead; no folders: any will do.

    Raises:
        RefusedError: naming all that are outside.
    """
    if not roots:
        return
    real = [real_path(root) for root in roots]
    outside = [str(path) for path in dict.fromkeys(paths) if not is_within(real_path(path), real)]
    if outside:
        allowed = ", ".join(map(str, roots))
        raise RefusedError(f"outside of the folders that jobs may use: {', '.join(outside)}; these are {allowed}")


def check_private(paths: Sequence[Path], work_root: Path) -> None:
    """Refuse what is the engine's own in its folder, wherever links lead: of a job's folder only its output is not.

    Raises:
        RefusedError: naming all such paths.

    >>> check_private([Path("/engine/jobs/1/output/run"), Path("/engine/liver")], Path("/engine"))
    >>> check_private([Path("/engine/jobs/1/job.json")], Path("/engine"))
    Traceback (most recent call last):
        ...
    r2d2.engine.errors.RefusedError: the engine's own, which jobs leave alone: /engine/jobs/1/job.json
    """
    root = real_path(work_root)
    private = [str(path) for path in dict.fromkeys(paths) if _is_private(real_path(path), root)]
    if private:
        raise RefusedError(f"the engine's own, which jobs leave alone: {', '.join(private)}")


def roots_of(paths: Sequence[Path], roots: Sequence[Path], work_root: Path) -> list[str]:
    """Give the declared folders in which paths lie, wherever links lead; the engine's own folder is in none of them.

    >>> roots_of([Path("/scans/own/a"), Path("/engine/b")], [Path("/scans"), Path("/scans/own")], Path("/engine"))
    ['/scans', '/scans/own']
    """
    own = real_path(work_root)
    real = [one for one in map(real_path, paths) if not is_within(one, [own])]
    return [str(root) for root in roots if any(is_within(path, [real_path(root)]) for path in real)]


def real_path(path: Path) -> Path:
    """Give where links lead.

    Raises:
        RefusedError: nowhere.
    """
    try:
        return path.resolve()
    except (OSError, RuntimeError, ValueError) as error:  # links in a circle, a zero byte
        raise RefusedError(f"{str(path)!r:.80} is no path: {error}") from error


def _is_private(path: Path, root: Path) -> bool:
    if is_within(root, [path]):  # it, or what holds it: whoever reads a folder reads what is in it
        return True
    if root not in path.parents:
        return False
    first, *rest = path.relative_to(root).parts
    is_of_all = first in _OF_MANY and not rest
    return first in _PRIVATE or is_of_all or (first == "jobs" and rest[1:2] != ["output"])


def is_within(path: Path, roots: Sequence[Path]) -> bool:
    """Tell whether a path is one of some folders, or lies in one; where links lead is for `real_path` to say."""
    return any(path == root or root in path.parents for root in roots)


def missing(settings: BaseModel, names: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield (field, sentence) for each file or folder that must be there and is not."""
    for name in names:
        value = getattr(settings, name, None)
        annotation = type(settings).model_fields[name].annotation
        for part in value if isinstance(value, tuple) else (value,):
            is_path = isinstance(part, Path) or (_may_be_path(name, annotation) and _is_path_text(part))
            if is_path and not _is_of_zoo(part) and not _exists(Path(part)):
                yield name, f"{part} is not there"


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a name that is too long
        return False


def checked_words(words: Sequence[str]) -> None:
    """Refuse ``key=value`` words with faults, all of which are told.

    Raises:
        RefusedError: naming them.

    >>> checked_words(["network.options={a: &a [1, 2], b: [*a, *a]}"])
    Traceback (most recent call last):
        ...
    r2d2.engine.errors.RefusedError: settings: a value is written out, without *names for its parts
    """
    for word in words:
        fault = _fault_of_value(word.partition("=")[2])
        if fault:
            raise RefusedError(f"settings: {fault}", [("settings", fault)])
    try:
        configure({}, assignments=words)
    except ConfigurationError as error:
        raise RefusedError(str(error), error.faults) from error


def _fault_of_value(text: str) -> str | None:
    """Say why a value is not read: a few words of YAML can stand for more than any memory holds."""
    depth = 0
    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            if isinstance(event, yaml.AliasEvent):
                return "a value is written out, without *names for its parts"
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > DEEPEST:
                return f"values within values, more than {DEEPEST} deep"
    except yaml.YAMLError:
        return None  # is refused with the other faults
    return None
