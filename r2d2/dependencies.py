"""What R2D2 needs, what is installed of it and, in a checkout, which versions are pinned.

Only the standard library is used, so that `r2d2 doctor` also works where an installation is broken.
"""

import importlib.metadata
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

__all__ = ["HOROVOD_REQUIREMENT", "Package", "examine_packages", "installed_version", "satisfies"]

# Not among the dependencies in pyproject.toml: it is built after them, against the installed TensorFlow.
HOROVOD_REQUIREMENT = "horovod==0.28.1"


@dataclass(frozen=True)
class Package:
    """A dependency: what is asked for and what is there (`installed` is None where nothing is)."""

    name: str
    group: str
    required: str
    pinned: str | None
    installed: str | None

    @property
    def is_satisfied(self) -> bool:
        """Whether a version is installed that is asked for."""
        return self.installed is not None and satisfies(self.installed, self.required)


def installed_version(name: str) -> str | None:
    """The installed version of a distribution, without importing it.

    Example:
        >>> installed_version("no-such-distribution") is None
        True
    """
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def examine_packages(checkout: Path | None) -> Iterator[Package]:
    """Every dependency with what is installed of it.

    Args:
        checkout: the repository, whose requirements/ tells the pins, or None where there is none.

    Returns:
        Packages of the groups "runtime", "workers" (Horovod) and each extra's, such as "train" and "serve".
    """
    pins = {} if checkout is None else read_pins(checkout / "requirements")
    declared = list(declared_requirements(checkout))
    for line, group in [*declared, (HOROVOD_REQUIREMENT, "workers")]:
        found = re.match(r"([A-Za-z0-9._-]+)(?:\[[^]]*\])?\s*\(?([^;)]*)", line)
        if found:
            name, required = found[1], found[2].strip()
            yield Package(name, group, required, pins.get(normalised(name)), installed_version(name))


def declared_requirements(checkout: Path | None) -> Iterator[tuple[str, str]]:
    """(requirement, group) as the installed package declares them, else as the checkout does."""
    if checkout is None:
        try:
            lines = importlib.metadata.requires("r2d2") or []
        except importlib.metadata.PackageNotFoundError:
            lines = []
        for line in lines:
            extra = re.search(r"""extra == ['"]([^'"]+)""", line)
            yield line, extra[1] if extra else "runtime"
        return
    project = tomllib.loads((checkout / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    yield from ((line, "runtime") for line in project["dependencies"])
    for extra_name, extra_lines in project["optional-dependencies"].items():
        yield from ((line, extra_name) for line in extra_lines)


def read_pins(folder: Path) -> dict[str, str]:
    """{normalised name: version} from every requirement file in a folder."""
    lines = (line for path in sorted(folder.glob("*.txt")) for line in path.read_text().splitlines())
    pairs = (line.partition("==") for line in lines if not line.startswith("#"))
    return {normalised(name): version.strip() for name, equals, version in pairs if equals}


def normalised(name: str) -> str:
    """A distribution's name as the package index compares it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def satisfies(version: str, specifier: str) -> bool:
    """Whether a version is one that a specifier asks for.

    Args:
        version: such as "2.0.2"; what follows the numbers is not compared.
        specifier: comparisons joined by commas, of the kinds that our own requirements use.

    Returns:
        True also for an empty specifier.

    Raises:
        ValueError: a comparison of another kind.

    Example:
        >>> satisfies("2.0.2", ">=1.26,<2.1"), satisfies("2.1", ">=1.26,<2.1"), satisfies("1.9", ">=1.26")
        (True, False, False)
    """
    return all(compare(version, part.strip()) for part in specifier.split(",") if part.strip())


def compare(version: str, comparison: str) -> bool:
    """Whether a version passes one comparison, such as ">=1.26"."""
    found = re.fullmatch(r"(==|!=|>=|<=|>|<)\s*(\d+(?:\.\d+)*)", comparison)
    if found is None:
        raise ValueError(
            f"a comparison is one of == != >= <= > < and a number; received {comparison!r}; for example '>=1.26'"
        )
    pairs = list(zip_longest(release(version), release(found[2]), fillvalue=0))
    left, right = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    outcomes = {
        "==": left == right,
        "!=": left != right,
        ">=": left >= right,
        "<=": left <= right,
        ">": left > right,
        "<": left < right,
    }
    return outcomes[found[1]]


def release(version: str) -> list[int]:
    """The leading numbers of a version: [2, 0, 2] for "2.0.2rc1"."""
    found = re.match(r"\d+(?:\.\d+)*", version)
    return [int(part) for part in found[0].split(".")] if found else []
