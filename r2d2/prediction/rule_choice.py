"""Rules tried on label maps that a model predicted, and chosen by what they do to its Dice."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dist_training.inference.postprocessing import MinimumSize, Rule, apply_rules
from imgmed import PreparedDataset, Volume, read_volume
from imgmed.fingerprint.measures import labelled_box
from imgmed.labels import to_label_map
from r2d2.prediction.rule_record import RuleChoice, RuleTrial, Verdict
from r2d2.prediction.rule_trials import Judgement, fewest_patients, harmed_by, judge
from r2d2_base.progress import UNWATCHED, Watcher
from segeval import Label, evaluate

__all__ = ["PredictedMaps", "choose"]


@dataclass(frozen=True)
class _Case:
    """A case whose arrays lie in a file: its rules, by name, and the affine of its voxels."""

    file: Path
    patient_id: str
    rules: Mapping[str, Rule]
    affine: np.ndarray


class PredictedMaps:
    """Label maps without rules, and their references: cut to what is labelled, on disk, one in memory at a time.

    Args:
        folder: for the files; it must exist.
        structures: label, or labels, of each name whose Dice counts.
        dataset: the references', which also says what is ignored in them.
    """

    def __init__(self, folder: Path, structures: Mapping[str, Label], dataset: PreparedDataset) -> None:
        self.structures = dict(structures)
        self.labels = dataset.labels
        self._folder, self._dataset = folder, dataset
        self._cases: list[_Case] = []

    def __len__(self) -> int:
        """How many cases there are."""
        return len(self._cases)

    @property
    def patients(self) -> list[str]:
        """Patient of each case."""
        return [case.patient_id for case in self._cases]

    def add(self, case_id: str, label_map: np.ndarray, rules: Mapping[str, Rule]) -> None:
        """Keep what was predicted for a case.

        Args:
            case_id: of the dataset.
            label_map: (i, j, k) label values, in the voxels of the scan.
            rules: to be tried on it, by name; a name that another case has and this one lacks changes nothing here.
        """
        case, path = self._dataset.case(case_id), self._dataset.reference(case_id)
        reference = to_label_map(read_volume(path).array, str(path))
        box = labelled_box((label_map > 0) | (reference > 0)) or ((0, 1),) * 3
        part = tuple(slice(first, last) for first, last in box)
        file = self._folder / f"{len(self)}.npz"
        np.savez_compressed(file, predicted=label_map[part], reference=reference[part])
        self._cases.append(_Case(file, case.patient_id, rules, np.array(case.affine)))

    def ruled(self, names: Sequence[str], others: Iterable[Sequence[str]]) -> Iterator[list[_Ruled]]:
        """Apply lists of rules to each case.

        Args:
            names: of the rules of the first list.
            others: names of the rules of the other lists.

        Yields:
            For each case what each list makes of it, the first one first.
        """
        lists = [list(names), *map(list, others)]
        for case in self._cases:
            with np.load(case.file) as arrays:
                predicted, reference = arrays["predicted"], arrays["reference"]
            made: dict[tuple[str, ...], _Ruled] = {}
            for some in lists:
                known = tuple(name for name in some if name in case.rules)
                if known not in made:
                    rules = [case.rules[name] for name in known]
                    ruled = apply_rules(Volume(predicted, case.affine), rules, self.labels)
                    digest = hashlib.sha256(ruled.array.tobytes()).hexdigest()
                    same = next((one for one in made.values() if one.digest == digest), None)
                    made[known] = same or _Ruled(digest, self._dice(reference, ruled))
            yield [made[tuple(name for name in some if name in case.rules)] for some in lists]

    def _dice(self, reference: np.ndarray, predicted: Volume) -> NDArray[np.float64]:
        scores = evaluate(
            reference,
            predicted.array,
            self.structures,
            predicted.spacing_mm,
            ignore_label=self._dataset.description.ignore_label,
            metrics=("dice",),
            on_empty="monai_include_empty",
        )
        return np.array([score["dice"] for score in scores.scores])


@dataclass(frozen=True, eq=False)
class _Ruled:
    """A label map after rules: what tells it from others, and the Dice of each structure."""

    digest: str
    dice: NDArray[np.float64]


def choose(
    choice: RuleChoice, candidates: Mapping[str, Rule], maps: PredictedMaps, watcher: Watcher = UNWATCHED
) -> RuleChoice:
    """Try rules on label maps, and keep those that help.

    Args:
        choice: says at which level; what is tried is added.
        candidates: the rules by name, in the order in which they follow each other, with the numbers that the model is
            to have; a case may have others of the same names.
        maps: the cases.
        watcher: may ask the work to end between cases.

    Returns:
        The choice with its trials.
    """
    names = list(candidates)
    base, effects, digests = _tried(maps, (), [[name] for name in names], watcher)
    verdicts = _untested(names, digests)
    tested = [place for place, name in enumerate(names) if name not in verdicts]
    judgements = judge(effects[tested], maps.patients, choice.alpha)
    judged = {names[place]: one for place, one in zip(tested, judgements, strict=True)}
    for name, one in judged.items():
        if one.harmed and one.is_better:
            harmed = ", ".join(list(maps.structures)[place] for place in one.harmed)
            verdicts[name] = "harms", f"it makes {harmed} worse"
        elif not one.is_kept:
            verdicts[name] = "not better", ""
    kept = _together([name for name in names if name not in verdicts], candidates, judged, maps, choice.alpha, watcher)
    verdicts |= {name: ("adds nothing", "") for name in judged if name not in verdicts and name not in kept}
    after = base.mean() if not kept else base.mean() + _tried(maps, (), [kept], watcher)[1].mean()
    needed = fewest_patients(len(tested), choice.alpha)
    note = ""
    if tested and len(set(maps.patients)) < needed:
        note = f"of {len(tested)} rules that were tested, none can be kept with fewer than {needed} patients"
    trials = [
        _trial(candidates[name], verdicts.get(name, ("kept", "")), effect, changed, judged.get(name), maps)
        for name, effect, changed in zip(names, effects, digests, strict=True)
    ]
    return choice.model_copy(
        update={"dice": float(base.mean()), "dice_with_rules": float(after), "trials": tuple(trials), "note": note}
    )


def _tried(
    maps: PredictedMaps, before: Sequence[str], lists: Sequence[Sequence[str]], watcher: Watcher
) -> tuple[NDArray[np.float64], NDArray[np.float64], list[tuple[str, ...]]]:
    """The Dice (cases, structures) after the rules `before`, and what each list of rules makes of that.

    Differences are (lists, cases, structures); with them, for each list, what tells its label maps from others, for
    each case; "" where it is as after `before`.
    """
    base, differences, digests = [], [], []
    for first, *others in maps.ruled(before, lists):
        watcher.check()
        base.append(first.dice)
        differences.append([one.dice - first.dice for one in others])
        digests.append(["" if one.digest == first.digest else one.digest for one in others])
    shape = (len(base), len(lists), len(maps.structures))
    return np.array(base), np.array(differences).reshape(shape).swapaxes(0, 1), list(zip(*digests, strict=True))


def _untested(names: Sequence[str], digests: Sequence[tuple[str, ...]]) -> dict[str, tuple[Verdict, str]]:
    """The rules that do nothing, or nothing of their own: told by the label maps alone, whatever the references are."""
    verdicts: dict[str, tuple[Verdict, str]] = {}
    first: dict[tuple[str, ...], str] = {}
    for name, made in zip(names, digests, strict=True):
        if not any(made):
            verdicts[name] = "changes nothing", ""
        elif first.setdefault(made, name) != name:
            verdicts[name] = "as another", f"it does the same as {first[made]}"
    return verdicts


def _together(
    passed: Sequence[str],
    candidates: Mapping[str, Rule],
    judged: Mapping[str, Judgement],
    maps: PredictedMaps,
    alpha: float,
    watcher: Watcher,
) -> list[str]:
    """Let the rules that help alone follow each other; each stays where it still helps after those before it."""
    best: dict[object, str] = {}
    for name in passed:
        rule = candidates[name]
        key = (rule.kind, rule.label) if isinstance(rule, MinimumSize) else name
        if key not in best or judged[name].difference.mean > judged[best[key]].difference.mean:
            best[key] = name
    kept: list[str] = []
    for name in (name for name in passed if name in best.values()):
        effect = _tried(maps, kept, [[*kept, name]], watcher)[1][0]
        if effect.mean() > 0 and not harmed_by(effect, maps.patients, alpha):
            kept.append(name)
    return kept


def _trial(
    rule: Rule,
    verdict: tuple[Verdict, str],
    effect: NDArray[np.float64],
    digests: tuple[str, ...],
    judged: Judgement | None,
    maps: PredictedMaps,
) -> RuleTrial:
    word, reason = verdict
    changed = sum(map(bool, digests))
    if judged is None:
        return RuleTrial(rule=rule, verdict=word, reason=reason, changed=changed)
    score = judged.difference
    is_bounded = score.patients > 1
    return RuleTrial(
        rule=rule,
        verdict=word,
        reason=reason,
        changed=changed,
        difference=score.mean,
        low=score.low if is_bounded else None,
        high=score.high if is_bounded else None,
        p=judged.p,
        p_holm=judged.p_holm,
        per_structure=dict(zip(maps.structures, effect.mean(axis=0).tolist(), strict=True)),
    )
