"""The configurations that are compared: as they are asked for, and as they are with everything filled in."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from imgmed import PreparedDataset
from r2d2.config import Configuration, read_layer
from r2d2.config_differences import differences
from r2d2.tasks.training import TrainSettings, resolve_training
from r2d2_base.errors import ConfigurationError

__all__ = [
    "RESERVED",
    "AskedConfiguration",
    "Candidate",
    "ResolvedConfiguration",
    "asked_configurations",
    "candidates_among",
    "check_comparable",
    "resolved",
]

RESERVED = ("asked.json", "choice.json", "choice.html")
"""Files in the folder of a choice, beside the folders of the candidates."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}")
_VARIANT = re.compile(r"(?P<name>[^:=\s]+):(?:\s+(?P<words>.*))?", re.DOTALL)
_EACH_ITS_OWN = ("run_dir", "fold")
_SAME_FOR_ALL = ("training.epochs", "training.max_minutes", "training.seed")
_NO_DIFFERENCE = ("run_dir", "fold", "preparation", "schema_version")
_NAMED = 3


@dataclass(frozen=True)
class AskedConfiguration:
    """A configuration as it was asked for.

    Attributes:
        name: what it is called, and its folder.
        file: its YAML file; None: it is told in words alone.
        words: its ``key=value`` words.
    """

    name: str
    file: Path | None = None
    words: tuple[str, ...] = ()


@dataclass(frozen=True)
class ResolvedConfiguration:
    """A configuration with everything filled in, and the dataset that it names.

    Attributes:
        name: what it is called.
        configuration: without a fold and a run folder.
        dataset: the prepared dataset.
    """

    name: str
    configuration: Configuration
    dataset: PreparedDataset


@dataclass(frozen=True)
class Candidate:
    """What can be chosen.

    Attributes:
        members: one configuration, or those whose probabilities are averaged.
    """

    members: tuple[ResolvedConfiguration, ...]

    @property
    def name(self) -> str:
        """Of the configuration, or all with "+" between."""
        return "+".join(member.name for member in self.members)


def asked_configurations(files: Sequence[Path], variants: Sequence[str]) -> tuple[AskedConfiguration, ...]:
    """Read which configurations are asked for.

    Args:
        files: YAML files; each is called as its file.
        variants: in words, like "3d: network.dimensions=3 training.patch_size=[8,32,32]".

    Raises:
        ConfigurationError: fewer than two, two of one name, or what is no configuration.

    >>> [one.words for one in asked_configurations([], ["2d:", "3d: network.dimensions=3"])]
    [(), ('network.dimensions=3',)]
    """
    asked = [AskedConfiguration(path.stem, path) for path in files]
    for variant in variants:
        found = _VARIANT.fullmatch(variant.strip())
        if found is None:
            raise ConfigurationError(
                f"'{variant}' is no configuration; give a YAML file, or a name with settings, like "
                "'3d: network.dimensions=3'"
            )
        asked.append(AskedConfiguration(found["name"], None, tuple((found["words"] or "").split())))
    faults = [f"'{name}' is no name" for name in (one.name for one in asked) if not _is_name(name)]
    if faults:
        raise ConfigurationError(f"{'; '.join(faults)}: use letters, digits, '.', '-' and '_', and at most 40")
    twice = [name for name, count in Counter(one.name.lower() for one in asked).items() if count > 1]
    if twice:
        raise ConfigurationError(f"two configurations are called {twice[0]}; give each a name of its own")
    if len(asked) < 2:
        raise ConfigurationError(
            f"a choice needs at least two configurations; received {len(asked)}: give YAML files, or a name with "
            "settings, like '3d: network.dimensions=3'"
        )
    return tuple(asked)


def _is_name(name: str) -> bool:
    return _NAME.fullmatch(name) is not None and name not in RESERVED


def resolved(asked: AskedConfiguration, dataset: Path, settings: Sequence[str]) -> ResolvedConfiguration:
    """Fill in everything that a configuration leaves open, as a training would.

    Args:
        asked: the configuration.
        dataset: prepared dataset, where it names none of its own.
        settings: ``key=value`` words of all configurations, which count more than a file.

    Raises:
        ConfigurationError: settings that cannot be, or one that stands both in its words and for all.
        ImgMedError: no readable dataset.
    """
    own = {_key(word) for word in asked.words}
    if twice := sorted(own & {_key(word) for word in settings}):
        raise ConfigurationError(f"{asked.name}: {', '.join(twice)} is given for it and for all; give it once")
    refused = sorted((own | {_key(word) for word in settings}) & set(_EACH_ITS_OWN))
    if refused:
        raise ConfigurationError(f"{asked.name}: {', '.join(refused)} is of each training; leave it out")
    named = None if asked.file is None else read_layer(asked.file).get("dataset")
    told = TrainSettings(
        dataset=None if named is not None else dataset, config=asked.file, settings=(*asked.words, *settings)
    )
    try:
        configuration = resolve_training(told).configuration
    except ConfigurationError as error:
        raise ConfigurationError(f"{asked.name}: {error}", error.faults) from error
    configuration = configuration.model_copy(update=dict.fromkeys(_EACH_ITS_OWN))
    return ResolvedConfiguration(asked.name, configuration, PreparedDataset.read(Path(configuration.dataset or "")))


