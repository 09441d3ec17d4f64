"""The configuration: one validated model behind r2d2.yaml, the options and key=value."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from dist_training.architectures import NetworkSettings, UNetSettings
from dist_training.learning.transfer import TransferSettings
from dist_training.settings import TrainingSettings
from imgmed import AugmentationSettings, PreparationSettings
from imgmed.augmentation.settings import PRESETS
from r2d2.monitoring.settings import MonitoringSettings
from r2d2.zoo.registries.names import is_zoo_name
from r2d2_base.errors import ConfigurationError
from r2d2_base.settings_faults import key_of, settings_faults

__all__ = [
    "FILE_NAME",
    "WEIGHT_FILES",
    "Configuration",
    "asked_network",
    "commented_yaml",
    "configure",
    "find_layer",
    "laid_over",
    "read_layer",
]

FILE_NAME = "r2d2.yaml"
_ARCHITECTURE, _DEFAULT = "network.architecture", UNetSettings().architecture
_AUGMENTATION = "augmentation"
_LEVELS = ("network.depth", "network.blocks")
_ORDER = {key: place for place, key in enumerate((_ARCHITECTURE, _AUGMENTATION, *_LEVELS))}
WEIGHT_FILES = ("encoder_weights", "file", "pretrained_weights")
"""Settings of networks that name a file of weights, or are the word imagenet."""


class Configuration(BaseModel):
    """Everything that a command can be told.

    >>> Configuration().training.optimizer
    'adam'
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = Field(default=1, description="version of this file's layout")
    dataset: Path | None = Field(
        default=None, description="folder of a prepared dataset (r2d2 prepare); null: the generated phantom study"
    )
    run_dir: Path | None = Field(default=None, description="folder for the run; null: runs/NAME, the next free one")
    fold: int | None = Field(
        default=None, ge=0, description="fold of the dataset's cross-validation to train; null: its own split"
    )
    threads: int | None = Field(
        default=None, ge=1, description="CPU threads of a worker; null: the host's cores shared among its workers"
    )
    workers: int = Field(default=1, ge=1, description="worker processes; more than 1 needs Horovod")
    hosts: str | None = Field(
        default=None,
        description="where the workers run, N on each host (one:2,other:2), all of them where workers is 1; "
        "null: on this one",
    )
    preparation: PreparationSettings = Field(default_factory=PreparationSettings, description="scans to slices")
    network: NetworkSettings = Field(default_factory=UNetSettings, description="the network")
    augmentation: AugmentationSettings = Field(
        default_factory=AugmentationSettings,
        description="variants of the training slices; the name of a preset (none, table1, nnunet) stands for its "
        "settings",
    )
    training: TrainingSettings = Field(default_factory=TrainingSettings, description="the optimisation")
    transfer: TransferSettings = Field(
        default_factory=TransferSettings, description="what the network starts from, and which of its layers learn"
    )
    monitoring: MonitoringSettings = Field(
        default_factory=MonitoringSettings, description="how closely hosts and workers are watched while it trains"
    )


def read_layer(path: Path) -> dict[str, Any]:
    """Read a configuration file, unvalidated; its relative folders and files are relative to the file.

    Args:
        path: a YAML file.

    Returns:
        Its keys and values.

    Raises:
        ConfigurationError: where it is missing, no YAML, or no mapping.
    """
    try:
        layer = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except FileNotFoundError:
        raise ConfigurationError(f"no such configuration file: {path}; 'r2d2 init' writes one") from None
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}; name a YAML file") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(layer, dict):
        raise ConfigurationError(f"{path} must hold keys with values, like 'training:'; received {layer!r:.60}")
    sections = (layer, ("dataset", "run_dir")), (layer.get("preparation"), ("splits",))
    for section, keys in (
        *sections,
        (layer.get("transfer"), ("start_from",)),
        (layer.get("monitoring"), ("influx_token_file",)),
        (layer.get("network"), WEIGHT_FILES),
    ):
        for key in keys:
            if not isinstance(section, dict) or not isinstance(section.get(key), str):
                continue
            if section[key] != "imagenet" and not is_zoo_name(section[key]):
                section[key] = str((path.parent / section[key]).absolute())
    return layer


