"""files.json of a published model and index.json of a registry: which files there are, by size and SHA-256."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from r2d2.errors import ZooError
from r2d2.zoo.registries.names import ZooName, check_name, is_version
from r2d2.zoo.registries.printable import is_printable
from r2d2_base.settings_faults import settings_faults

__all__ = [
    "FILES",
    "INDEX",
    "LARGEST_INDEX",
    "NEEDED",
    "FileFacts",
    "FileList",
    "ModelEntry",
    "RegistryIndex",
    "check_path",
    "read_files",
    "read_index",
]

INDEX, FILES = "index.json", "files.json"
NEEDED = ("model.keras", "model.json", "card.json", "card.md", FILES)
LARGEST_INDEX = 10_000_000
LONGEST_PATH = 200
MOST_FILES = 1000

_NOT_IN_PATHS = '\\:*?"<>|'


def check_path(path: str) -> str:
    """Give the relative path of a file back, which lies in its folder on every system.

    Raises:
        ValueError: it leads elsewhere, or cannot be a file everywhere.

    >>> check_path("pictures/case-1.png")
    'pictures/case-1.png'
    """
    parts = path.split("/")
    is_odd = any(letter in _NOT_IN_PATHS for letter in path) or not is_printable(path)
    if is_odd or len(path) > LONGEST_PATH or any(not part.strip(". ") or part != part.strip() for part in parts):
        raise ValueError(f"{path!r:.100} would not be a file within the model's folder")
    if any(part.startswith(".") for part in parts):
        raise ValueError(f"{path!r:.100} is a hidden file, and no model has any")
    return path


class FileFacts(BaseModel):
    """A file's SHA-256 (64 hexadecimal digits) and its size in bytes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    size: int = Field(ge=0)


def _check_paths(files: dict[str, FileFacts]) -> dict[str, FileFacts]:
    if len(files) > MOST_FILES:
        raise ValueError(f"{len(files)} files, which is more than {MOST_FILES}")
    for path in files:
        check_path(path)
    folders = {above.as_posix() for path in files for above in PurePosixPath(path).parents}
    both = sorted(folders & set(files))
    if both:
        raise ValueError(f"{both[0]!r} is both a file and a folder")
    if len({path.casefold() for path in files}) < len(files):
        raise ValueError("two files differ only in capital letters")
    return files


def _check_line(text: str) -> str:
    if not is_printable(text):
        raise ValueError(f"{text!r:.100} holds letters that cannot be shown")
    return text


Line = Annotated[str, Field(max_length=300), AfterValidator(_check_line)]
Files = Annotated[dict[str, FileFacts], AfterValidator(_check_paths)]


class FileList(BaseModel):
    """Content of files.json: all other files of a published model, by their paths in its folder."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    files: Files


class ModelEntry(BaseModel):
    """What an index says of one version of a model.

    Attributes:
        files: all files of its folder, files.json too.
        title: in a line, what it is.
        architecture: of its network.
        labels: the structures that it finds, by name.
        channels: what a scan must have, by name.
        dataset: that it was trained on.
        licence: of its weights.
        parent: the model that it was started from, NAME:VERSION or in words; None: from nothing.
        published: when, as ISO 8601.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    files: Files
    title: Line
    architecture: Line
    labels: tuple[Line, ...]
    channels: tuple[Line, ...]
    dataset: Line
    licence: Line
    parent: Line | None = None
    published: Line

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(facts.size for facts in self.files.values())

    @property
    def weights(self) -> tuple[str, ...]:
        """SHA-256 of each of its networks, in order."""
        return tuple(sorted(facts.sha256 for path, facts in self.files.items() if path.endswith("model.keras")))


def _check_entry(entry: ModelEntry) -> ModelEntry:
    missing = [name for name in NEEDED if name not in entry.files]
    if missing:
        raise ValueError(f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing")
    return entry


def _check_models(models: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    for name, versions in models.items():
        check_name(name)
        for version in versions:
            if not is_version(version):
                raise ValueError(f"{name}:{version!r:.40} has no version, which is a whole number from 1")
    return models


class RegistryIndex(BaseModel):
    """Content of index.json: every model of a registry by its name and version."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    models: Annotated[
        dict[str, dict[str, Annotated[ModelEntry, AfterValidator(_check_entry)]]], AfterValidator(_check_models)
    ]

    def entries(self) -> dict[ZooName, ModelEntry]:
        """All models by name, versions in their order."""
        found = {
            ZooName(name, int(version)): entry
            for name, versions in self.models.items()
            for version, entry in versions.items()
        }
        return {name: found[name] for name in sorted(found)}

    @classmethod
    def of(cls, entries: Mapping[ZooName, ModelEntry]) -> RegistryIndex:
        """Make the index of models with versions."""
        models: dict[str, dict[str, ModelEntry]] = {}
        for name, entry in entries.items():
            models.setdefault(name.name, {})[str(name.version)] = entry
        return cls(models=models)


def read_index(data: bytes, origin: str) -> RegistryIndex:
    """Read index.json.

    Args:
        data: its bytes.
        origin: where it is from, for messages.

    Raises:
        ZooError: it is damaged, names what it may not, or is of a newer R2D2.
    """
    return _read(RegistryIndex, data, origin, "index of a registry")


def read_files(data: bytes, origin: str) -> dict[str, FileFacts]:
    """Read files.json: the facts of all other files of a published model, by their paths.

    Raises:
        ZooError: as `read_index`.
    """
    return _read(FileList, data, origin, "list of a model's files").files


def _read(model: type[Any], data: bytes, origin: str, kind: str) -> Any:
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ZooError(f"{origin} is no {kind} (it is not JSON); is the address right?") from error
    try:
        version = content.get("schema_version", 1) if isinstance(content, dict) else 1
        if isinstance(version, int) and version > 1:
            raise ZooError(f"{origin} is the {kind} of a newer R2D2 (schema_version {version}); install that")
        return TypeAdapter(model).validate_python(content, strict=False)
    except ValidationError as error:
        raise ZooError(f"{origin} is no {kind} that can be used: {settings_faults(error, model)[0]}") from error