def _key(word: str) -> str:
    return word.partition("=")[0].strip()


def check_comparable(configurations: Sequence[ResolvedConfiguration]) -> None:
    """Refuse configurations whose scores would say something else than which is better.

    Raises:
        ConfigurationError: another budget or seed, twice the same settings, no folds, or datasets that differ in more
            than how slices are made.
    """
    first, *others = configurations
    for other in others:
        for difference in differences([first.configuration, other.configuration]):
            if difference.key in _SAME_FOR_ALL:
                ours, theirs = difference.values
                raise ConfigurationError(
                    f"{difference.key} is {_said(ours)} in {first.name} and {_said(theirs)} in {other.name}; a fair "
                    f"choice gives all the same: add {difference.key}={_said(theirs if ours is None else ours)}"
                )
    for place, one in enumerate(configurations):
        for other in configurations[place + 1 :]:
            if not differences([one.configuration, other.configuration], besides=_NO_DIFFERENCE):
                raise ConfigurationError(f"{one.name} and {other.name} have the same settings; leave one out")
    if not first.dataset.splits.folds:
        raise ConfigurationError(f"{first.dataset.folder} has no folds; prepare it again, with preparation.folds=5")
    for other in others:
        _check_same_study(first, other)


def _said(value: object) -> str:
    return "null" if value is None else str(value)


def _check_same_study(one: ResolvedConfiguration, other: ResolvedConfiguration) -> None:
    """Refuse datasets of other cases, references, patients or folds: the scores would not be paired."""
    ours, theirs = one.dataset, other.dataset
    if ours.folder.resolve() == theirs.folder.resolve():
        return
    reason = _study_difference(ours, theirs)
    if reason:
        raise ConfigurationError(
            f"{one.name} and {other.name} are of datasets that cannot be compared, {ours.folder} and {theirs.folder}: "
            f"{reason}; prepare both from one source, with the same labels and splits (preparation.splits)"
        )


def _study_difference(ours: PreparedDataset, theirs: PreparedDataset) -> str:
    """Say in what two datasets differ besides how slices are made; nothing: in nothing else."""
    facts = [(one.labels, one.description.regions, one.description.ignore_label) for one in (ours, theirs)]
    if facts[0] != facts[1]:
        return "their labels differ"
    splits = [one.original_splits for one in (ours, theirs)]
    folds = [[set(fold.validation) for fold in one.folds] for one in splits]
    if len(folds[0]) != len(folds[1]):
        return f"they have {len(folds[0])} and {len(folds[1])} folds"
    if folds[0] != folds[1] or set(splits[0].test) != set(splits[1].test):
        return "their folds, or their test cases, are others"
    cases = sorted(case_id for fold in folds[0] for case_id in fold)
    differ = [case_id for case_id in (*cases, *splits[0].test) if _content(ours, case_id) != _content(theirs, case_id)]
    return f"scans, label maps or patients differ, such as those of {', '.join(differ[:_NAMED])}" if differ else ""


def _content(dataset: PreparedDataset, case_id: str) -> tuple[object, ...]:
    case = dataset.case(case_id)
    return sorted(case.sha256.values()), case.label_counts, case.patient_id


def candidates_among(configurations: Sequence[ResolvedConfiguration], *, with_pairs: bool) -> tuple[Candidate, ...]:
    """Give what can be chosen: each configuration, then every two together where that is asked for.

    Raises:
        ConfigurationError: two that cannot be asked together, as their networks answer another question.
    """
    singles = tuple(Candidate((one,)) for one in configurations)
    pairs = tuple(Candidate(two) for two in combinations(configurations, 2)) if with_pairs else ()
    for one, other in (pair.members for pair in pairs):
        faults = []
        if one.dataset.channels != other.dataset.channels:
            faults.append("channels")
        if one.configuration.training.region_outputs != other.configuration.training.region_outputs:
            faults.append("outputs (training.region_outputs)")
        if faults:
            raise ConfigurationError(
                f"{one.name} and {other.name} have other {' and '.join(faults)}, and cannot be asked together; leave "
                "out --ensembles"
            )
    return (*singles, *pairs)
