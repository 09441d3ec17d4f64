"""Choosing the rules that set a model's label maps right, by cases that it was not trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from pydantic import BaseModel, ConfigDict, Field

from dist_training.inference.model_card import ModelCard, read_model_card, write_postprocessing
from dist_training.inference.postprocessing import Rule
from dist_training.record.run_folder import RunFolder
from imgmed import PreparedDataset
from r2d2.prediction.ensemble import check_ensemble, preparation_differences
from r2d2.prediction.model import resolve_ensemble
from r2d2.prediction.predictor import Predictor
from r2d2.prediction.rule_candidates import candidates_of
from r2d2.prediction.rule_choice import PredictedMaps, choose
from r2d2.prediction.rule_record import RuleChoice, write_rule_choice
from r2d2.prediction.rule_trials import fewest_patients
from r2d2.prediction.settings import InferenceSettings
from r2d2.tasks.evaluation import labels_to_score
from r2d2.zoo.registries.index import FILES
from r2d2_base.errors import ConfigurationError
from r2d2_base.files import check_writable
from r2d2_base.progress import Progress, StopRequest, Watcher

__all__ = ["ChooseRulesSettings", "RuleChoiceResult", "choose_rules"]


class ChooseRulesSettings(BaseModel):
    """For which model rules are chosen, and by what.

    >>> ChooseRulesSettings(model="work/run", dataset="work/hippocampus").alpha
    0.05
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: Path = Field(description="run folder of a training, or the folder of a cross-validation")
    dataset: Path = Field(description="the prepared dataset that it was trained on")
    alpha: float = Field(default=0.05, gt=0, lt=0.5, description="level of the tests")
    inference: InferenceSettings = Field(default_factory=InferenceSettings, description="how networks are applied")
    trust_code: bool = Field(default=False, description="import the module that a model's card names")


@dataclass(frozen=True)
class RuleChoiceResult:
    """Rules that were chosen.

    Attributes:
        choice: which were tried, and what each did.
        record: postprocessing.json.
        cards: the cards that have the kept rules now.
    """

    choice: RuleChoice
    record: Path
    cards: tuple[Path, ...]


@dataclass(frozen=True)
class _Network:
    """A network, with the dataset's cases that chose its weights, and those that it was trained on."""

    path: Path
    card: ModelCard
    held_out: tuple[str, ...]
    trained_on: tuple[str, ...]


def choose_rules(
    settings: ChooseRulesSettings, *, progress: Progress | None = None, stop: StopRequest | None = None
) -> RuleChoiceResult:
    """Choose the rules that a model's label maps are set right by, and write them into its card.

    1. Rules to be tried come from the references of the training cases, see `ReferenceParts`.
    2. The model predicts its validation cases without rules, each network of a cross-validation its own; test cases
       are never looked at. Rules that alter none of these label maps, or do the same to all as another, are not tested.
    3. Each of the others is tested alone: a one-sided Wilcoxon test of the mean foreground Dice over patients,
       corrected after Holm for all that are tested; it must not make any structure significantly worse.
    4. Those that pass (of several sizes for a label, the one that helps most) follow each other in a fixed order, and
       each stays only where it still helps on top of those before. This drops rules and adds none, so that the odds of
       keeping any rule where none helps stay at most alpha.
    5. The kept rules go into the card, what was tried into postprocessing.json beside it; the weights stay as they are.

    Args:
        settings: which model and dataset.
        progress: told of ("predicting", done, total).
        stop: ends the work where it is made; nothing is written then.

    Returns:
        What was tried and kept. With too few patients for any p to be small enough nothing is predicted, and nothing
        kept.

    Raises:
        ConfigurationError: a dataset without references, of other labels, or without validation cases of the model; a
            run that is at work, or a published model.
        ModelError: there is no such model.
        PredictionError: the dataset was prepared in another way than the model's.
        CancelledError: ``stop`` was made.
    """
    watcher = Watcher(progress, stop)
    dataset = PreparedDataset.read(settings.dataset)
    if dataset.description.task != "segmentation":
        raise ConfigurationError(f"{dataset.folder} has no reference label maps: it is a {dataset.description.task}")
    networks = _networks(settings.model, dataset)
    folder = settings.model if settings.model.is_dir() else settings.model.parent
    check_writable(folder)
    held_out = _held_out_once(networks)
    _check_held_out(held_out, networks, dataset)
    patients = {dataset.case(case_id).patient_id for case_id in held_out}
    choice = RuleChoice(
        model_sha256=tuple(network.card.model_sha256 for network in networks),
        dataset=dataset.name,
        cases_from="validation" if len(networks) == 1 else "out_of_fold",
        cases=len(held_out),
        patients=len(patients),
        alpha=settings.alpha,
    )
    needed = fewest_patients(1, settings.alpha)
    if len(patients) < needed:
        note = f"too few patients ({len(patients)}) for any p below {settings.alpha:g}; {needed} are needed"
        choice = choice.model_copy(update={"note": note})
    else:
        choice = _tried(choice, networks, held_out, dataset, settings, watcher)
    cards = tuple(write_postprocessing(network.path, choice.kept) for network in networks)
    return RuleChoiceResult(choice, write_rule_choice(folder, choice), cards)


