"""Functions of the user's own, named module:function: networks and losses. Loads neither Keras nor their modules.

A job that was submitted to an engine by somebody else may run only what lies in folders that the engine's administrator
has named: the engine says so to the job's processes in `CODE_ROOTS`, and nothing is imported here that lies elsewhere.
"""

from __future__ import annotations

import importlib
import inspect
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from r2d2_base.errors import ConfigurationError

__all__ = [
    "CODE_ROOTS",
    "check_origin",
    "code_roots",
    "find_function",
    "import_module_of",
    "is_own_name",
    "module_of",
    "search_working_folder",
]

CODE_ROOTS = "R2D2_CODE_ROOTS"
"""Variable with the folders whose code may be run, joined like PATH; empty: none; not set: any."""


_NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


def is_own_name(text: str) -> bool:
    """Tell whether a word is module:function.

    >>> is_own_name("my_losses:tversky"), is_own_name("tversky"), is_own_name("folder/my_losses.py:tversky")
    (True, False, False)
    """
    return _NAME.fullmatch(text) is not None


def module_of(name: str) -> str:
    """Give the module of module:function.

    >>> module_of("my.losses:tversky")
    'my.losses'
    """
    return name.partition(":")[0]


def code_roots() -> tuple[Path, ...] | None:
    """Give the only folders whose code may be run; None: there is no such rule."""
    named = os.environ.get(CODE_ROOTS)
    return None if named is None else tuple(Path(root) for root in named.split(os.pathsep) if root)


def search_working_folder() -> str:
    """Let modules be imported from the working folder too, or from the code roots, where there are; give these."""
    roots = code_roots()
    folders = [str(Path.cwd())] if roots is None else [str(root) for root in roots]
    for folder in folders:
        if folder not in sys.path:  # last, so that a file there never stands in for an installed package
            sys.path.append(folder)
    return ", ".join(folders)


def check_origin(name: str, what: str, roots: Sequence[Path]) -> None:
    """Refuse module:function that does not lie in one of some folders. Nothing of it is run.

    Args:
        name: module:function.
        what: it is, for the message.
        roots: the folders.

    Raises:
        ConfigurationError: it is elsewhere, or not there.
    """
    package = module_of(name).partition(".")[0]
    try:
        spec = find_spec(package)
    except ValueError:  # a module without a spec, such as __main__
        spec = None
    real = [root.resolve() for root in roots]
    if spec is None or not any(root in place.parents for place in _places(spec) for root in real):
        named = ", ".join(map(str, roots)) or "none"
        raise ConfigurationError(
            f"the {what} {name} is code, and jobs run code only from folders that an administrator has named: {named}"
        )


def _places(spec: ModuleSpec) -> list[Path]:
    """Where the code of a package lies, links followed; nowhere, where its parts are in several folders."""
    return [Path(spec.origin).resolve()] if spec.has_location and spec.origin else []


def import_module_of(name: str, what: str) -> Any:
    """Import the module of module:function, from the Python path or else from the working folder.

    Args:
        name: module:function.
        what: it is, for the message: "network", "loss".

    Raises:
        ConfigurationError: there is no such module, or it may not be run; an error of its own keeps its traceback.
    """
    module, here, roots = module_of(name), search_working_folder(), code_roots()
    if roots is not None:
        check_origin(name, what, roots)
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise  # it is there, and imports another that is not
        raise ConfigurationError(
            f"the {what} {name} is in the module {module}, which is neither in the working folder ({here}) "
            f"nor on the Python path; run where {error.name}.py lies, or name its folder in PYTHONPATH"
        ) from None


def find_function(name: str, what: str, arguments: tuple[str, ...], options: Mapping[str, Any]) -> Callable[..., Any]:
    """Give the function of module:function, which must take these arguments and options.

    Args:
        name: module:function.
        what: it is: "network", "loss".
        arguments: names of what it is called with, by position.
        options: what it is called with besides, by name.

    Raises:
        ConfigurationError: there is no such module or function, or it takes others.
    """
    module, word = import_module_of(name, what), name.partition(":")[2]
    function = getattr(module, word, None)
    if not callable(function):
        names = [key for key, value in vars(module).items() if inspect.isfunction(value) and not key.startswith("_")]
        raise ConfigurationError(
            f"{module.__file__} has no function {word}; its functions: {', '.join(names) or 'none'}"
        )
    try:
        inspect.signature(function).bind(*arguments, **options)
    except TypeError as error:
        raise ConfigurationError(
            f"{name} is called as {word}({', '.join(arguments)}, **options) with the options {dict(options)}, which it "
            f"does not take: {error}"
        ) from None
    return function