def find_layer(config: Path | None) -> tuple[Path | None, dict[str, Any]]:
    """Read ``--config``, else r2d2.yaml of the working folder, else nothing.

    Returns:
        The file, if any, and its content.
    """
    here = Path(FILE_NAME)
    path = config or (here if here.exists() else None)
    return path, read_layer(path) if path else {}


def configure(
    layer: Mapping[str, Any],
    *,
    options: Mapping[str, Any] | None = None,
    assignments: Sequence[str] = (),
    origin: str = "",
) -> Configuration:
    """Validate a configuration; options override the file, and ``key=value`` overrides both.

    Args:
        layer: what a file holds.
        options: dotted keys with values; None values are left out.
        assignments: words like "training.epochs=5"; the value is read as YAML.
        origin: where the layer came from, named in an error.

    Returns:
        The configuration.

    Raises:
        ConfigurationError: listing every unknown key and wrong value, with what would be valid.

    >>> configure({}, assignments=["training.epochs=5"]).training.epochs
    5
    """
    merged = _deep_copy(layer)
    faults: list[str] = []
    for key, value in (options or {}).items():
        if value is not None:
            _set(merged, key, value, faults)
    if _AUGMENTATION in merged:
        _set(merged, _AUGMENTATION, merged[_AUGMENTATION], faults)
    # First, wherever they stand: the architecture decides which settings the network has, a preset gives settings,
    # and the number of levels how many strides and kernels there are.
    for word in sorted(assignments, key=lambda word: _ORDER.get(word.partition("=")[0].strip(), len(_ORDER))):
        key, separator, text = word.partition("=")
        if not separator or not key.strip():
            faults.append(f"'{word}' is not key=value, like training.epochs=5")
            continue
        try:
            _set(merged, key.strip(), yaml.safe_load(text), faults)
        except yaml.YAMLError:
            faults.append(f"the value of '{word}' is not YAML")
    network = merged.get("network")
    if isinstance(network, dict):
        network.setdefault("architecture", _DEFAULT)
        if ":" in str(network["architecture"]):  # my_module:build_network stands for a network of the user's own
            merged["network"] = {**network, "architecture": "custom", "build": str(network["architecture"])}
    try:
        configuration = Configuration.model_validate(merged)
    except ValidationError as error:
        faults += settings_faults(error, Configuration)
    if faults:
        count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
        place = f" ({origin})" if origin else ""
        raise ConfigurationError(
            f"{count} in the configuration{place}: {'; '.join(faults)}", [(key_of(fault), fault) for fault in faults]
        )
    return configuration


def asked_network(layer: Mapping[str, Any], assignments: Sequence[str] = ()) -> tuple[str | None, int | None]:
    """Find which network is asked for, before anything is validated: its architecture, and of how many dimensions.

    Args:
        layer: what a file holds.
        assignments: ``key=value`` words, which come before the file.

    Returns:
        Each None where nothing is said of it, or what is no architecture, or neither 2 nor 3.

    >>> asked_network({"network": {"dimensions": 2}}, ["network.dimensions=3"])
    (None, 3)
    """
    network = layer.get("network")
    found = dict(network) if isinstance(network, Mapping) else {}
    for word in assignments:
        key, _, text = word.partition("=")
        if key.strip() in ("network.architecture", "network.dimensions"):
            found[key.strip().removeprefix("network.")] = text.strip()
    architecture, dimensions = found.get("architecture"), str(found.get("dimensions"))
    return (
        architecture if isinstance(architecture, str) else None,
        int(dimensions) if dimensions in ("2", "3") else None,
    )


