"""Which settings count: what is proposed for the dataset, over it a configuration file, over that what was typed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dist_training.architectures import NetworkSettings, UNetSettings
from imgmed import PreparedDataset
from r2d2.config import FILE_NAME, Configuration, asked_network, configure, find_layer, laid_over, read_layer
from r2d2.proposal import is_of_volumes, propose_here
from r2d2.tasks.preparation import PHANTOM_FOLDER, phantom_dataset
from r2d2_base.errors import ConfigurationError
from r2d2_base.progress import Progress

__all__ = ["Resolved", "resolve"]

_OF_A_RUN = ("dataset", "run_dir", "preparation")
_MOST_NAMED = 6
_DEFAULT = UNetSettings().architecture
_OF_SIZE = ("patch_size", "batch_size_per_worker", "reference_batch_size", "accumulation_steps", "epochs")
"""Settings of training that are proposed by the sizes of slices or volumes."""


@dataclass(frozen=True)
class Resolved:
    """A configuration and where it comes from.

    Attributes:
        configuration: with a dataset.
        origin: what the settings come from, for the user.
        is_phantom: whether no dataset was named, so that it is the generated phantom.
    """

    configuration: Configuration
    origin: str
    is_phantom: bool


def resolve(
    *,
    config: Path | None,
    options: Mapping[str, Any],
    assignments: Sequence[str],
    progress: Progress | None = None,
) -> Resolved:
    """Find the settings: those proposed for the dataset, over them ``--config`` or r2d2.yaml of the working folder.

    Without any dataset the phantom study is generated in ``r2d2-phantom/`` of the working folder.

    Args:
        config: a configuration file; None looks for one.
        options: dotted keys with values, which override the file.
        assignments: ``key=value`` words, which override both.
        progress: told how the phantom comes along.

    Returns:
        A configuration with a dataset, and where it comes from.

    Raises:
        ConfigurationError: faults of the file, the options or the words, all listed.
        ImgMedError: no readable dataset.
    """
    refused = [word for word in assignments if word.startswith("preparation.")]
    if refused:
        raise ConfigurationError(
            f"{', '.join(refused)}: the dataset is prepared already; 'r2d2 prepare SOURCE --out FOLDER {refused[0]}' "
            "prepares it in another way"
        )
    path, layer = find_layer(config)
    naming = [word for word in assignments if word.partition("=")[0].strip() == "dataset"]
    named = configure(
        {"dataset": layer.get("dataset")}, options={"dataset": options.get("dataset")}, assignments=naming
    )
    if named.dataset is None:  # before anything is generated
        configure(layer, options=options, assignments=assignments, origin=str(path or ""))
        dataset = phantom_dataset(PHANTOM_FOLDER, progress)
    else:
        dataset = PreparedDataset.read(named.dataset)
    below, origin = _proposed(dataset, *asked_network(layer, assignments))
    if path is not None and path.absolute() != (dataset.folder / FILE_NAME).absolute():
        origin = f"{path}{_differing(configure(laid_over(below, layer), origin=str(path)), below)}, over {origin}"
        below = laid_over(below, layer)
    options = {**options, "dataset": str(dataset.folder)}
    configuration = configure(below, options=options, assignments=assignments, origin=origin)
    configuration = configuration.model_copy(update={"preparation": dataset.description.settings})
    return Resolved(configuration, origin, named.dataset is None)


def _proposed(dataset: PreparedDataset, architecture: str | None, dimensions: int | None) -> tuple[dict[str, Any], str]:
    """Give the settings that suit a dataset, complete, and where they stand.

    Where a network of volumes is asked for and the dataset's own settings are for one of slices, or the reverse, the
    network, its patches, batch and epochs are proposed anew, and the rest stays as it is there.
    """
    own = dataset.folder / FILE_NAME
    if not own.exists():
        proposal = propose_here(dataset, dimensions=dimensions, architecture=architecture or _DEFAULT)
        return proposal.configuration.model_dump(mode="json"), f"what suits {dataset.folder}"
    kept = configure(read_layer(own), origin=str(own))
    below = kept.model_dump(mode="json")
    if architecture is None and dimensions is None:
        return below, str(own)
    name = architecture or kept.network.architecture
    if dimensions is None and _is_of_volumes(kept.network) and is_of_volumes(dataset, name, None):
        dimensions = 3
    fresh = propose_here(dataset, dimensions=dimensions or 2, architecture=name).configuration
    is_other = name != kept.network.architecture and _is_of_volumes(fresh.network)
    if _is_of_volumes(fresh.network) == _is_of_volumes(kept.network) and not is_other:
        return below, str(own)
    anew = fresh.model_dump(mode="json")
    training = below["training"] | {key: anew["training"][key] for key in _OF_SIZE}
    what = "volumes" if _is_of_volumes(fresh.network) else "slices"
    origin = f"{own}, with a network of {what} as it suits {dataset.folder}"
    return below | {"network": anew["network"], "training": training}, origin


def _is_of_volumes(network: NetworkSettings) -> bool:
    return len(network.size_multiples) == 3


def _differing(configuration: Configuration, below: Mapping[str, Any]) -> str:
    """Name the settings that a file changes."""
    stated, proposed = _flat(configuration.model_dump(mode="json", exclude=set(_OF_A_RUN))), _flat(below)
    keys = [key for key, value in stated.items() if proposed.get(key) != value]
    more = f" and {len(keys) - _MOST_NAMED} more" if len(keys) > _MOST_NAMED else ""
    return f" ({', '.join(keys[:_MOST_NAMED])}{more})" if keys else ""


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat
