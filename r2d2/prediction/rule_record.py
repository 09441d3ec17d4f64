"""postprocessing.json: which rules were tried on a model's label maps, what each did, and which are kept."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from dist_training.inference.postprocessing import Rule
from r2d2.errors import PredictionError
from r2d2_base.files import read_json, write_json

__all__ = ["RULE_CHOICE", "RuleChoice", "RuleTrial", "Verdict", "read_rule_choice", "write_rule_choice"]

RULE_CHOICE = "postprocessing.json"

Verdict = Literal["kept", "not better", "harms", "adds nothing", "as another", "changes nothing"]

_FROZEN = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class RuleTrial(BaseModel):
    """A rule that was tried.

    Attributes:
        rule: with its numbers, as the model would follow it.
        verdict: "kept"; "not better": the test does not say that it helps; "harms": it helps on average, and makes a
            structure worse; "adds nothing": it helps, but not on top of the rules that are kept before it; not tested:
            "as another" does the same to all label maps as a rule before it, "changes nothing" alters none.
        reason: which structure it harms, which rule it is like.
        changed: cases whose label map it alters.
        difference: of the mean foreground Dice, with the rule less without, over the cases.
        low, high: 95 % bootstrap interval of that over patients; null with fewer than two.
        p: one-sided Wilcoxon signed-rank test over patients; null where not tested.
        p_holm: corrected for all rules that were tested.
        per_structure: the difference for each label or region.
    """

    model_config = _FROZEN

    rule: Rule
    verdict: Verdict
    reason: str = ""
    changed: int
    difference: float = 0.0
    low: float | None = None
    high: float | None = None
    p: float | None = None
    p_holm: float | None = None
    per_structure: dict[str, float] = {}


class RuleChoice(BaseModel):
    """Content of postprocessing.json.

    Attributes:
        model_sha256: of the networks whose label maps were looked at.
        dataset: name of the prepared dataset.
        cases_from: "validation": those of the one network; "out_of_fold": of each network of a cross-validation its
            own, which together are all but the test cases.
        cases: how many.
        patients: of whom; they are what is tested over.
        alpha: level of the tests.
        convention: what a structure is worth that is missing.
        dice: mean foreground Dice over the cases without any rule; null where none was predicted.
        dice_with_rules: with those that are kept.
        trials: every rule, in the order in which rules follow each other.
        note: why there was nothing to choose.
    """

    model_config = _FROZEN

    schema_version: Literal[1] = 1
    model_sha256: tuple[str, ...]
    dataset: str
    cases_from: Literal["validation", "out_of_fold"]
    cases: int
    patients: int
    alpha: float
    convention: str = "Dice of a structure in neither label map is 1, in one alone 0."
    dice: float | None = None
    dice_with_rules: float | None = None
    trials: tuple[RuleTrial, ...] = ()
    note: str = ""

    @property
    def kept(self) -> tuple[Rule, ...]:
        """The rules that the model is to follow, in their order."""
        return tuple(trial.rule for trial in self.trials if trial.verdict == "kept")

    @property
    def tested(self) -> tuple[RuleTrial, ...]:
        """The rules that were tested: those that do something of their own."""
        return tuple(trial for trial in self.trials if trial.p is not None)


def write_rule_choice(folder: Path, choice: RuleChoice) -> Path:
    """Write postprocessing.json into a model's folder, and give its path."""
    path = folder / RULE_CHOICE
    write_json(path, choice.model_dump(mode="json"))
    return path


def read_rule_choice(folder: Path) -> RuleChoice | None:
    """Read postprocessing.json of a model's folder; None where no rules were chosen.

    Raises:
        PredictionError: it is damaged.
    """
    path = folder / RULE_CHOICE
    if not path.exists():
        return None
    try:
        return RuleChoice.model_validate(read_json(path))
    except (ValidationError, ValueError) as error:
        raise PredictionError(f"{path} is damaged; choose the rules again with 'r2d2 choose-rules'") from error