def laid_over(below: Mapping[str, Any], layer: Mapping[str, Any]) -> dict[str, Any]:
    """Lay a configuration layer over another one, key by key.

    Another architecture has settings of its own, so those of the network below are not kept under it; strides and
    kernels below are cut to as many levels as the layer asks for, or go on with the usual ones; the name of an
    augmentation's preset stands for all settings of its section.

    Args:
        below: what counts where the layer says nothing.
        layer: what counts.

    >>> laid_over({"training": {"seed": 1, "epochs": 9}}, {"training": {"epochs": 2}})
    {'training': {'seed': 1, 'epochs': 2}}
    """
    merged = _deep_copy(below)
    for key, value in layer.items():
        known = merged.get(key)
        if isinstance(known, Mapping) and isinstance(value, Mapping):
            is_other = "architecture" in value and value["architecture"] != known.get("architecture", _DEFAULT)
            merged[key] = _deep_copy(value) if is_other else laid_over(known, value)
            if key == "network" and not is_other:
                _fit_levels(merged[key], fixed=value)
        else:
            merged[key] = value
    return merged


def _fit_levels(network: dict[str, Any], fixed: Collection[str] = ()) -> None:
    """Have strides and kernels for each level of a network, where there are some; those that are fixed stay."""
    depth, blocks = network.get("depth"), network.get("blocks")
    levels = depth + 1 if isinstance(depth, int) else len(blocks) if isinstance(blocks, Sequence) else None
    for name, usual, poolings in (("strides", 2, 1), ("kernels", 3, 0)):
        given = network.get(name)
        if levels is not None and name not in fixed and isinstance(given, Sequence) and given:
            of_axes = given[0] if isinstance(given[0], Sequence) else ()
            network[name] = [*given, *[[usual] * len(of_axes)] * levels][: max(0, levels - poolings)]


def _deep_copy(layer: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _deep_copy(value) if isinstance(value, Mapping) else value for key, value in layer.items()}


def _set(layer: dict[str, Any], key: str, value: Any, faults: list[str]) -> None:
    """Set a dotted key in nested dictionaries that belong to the caller's copy."""
    network = layer.get("network")
    if key == _ARCHITECTURE and isinstance(network, dict) and network.get("architecture", _DEFAULT) != value:
        layer["network"] = {}  # another architecture has settings of its own: the file's would be unknown to it
    if key == _AUGMENTATION and isinstance(value, str) and value in PRESETS:
        value = PRESETS[value].model_dump(mode="json")
    *parents, last = key.split(".")
    for parent in parents:
        inner = layer.setdefault(parent, {})
        if not isinstance(inner, dict):
            faults.append(f"{key}: '{parent}' holds a value, not keys")
            return
        layer = inner
    layer[last] = value
    if key in _LEVELS:
        _fit_levels(layer)


def commented_yaml(configuration: Configuration, title: str, reasons: Mapping[str, str] | None = None) -> str:
    """Write a configuration as YAML with every key, each behind a comment that explains it.

    Args:
        configuration: the values.
        title: the first comment.
        reasons: why values are what they are, by dotted key; each stands in a comment of its own.

    Returns:
        Text that ``read_layer`` reads back to the same configuration.
    """
    lines = [f"# {title}", ""]
    for name, field in type(configuration).model_fields.items():
        value = getattr(configuration, name)
        if not isinstance(value, BaseModel):
            lines += _entry(name, field, value, "", (reasons or {}).get(name))
            continue
        lines += ["", f"# {field.description}", f"{name}:"]
        for inner, inner_field in type(value).model_fields.items():
            reason = (reasons or {}).get(f"{name}.{inner}")
            lines += _entry(inner, inner_field, getattr(value, inner), "  ", reason)
    return "\n".join(lines) + "\n"


def _entry(name: str, field: FieldInfo, value: Any, indent: str, reason: str | None) -> list[str]:
    plain = TypeAdapter(Any).dump_python(value, mode="json")
    text = yaml.safe_dump(plain, default_flow_style=True, width=1000, allow_unicode=True).removesuffix("...\n").strip()
    comment = [f"{indent}# {field.description}"] if field.description else []
    if reason:  # it may hold names from outside: no line of theirs is to end the comment
        comment.append(f"{indent}# why: {''.join(letter if letter.isprintable() else ' ' for letter in reason)}")
    return [*comment, f"{indent}{name}: {text}"]
