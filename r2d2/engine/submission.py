"""From a submission to what stands in a job's folder: the task's settings validated, placed and checked."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from r2d2.config import Configuration, configure, read_layer
from r2d2.engine.code import check_code, check_own_host
from r2d2.engine.errors import RefusedError
from r2d2.engine.models import Submission
from r2d2.engine.paths import (
    check_private,
    check_roots,
    checked_words,
    is_within,
    missing,
    paths_in,
    placed,
    placed_words,
    real_path,
    roots_of,
)
from r2d2.engine.settings import EngineSettings
from r2d2.engine.validation import validated
from r2d2.monitoring.influx.target import check_listed
from r2d2.tasks.registry import TASK_NAMES, Checked, Task, find_task, is_of_module
from r2d2_base.errors import ConfigurationError
from r2d2_base.machine import whole_cores

__all__ = ["accepted", "task_of"]


@dataclass(frozen=True)
class _Asked:
    task: Task
    settings: BaseModel
    checked: Checked
    paths: tuple[Path, ...]


MadeOf = Callable[[Sequence[Path]], set[str]]
"""Tells which declared folders those jobs use whose output is at some paths."""


def task_of(name: str, settings: EngineSettings) -> Task:
    """Find a task that may be submitted; code of others than R2D2 only where the engine was told so.

    Raises:
        RefusedError: there is none.
    """
    if is_of_module(name) and name.partition(":")[0] not in settings.task_modules:
        raise RefusedError(f"task {name!r:.80} is code of a module that this engine was not started with")
    if not is_of_module(name) and name not in TASK_NAMES:
        raise RefusedError(f"no such task: {name!r:.80}; there are {', '.join(TASK_NAMES)}", [("task", "unknown")])
    return find_task(name)


def accepted(
    submission: Submission,
    settings: EngineSettings,
    folder: Path,
    by: str,
    without: Sequence[str] = (),
    made_of: MadeOf = lambda paths: set(),
) -> Mapping[str, Any]:
    """Check a submission as far as that goes now, and give what stands in job.json.

    Args:
        submission: what is wanted.
        settings: of the engine.
        folder: where the job's folder will be.
        by: who wants it.
        without: folders that this job may not use; of declared ones, nor what other jobs have made of them.
        made_of: tells what is made of which.

    Raises:
        R2D2Error: what is wrong with it, all that is.
    """
    task = task_of(submission.task, settings)
    declared = settings.data_roots
    if without:
        left = tuple(root for root in declared if str(root) not in without)
        settings = settings.model_copy(update={"data_roots": left or (settings.work_root,)})
    asked = _asked(task, submission, settings, folder)
    uses = set(roots_of(asked.paths, declared, settings.work_root)) | made_of(asked.paths)
    closed = {folder for folder in without if any(is_within(path, [real_path(Path(folder))]) for path in asked.paths)}
    if beyond := (uses & set(without)) | closed:
        raise RefusedError(f"{by or 'who asks'} may not use {', '.join(sorted(beyond))}, nor what was made of it")
    workers = asked.checked.workers or task.workers(asked.settings)
    if settings.max_workers is not None and workers > settings.max_workers:
        raise RefusedError(
            f"the job asks for {workers} workers, and all jobs of this engine have {settings.max_workers} together; "
            f"ask for at most {settings.max_workers}"
        )
    warnings = list(asked.checked.remarks)
    if workers > (cores := whole_cores()):
        warnings.append(f"{workers} workers share {cores} cores: more workers than cores are no faster")
    output = None if task.output is None else getattr(asked.settings, task.output, None)
    return {
        "task": submission.task,
        "settings": asked.settings.model_dump(mode="json"),
        "name": submission.name or submission.task.rpartition(":")[2].lower(),
        "tags": list(dict.fromkeys(submission.tags)),
        "priority": submission.priority,
        "after": list(dict.fromkeys(submission.after)),
        "max_retries": submission.max_retries,
        "workers": workers,
        "by": by,
        "submitted_at": time.time(),
        "output": None if output is None else str(output),
        "roots": [str(root) for root in _roots(settings)],
        "uses": sorted(uses),
        "warnings": warnings,
    }


def _roots(settings: EngineSettings) -> tuple[Path, ...]:
    return tuple(dict.fromkeys((settings.work_root, *settings.data_roots))) if settings.data_roots else ()


def _is_worded(content: Mapping[str, Any], name: str) -> bool:
    words = content.get("settings")
    return isinstance(words, list | tuple) and any(str(word).partition("=")[0].strip() == name for word in words)


def _asked(task: Task, submission: Submission, engine: EngineSettings, folder: Path) -> _Asked:
    content = dict(submission.settings)
    if task.output is not None and content.get(task.output) is None and not _is_worded(content, task.output):
        content[task.output] = str(folder / "output")
    settings = placed(validated(task.settings, content, f"settings of {submission.task}"), engine.work_root)
    words = getattr(settings, "settings", None)
    if isinstance(words, tuple) and words:
        checked_words(words)
        settings = settings.model_copy(update={"settings": placed_words(words, engine.work_root)})
    settings = task.retrying(settings, submission.max_retries)
    if engine.data_roots:
        check_own_host(settings)
    check_roots(paths_in(settings), _roots(engine))
    check_private(paths_in(settings), engine.work_root)
    if isinstance(words, tuple) and words:
        _check_configuration(configure({}, assignments=words), engine)
    paths = [*paths_in(settings)]
    if submission.after:  # what it reads is still to come
        paths += _configured_paths(settings)
        return _Asked(task, settings, Checked(), _real(paths))
    faults = list(missing(settings, task.reads))
    if faults:
        raise RefusedError("; ".join(f"{key}: {sentence}" for key, sentence in faults), faults)

    def allow(resolved: BaseModel) -> None:
        _check_resolved(resolved, engine)
        paths.extend(paths_in(resolved))

    checked = task.check(settings, allow)
    return _Asked(task, settings, checked, _real(paths))


def _real(paths: Sequence[Path]) -> tuple[Path, ...]:
    """Give paths as they are called and where their links lead."""
    return tuple(dict.fromkeys(one for path in paths for one in (path, real_path(path))))


def _configured_paths(settings: BaseModel) -> tuple[Path, ...]:
    """Give what a configuration file names, as far as it can be read now."""
    config = getattr(settings, "config", None)
    if isinstance(config, Path):
        with suppress(ConfigurationError):
            return paths_in(configure(read_layer(config)))
    return ()


def _check_resolved(resolved: BaseModel, engine: EngineSettings) -> None:
    paths = paths_in(resolved)
    check_roots(paths, _roots(engine))
    check_private(paths, engine.work_root)
    if isinstance(resolved, Configuration):
        _check_configuration(resolved, engine)


def _check_configuration(configuration: Configuration, engine: EngineSettings) -> None:
    """Refuse what settings of a training may not say here, wherever they came from."""
    check_code(configuration, engine.code_roots)
    try:
        check_listed(configuration.monitoring, os.environ)
    except ConfigurationError as error:
        raise RefusedError(str(error), error.faults) from error
    if engine.data_roots:
        check_own_host(configuration)
