"""Functions of the user's own, named module:function: networks and losses. Loads neither Keras nor their modules."""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from r2d2_base.errors import ConfigurationError

__all__ = ["find_function", "import_module_of", "is_own_name", "module_of", "search_working_folder"]

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


def search_working_folder() -> str:
    """Let modules be imported from the working folder too, and give it."""
    here = str(Path.cwd())
    if here not in sys.path:  # last, so that a file of the working folder never stands in for an installed package
        sys.path.append(here)
    return here


def import_module_of(name: str, what: str) -> Any:
    """Import the module of module:function, from the Python path or else from the working folder.

    Args:
        name: module:function.
        what: it is, for the message: "network", "loss".

    Raises:
        ConfigurationError: there is no such module; an error of its own keeps its traceback.
    """
    module, here = module_of(name), search_working_folder()
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