def _networks(model: Path, dataset: PreparedDataset) -> tuple[_Network, ...]:
    """The networks with their cases, told by their content: a split of today's dataset may be another."""
    for_test = set(dataset.splits.test)
    found = []
    for path in resolve_ensemble(model):
        network, card = read_model_card(path)
        if RunFolder(network.parent).status().is_running:
            raise ConfigurationError(f"{network.parent} holds a run that is at work; choose rules when it has ended")
        if (network.parent / FILES).exists():
            raise ConfigurationError(
                f"{network.parent} is a published model, which is never changed; choose rules for the run that it came"
                " from, and publish that again"
            )
        _check_dataset(card, dataset)
        parts: dict[str | None, list[str]] = {"validation": [], "train": []}
        for case_id, case in dataset.cases.items():
            if case.augmented_from is None and case_id not in for_test:
                parts.setdefault(card.split_of(case.image_sha256), []).append(case_id)
        found.append(_Network(network, card, tuple(parts["validation"]), tuple(parts["train"])))
    check_ensemble([(network.path, network.card) for network in found])
    return tuple(found)


def _check_dataset(card: ModelCard, dataset: PreparedDataset) -> None:
    differences = preparation_differences(("model", card.scan_preparation), ("dataset", dataset.scan_preparation))
    if card.labels != dataset.labels:
        differences.append(f"labels: model {', '.join(card.labels)}, dataset {', '.join(dataset.labels)}")
    if differences:
        raise ConfigurationError(
            f"rules are chosen on the dataset that the model was trained on; {dataset.folder} was prepared in another"
            f" way ({'; '.join(differences)})"
        )


def _held_out_once(networks: Sequence[_Network]) -> dict[str, int]:
    """Which network predicts each case: the first that did not learn from it."""
    held_out: dict[str, int] = {}
    for number, network in enumerate(networks):
        for case_id in network.held_out:
            held_out.setdefault(case_id, number)
    return held_out


def _check_held_out(held_out: Mapping[str, int], networks: Sequence[_Network], dataset: PreparedDataset) -> None:
    if not held_out:
        raise ConfigurationError(
            f"{dataset.folder} has no validation case of {networks[0].path.parent}; give the dataset that it was"
            " trained on, or train with some cases for validation (preparation.splits)"
        )
    if not all(network.trained_on for network in networks):
        raise ConfigurationError(
            f"{dataset.folder} has none of the model's training cases, whose references tell"
            " what rules to try; give the dataset that it was trained on"
        )


def _tried(
    choice: RuleChoice,
    networks: Sequence[_Network],
    held_out: Mapping[str, int],
    dataset: PreparedDataset,
    settings: ChooseRulesSettings,
    watcher: Watcher,
) -> RuleChoice:
    own = [candidates_of(dataset, network.trained_on, watcher) for network in networks]
    every = dict.fromkeys(case_id for network in networks for case_id in network.trained_on)
    candidates = own[0] if len(networks) == 1 else candidates_of(dataset, every, watcher)
    inference = settings.inference.model_copy(update={"rules": (), "probabilities": False, "uncertainty": "none"})
    with TemporaryDirectory(prefix="r2d2-rules-") as kept:
        maps = PredictedMaps(Path(kept), labels_to_score(dataset, dataset.description.ignore_label), dataset)
        watcher.report("predicting", 0, len(held_out))
        for number, network in enumerate(networks):
            predictor = Predictor(network.path, inference, trust_code=settings.trust_code)
            for case_id in [case_id for case_id, whose in held_out.items() if whose == number]:
                stacks = [(dataset.image(case_id), dataset.grid(case_id))]
                predicted = watcher.call(lambda: predictor.predict(stacks, watcher))  # noqa: B023  awaited here
                maps.add(case_id, predicted.label_map, _of_case(candidates, own[number]))
                watcher.report("predicting", len(maps), len(held_out))
        return choose(choice, candidates, maps, watcher)


def _of_case(candidates: Mapping[str, Rule], own: Mapping[str, Rule]) -> dict[str, Rule]:
    """Rules with numbers from the references of other patients than the case's own."""
    return {name: own[name] for name in candidates if name in own}
