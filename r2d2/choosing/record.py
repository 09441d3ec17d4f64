"""choice.json: which configurations were compared, what each reached, and which is to be used."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from r2d2_base.errors import ConfigurationError
from r2d2_base.files import read_json, write_json
from segeval import MeanScore

__all__ = [
    "CHOICE",
    "Budget",
    "CandidateRecord",
    "ChoiceRecord",
    "FoldRecord",
    "FoundScore",
    "Number",
    "PairRecord",
    "ScoreRecord",
    "number",
    "read_choice",
    "score_record",
    "write_choice",
]

CHOICE = "choice.json"

Number = float | Literal["inf", "-inf"] | None
"""A figure; null where there is none."""

_FROZEN = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ScoreRecord(BaseModel):
    """A mean over cases.

    Attributes:
        mean: of the metric, each case's value being the mean over its labels.
        low, high: bootstrap interval over patients; null with fewer than two.
        cases: how many are in it.
        patients: of whom.
    """

    model_config = _FROZEN

    mean: Number
    low: Number
    high: Number
    cases: int
    patients: int


class FoldRecord(BaseModel):
    """What became of one fold of a configuration.

    Attributes:
        fold: from 0.
        score: mean over the cases that it held out; of the folds that chose.
        epochs: that were trained.
        best_epoch: whose network was kept.
        minutes: of training and validation.
        ended: why it ended before its last epoch; null: it had all of them.
    """

    model_config = _FROZEN

    fold: int
    score: Number
    epochs: int
    best_epoch: int | None
    minutes: float
    ended: str | None = None


class CandidateRecord(BaseModel):
    """What could be chosen: a configuration, or two together.

    Attributes:
        name: of the configuration, or both with "+".
        folder: relative to that of choice.json; "2d" holds fold-0 ... with the networks. Null for two together.
        members: the configurations that it is made of; one, or two whose probabilities are averaged.
        dataset: prepared dataset of the (first) configuration.
        architecture: of each member's network.
        dimensions: 2 where it takes slices, 3 where it takes volumes, of each member.
        neighbours: slices on either side that a network sees too, of each member; 1 and more: 2.5D.
        parameters: numbers that its networks of one fold hold; what decides between those that are alike.
        minutes: of training and validation, all folds together; of two together the sum.
        score: over the folds that chose: the best of several is high by luck too, so this is not what to expect.
        folds: of a configuration; none of two together, whose folds are those of the members.
    """

    model_config = _FROZEN

    name: str
    folder: str | None
    members: tuple[str, ...]
    dataset: str
    architecture: tuple[str, ...]
    dimensions: tuple[int, ...]
    neighbours: tuple[int, ...]
    parameters: int
    minutes: float
    score: ScoreRecord
    folds: tuple[FoldRecord, ...] = ()


class PairRecord(BaseModel):
    """Two candidates, case by case.

    Attributes:
        first, second: their names.
        difference: mean over cases of second less first.
        low, high: its bootstrap interval over patients, not corrected for the number of pairs.
        patients: over whom the test is.
        p: two-sided Wilcoxon signed-rank test; null where there is none.
        p_holm: corrected for all pairs of candidates.
        method: "exact", "normal" or "none".
        reason: why there is no p, or why it cannot be small.
        better: the one that is shown to be better; null: neither.
    """

    model_config = _FROZEN

    first: str
    second: str
    difference: Number
    low: Number
    high: Number
    patients: int
    p: float | None
    p_holm: float | None
    method: str
    reason: str
    better: str | None


class Budget(BaseModel):
    """What every training was given.

    Attributes:
        epochs: at most.
        max_minutes: at most, of each training; null: any.
        seed: of weights and order.
    """

    model_config = _FROZEN

    epochs: int
    max_minutes: float | None
    seed: int


class FoundScore(BaseModel):
    """What the chosen one reaches in cases that did not choose it.

    Attributes:
        source: "test": the test cases, by the chosen networks of all folds together, which is what there is to use;
            "nested_folds": of each fold the cases, by the candidate that the other folds choose.
        score: the mean.
        choices: of nested folds, the candidate that was chosen for each.
        remark: what must be known of it.
    """

    model_config = _FROZEN

    source: Literal["test", "nested_folds"]
    score: ScoreRecord
    choices: dict[int, str] = {}
    remark: str = ""


class ChoiceRecord(BaseModel):
    """Content of choice.json.

    Attributes:
        r2d2: version that wrote it.
        dataset: name of the study.
        metric: what was compared.
        better: whether higher or lower is better.
        confidence: of the intervals; tests are at 1 minus this.
        labels: over which a case's value is a mean.
        cases: that chose, each scored by networks that had not seen it.
        patients: of whom.
        folds: how many.
        budget: of every training.
        candidates: in the order given, then two together.
        pairs: every two of them.
        best: whose mean is best.
        alike: it, and those that it cannot be told apart from.
        chosen: the one to use: the smallest of those; the best, where patients are too few for any difference to be
            shown.
        networks: its folders, relative to that of choice.json: `r2d2 predict` takes them as models.
        reason: why that one, in a sentence.
        expected: what it reaches in cases that did not choose it.
        notes: what must be known besides.
    """

    model_config = _FROZEN

    schema_version: Literal[1] = 1
    r2d2: str
    dataset: str
    metric: str
    better: Literal["higher", "lower"]
    confidence: float
    labels: tuple[str, ...]
    cases: int
    patients: int
    folds: int
    budget: Budget
    candidates: tuple[CandidateRecord, ...]
    pairs: tuple[PairRecord, ...]
    best: str
    alike: tuple[str, ...]
    chosen: str
    networks: tuple[str, ...]
    reason: str
    expected: FoundScore
    notes: tuple[str, ...] = ()

    def candidate(self, name: str) -> CandidateRecord:
        """Give one of the candidates by its name."""
        return next(one for one in self.candidates if one.name == name)

    def pair(self, one: str, other: str) -> PairRecord:
        """Give what two candidates were found to be beside each other, in either order."""
        return next(pair for pair in self.pairs if {pair.first, pair.second} == {one, other})


def number(value: float) -> Number:
    """Say a figure as JSON can.

    >>> number(0.5), number(math.nan), number(-math.inf)
    (0.5, None, '-inf')
    """
    return None if math.isnan(value) else value if math.isfinite(value) else "inf" if value > 0 else "-inf"


def score_record(score: MeanScore) -> ScoreRecord:
    """Say a mean as JSON can."""
    return ScoreRecord(
        mean=number(score.mean),
        low=number(score.low),
        high=number(score.high),
        cases=score.n,
        patients=score.patients,
    )


def write_choice(folder: Path, choice: ChoiceRecord) -> Path:
    """Write choice.json into the folder of a choice, and give its path."""
    path = folder / CHOICE
    write_json(path, choice.model_dump(mode="json"))
    return path


def read_choice(folder: Path) -> ChoiceRecord:
    """Read choice.json of a folder.

    Raises:
        ConfigurationError: there is none, or it is damaged.
    """
    path = folder / CHOICE
    try:
        return ChoiceRecord.model_validate(read_json(path))
    except FileNotFoundError:
        raise ConfigurationError(
            f"{folder} holds no finished choice; the same 'r2d2 choose' goes on with one"
        ) from None
    except (ValidationError, ValueError) as error:
        raise ConfigurationError(f"{path} is damaged; 'r2d2 choose' writes it again from what is beside it") from error
