"""An evaluation as its model's card has it, and why it may not stand there."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dist_training.inference.model_card import ModelCard, ViewSettings
from imgmed import PreparedDataset
from r2d2.prediction.manifest import MANIFEST, PredictedCase, PredictionManifest, read_manifest
from r2d2.prediction.settings import InferenceSettings
from r2d2.reports.cases import worst_first
from r2d2.reports.formatting import plural, status_words
from r2d2.zoo.card.description import Mean, ScoresOfModel, VolumeRange, WorstCase
from segeval import EvaluatedCase, Evaluation, MeanScore, describe_conventions, read_evaluation

__all__ = ["EvaluatedModel", "JudgedNetwork", "evaluation_faults", "read_evaluated", "scores_of"]

WORST = ("Worst", "Second worst", "Third worst")
PSEUDONYM = re.compile(r"p[0-9a-f]{16}")
PERCENTILES = (5, 50, 95)


@dataclass(frozen=True)
class EvaluatedModel:
    """An evaluation with what made its label maps.

    Attributes:
        evaluation: the scores.
        manifests: prediction.json of each folder of label maps; None where there is none.
        predicted: of each case, what prediction.json says; without those that it does not know.
    """

    evaluation: Evaluation
    manifests: Mapping[Path, PredictionManifest | None]
    predicted: Mapping[str, PredictedCase]

    @property
    def views(self) -> ViewSettings:
        """How the slices of the evaluated scans were seen."""
        return next((one.inference.views for one in self.manifests.values() if one is not None), ViewSettings())


def read_evaluated(evaluation_dir: Path, prediction_dir: Path | None) -> EvaluatedModel:
    """Read an evaluation, and what its label maps were made by.

    Args:
        evaluation_dir: folder with summary.json and cases.csv.
        prediction_dir: folder of the label maps; None: where the evaluation names them.

    Raises:
        R2D2Error: one of the files is missing or damaged.
    """
    evaluation = read_evaluation(evaluation_dir)
    folders = {case.case_id: prediction_dir or Path(case.prediction).parent for case in evaluation.cases}
    manifests = {folder: _manifest(folder) for folder in dict.fromkeys(folders.values())}
    predicted = {}
    for case in evaluation.cases:
        manifest = manifests[folders[case.case_id]]
        files = {} if manifest is None else {one.file: one for one in manifest.cases}
        if Path(case.prediction).name in files:
            predicted[case.case_id] = files[Path(case.prediction).name]
    return EvaluatedModel(evaluation, manifests, predicted)


def _manifest(folder: Path) -> PredictionManifest | None:
    return read_manifest(folder) if folder.is_dir() else None


@dataclass(frozen=True)
class JudgedNetwork:
    """A network of the model that was evaluated.

    Attributes:
        card: its model.json.
        dataset: that it was trained on, which knows patients; None: it is gone.
        model_sha256: of the network, as it was evaluated or as it is published.
    """

    card: ModelCard
    dataset: PreparedDataset | None
    model_sha256: tuple[str, ...]


def evaluation_faults(evaluated: EvaluatedModel, networks: Sequence[JudgedNetwork]) -> list[str]:
    """Say why the scores may not stand on the card of a model: a sentence each.

    Args:
        evaluated: the evaluation.
        networks: all that the model asks together.
    """
    faults = []
    for folder, manifest in evaluated.manifests.items():
        if manifest is None:
            faults.append(
                f"the evaluation is of label maps in {folder}, which has no {MANIFEST} to say which model made them; "
                "name the folder that 'r2d2 predict' wrote"
            )
        elif (fault := _other_networks(manifest, networks)) is not None:
            faults.append(f"the label maps in {folder} were made by {fault}")
    cases = evaluated.evaluation.cases
    strangers = len(cases) - len(evaluated.predicted)
    if strangers and not faults:
        faults.append(f"{plural(strangers, 'evaluated case')} of {len(cases)} stand in no {MANIFEST}")
    seen = [fault for network in networks for fault in _seen_faults(evaluated, network.card, network.dataset)]
    return [*faults, *dict.fromkeys(seen)]


def _other_networks(manifest: PredictionManifest, networks: Sequence[JudgedNetwork]) -> str | None:
    """Say which networks made label maps, where it was not exactly these."""
    made_by = tuple(one.model_sha256 for one in manifest.ensemble) or (manifest.model_sha256,)
    if len(made_by) != len(networks):
        these = "by this one alone" if len(networks) == 1 else f"by these {len(networks)} together"
        together = f"{len(made_by)} networks together" if len(made_by) > 1 else "one network"
        return f"{together}, not {these}; predict and evaluate again"
    for network in networks:
        if not set(made_by) & set(network.model_sha256):
            made = ", ".join(f"{one[:12]}..." for one in made_by)
            own = network.card.model_sha256[:12]
            return f"another model (SHA-256 {made}, this one is {own}...); predict and evaluate again"
    return None


def _seen_faults(evaluated: EvaluatedModel, card: ModelCard, dataset: PreparedDataset | None) -> list[str]:
    """Refuse scores of scans, or of patients, that taught or chose this network or one that it started from."""
    splits = {case_id: card.split_of(case.source_sha256) for case_id, case in evaluated.predicted.items()}
    total, faults = len(evaluated.evaluation.cases), []
    for split, what in (("train", "trained on"), ("validation", "chosen by")):
        count = sum(one == split for one in splits.values())
        if count:
            of = f"{count} of {plural(total, 'evaluated case')} {_be(count)} {'one' if count == 1 else 'ones'}"
            faults.append(f"{of} that this network, or one that it started from, was {what}; evaluate on others")
    patients = set() if dataset is None else _patients(dataset, (*dataset.splits.train, *dataset.splits.validation))
    seen = [
        case
        for case in evaluated.evaluation.cases
        if case.patient_id in patients
        and splits.get(case.case_id) not in ("train", "validation")
        and (splits.get(case.case_id) == "test" or PSEUDONYM.fullmatch(case.patient_id))
    ]
    if seen:
        what = "another scan of a patient" if len(seen) == 1 else "other scans of patients"
        faults.append(f"{len(seen)} of {plural(total, 'evaluated case')} {_be(len(seen))} {what} that it learned from")
    return faults


def _be(count: int) -> str:
    return "is" if count == 1 else "are"


def _patients(dataset: PreparedDataset, case_ids: Iterable[str]) -> set[str]:
    return {dataset.case(case_id).patient_id for case_id in case_ids}


def scores_of(evaluated: EvaluatedModel, cards: Sequence[ModelCard]) -> ScoresOfModel:
    """Give the scores as the card has them: no case and no patient is named.

    Args:
        evaluated: the evaluation, of a single model.
        cards: of its networks; none of them learned from the scans.
    """
    evaluation = evaluated.evaluation
    splits = {
        "test" if any(card.split_of(case.source_sha256) == "test" for card in cards) else None
        for case in evaluated.predicted.values()
    }
    manifest = next(one for one in evaluated.manifests.values() if one is not None)
    words = describe_conventions(evaluation.conventions)
    return ScoresOfModel(
        split="test" if splits == {"test"} else "test and other" if "test" in splits else "other",
        cases=len(evaluation.cases),
        patients=len({case.patient_id for case in evaluation.cases}),
        metrics={
            metric: {label: _mean(score) for label, score in by_label.items()}
            for metric, by_label in evaluation.means.items()
        },
        overall={metric: _mean(score) for metric, score in evaluation.foreground.items()},
        volumes_ml=_volumes(evaluation),
        worst=tuple(_worst(rank, case) for rank, case in zip(WORST, worst_first(evaluation), strict=False)),
        inference=_inference(manifest.inference),
        model_sha256=manifest.model_sha256,
        conventions={name: text for name, text in words.items() if "," not in name},
    )


def _mean(score: MeanScore) -> Mean:
    return Mean(value=_finite(score.mean), low=_finite(score.low), high=_finite(score.high), n=score.n)


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _volumes(evaluation: Evaluation) -> dict[str, VolumeRange]:
    volumes = {}
    for number, label in enumerate(evaluation.labels):
        sizes = [case.scores[number].reference_ml for case in evaluation.cases]
        present = [size for size in sizes if size > 0]
        if present:
            low, median, high = (float(size) for size in np.percentile(present, PERCENTILES))
            absent = sum(size == 0 for size in sizes)
            volumes[label] = VolumeRange(low=low, median=median, high=high, n=len(present), absent=absent)
    return volumes


def _worst(rank: str, case: EvaluatedCase) -> WorstCase:
    scores = {one.label_name: {metric: _finite(value) for metric, value in one.values.items()} for one in case.scores}
    remarks = {one.label_name: status_words(one) for one in case.scores if status_words(one)}
    return WorstCase(rank=rank, scores=scores, remarks=remarks)


def _inference(settings: InferenceSettings) -> str | None:
    """Say how the network was applied where that is not the usual way."""
    usual = InferenceSettings()
    parts = []
    if settings.window is not None:
        height, width = settings.window
        parts.append(f"in windows of {height} × {width} pixels that overlap by {settings.overlap:.0%}")
    if settings.rules != usual.rules:
        parts.append("with rules for label maps other than those of its card" if settings.rules else "without rules")
    return "; ".join(parts) or None
