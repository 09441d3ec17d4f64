"""Rules that are chosen: by label maps that are drawn so that it is known which rules help, and by simulation."""

import math
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy import stats

from dist_training.inference.postprocessing import parse_rule
from imgmed import PreparationSettings, PreparedDataset, Volume, prepare_dataset
from r2d2.prediction.rule_candidates import ReferenceParts, candidates_of
from r2d2.prediction.rule_choice import PredictedMaps, choose
from r2d2.prediction.rule_record import RuleChoice, RuleTrial
from r2d2.prediction.rule_trials import fewest_patients, judge, p_values

LABELS = {"background": 0, "organ": 1, "lesion": 2}
AFFINE = np.diag([1.0, 1.0, 5.0, 1.0])  # 5 cubic millimetres a voxel
CASES = 10


def reference(number: int) -> np.ndarray:
    """An organ with two lesions in it, which are no part of each other."""
    array = np.zeros((20, 20, 8), np.uint8)
    array[4:15, 4 : 13 + number % 3, 1:7] = 1
    array[6:8, 6:8, 3:5] = 2
    array[11:13, 9:11, 3:5] = 2
    return array


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> PreparedDataset:
    folder = tmp_path_factory.mktemp("rules")
    for name in ("images", "labels"):
        (folder / "study" / name).mkdir(parents=True)
    for number in range(CASES):
        image = np.random.default_rng(number).normal(100, 10, (20, 20, 8)).astype(np.float32)
        nib.save(nib.Nifti1Image(image, AFFINE), folder / f"study/images/c{number}.nii.gz")
        nib.save(nib.Nifti1Image(reference(number), AFFINE), folder / f"study/labels/c{number}.nii.gz")
    (folder / "study/labels.txt").write_text("")
    return prepare_dataset(folder / "study", folder / "dataset", PreparationSettings(labels=LABELS, folds=2))


def tried(dataset: PreparedDataset, folder: Path, predicted: list[np.ndarray], *words: str) -> dict[str, RuleTrial]:
    structures = {name: value for name, value in LABELS.items() if value}
    maps = PredictedMaps(folder, structures, dataset)
    rules = {word: parse_rule(word) for word in words}
    for number, array in enumerate(predicted):
        maps.add(f"c{number}", array, rules)
    empty = RuleChoice(
        model_sha256=("0",), dataset="d", cases_from="validation", cases=CASES, patients=CASES, alpha=0.05
    )
    choice = choose(empty, rules, maps)
    kept = [trial for trial in choice.trials if trial.verdict == "kept"]
    assert choice.kept == tuple(trial.rule for trial in kept)
    return dict(zip(words, choice.trials, strict=True))


def with_faults(number: int) -> np.ndarray:
    """The organ has an island and a hole, the lesions are right."""
    array = reference(number)
    array[17:19, 17 : 18 + number % 2, 0 : 2 + number % 4] = 1
    array[9, 5 : 6 + number % 3, 2] = 0
    return array


def test_rules_that_help_are_kept_and_those_that_harm_are_not(dataset: PreparedDataset, tmp_path: Path) -> None:
    """Dice by hand: the rules set the organ right, and the largest lesion alone is half of both."""
    words = ("largest_component:organ", "largest_component:lesion", "minimum_size:organ:0.5", "minimum_size:organ:0.01")
    predicted = [with_faults(number) for number in range(CASES)]
    trials = tried(dataset, tmp_path, predicted, *words, "only_inside:lesion:organ", "fill_holes:organ")
    assert {word: trial.verdict for word, trial in trials.items()} == {
        "largest_component:organ": "kept",
        "largest_component:lesion": "not better",
        "minimum_size:organ:0.5": "as another",
        "minimum_size:organ:0.01": "changes nothing",
        "only_inside:lesion:organ": "changes nothing",
        "fill_holes:organ": "kept",
    }
    gains, losses = [], []
    for number, array in enumerate(predicted):
        truth, ruled = reference(number) == 1, array == 1
        island = ruled.copy()
        island[15:] = False
        before, after = (2 * (truth & one).sum() / (truth.sum() + one.sum()) for one in (ruled, island))
        gains.append((after - before) / 2)
        losses.append((2 / 3 - 1) / 2)
    organ, lesion = trials["largest_component:organ"], trials["largest_component:lesion"]
    assert organ.difference == pytest.approx(np.mean(gains))
    assert lesion.difference == pytest.approx(np.mean(losses))
    assert (organ.low or 0) < organ.difference < (organ.high or 0)
    assert organ.changed == CASES
    assert organ.per_structure["lesion"] == 0
    expected = stats.wilcoxon(np.round(gains, 12), alternative="greater", method="exact").pvalue
    assert organ.p == pytest.approx(expected)
    assert organ.p_holm == pytest.approx(3 * expected)  # three rules were tested, whose others are not smaller


def test_of_two_rules_that_do_the_same_one_is_tested(dataset: PreparedDataset, tmp_path: Path) -> None:
    predicted = []
    for number in range(CASES):
        array = reference(number)
        array[array == 2] = 1
        array[6:8, 6:8, 3:5] = 2  # one lesion is found ...
        array[17, 17, : 2 + number % 4] = 2  # ... and one is made up
        predicted.append(array)
    trials = tried(dataset, tmp_path, predicted, "largest_component:lesion", "only_inside:lesion:organ")
    assert trials["largest_component:lesion"].verdict == "kept"
    assert trials["only_inside:lesion:organ"].verdict == "as another"
    assert "largest_component:lesion" in trials["only_inside:lesion:organ"].reason


def test_a_rule_that_helps_on_average_and_harms_a_structure_is_not_kept() -> None:
    differences = np.stack([np.linspace(0.1, 0.2, CASES), np.linspace(-0.02, -0.01, CASES)], axis=1)[np.newaxis]
    (judged,) = judge(differences, [str(number) for number in range(CASES)])
    assert judged.is_better
    assert judged.harmed == (1,)
    assert not judged.is_kept


def test_a_false_finding_that_goes_counts(dataset: PreparedDataset, tmp_path: Path) -> None:
    """A structure in neither counts 1, one that is made up 0: so emptying it is a gain of 1 for the structure."""
    predicted = [reference(number) for number in range(CASES)]
    maps = PredictedMaps(tmp_path, {"organ": 1, "other": 2}, dataset)
    for number, array in enumerate(predicted):
        maps.add(f"c{number}", np.where(array == 2, 1, array).astype(np.uint8), {})
    ((first, *_), *_) = maps.ruled([], [])
    assert first.dice[1] == 0


def test_patients_are_the_unit() -> None:
    """Ten cases of four patients are four patients: p is not below a sixteenth."""
    differences = np.full((1, 10, 1), 0.1) + np.arange(10).reshape(1, 10, 1) / 100
    (of_cases,) = judge(differences, [str(number) for number in range(10)])
    (of_patients,) = judge(differences, [str(number % 4) for number in range(10)])
    assert (of_cases.p, of_cases.is_kept) == (2**-10, True)
    assert (of_patients.p, of_patients.is_kept) == (2**-4, False)


@pytest.mark.parametrize("rules", [1, 3, 10, 20])
def test_fewest_patients_are_just_enough(rules: int) -> None:
    needed = fewest_patients(rules, 0.05)
    assert rules * 2.0**-needed < 0.05 <= rules * 2.0 ** -(needed - 1)
    gains = np.tile(np.arange(1.0, needed + 1), (rules, 1))
    assert p_values(gains, [str(number) for number in range(needed)])[1].max() < 0.05
    assert p_values(gains[:, 1:], [str(number) for number in range(needed - 1)])[1].min() >= 0.05


def test_of_rules_that_do_nothing_one_in_twenty_choices_keeps_any() -> None:
    """Four rules on eight patients, differences that are related and symmetric about zero; ties and zeros among them.

    The odds that a choice keeps any are at most 0.05: so many of 250 would come once in a thousand times.
    """
    random, choices, patients = np.random.default_rng(5), 250, [str(number) for number in range(8)]
    shared = random.normal(size=(choices, 1, 8))
    differences = np.round(shared + random.normal(size=(choices, 4, 8)), 1)
    errors = sum(bool((p_values(one, patients)[1] < 0.05).any()) for one in differences)
    assert errors <= stats.binom.ppf(0.999, choices, 0.05)
    assert errors > 0  # the test can find something
    helped = differences + np.array([3.0, 0, 0, 0]).reshape(1, 4, 1)
    assert np.mean([p_values(one, patients)[1][0] < 0.05 for one in helped[:40]]) > 0.8


def test_p_and_its_correction_by_hand() -> None:
    """Each p is that of n patients who differ, all for the better: 2^-n. Holm: sorted, times 3, 2, 1."""
    rows = np.zeros((3, 9))
    for row, count in zip(rows, (9, 6, 7), strict=True):
        row[:count] = np.arange(1, count + 1)
    p, corrected = p_values(rows, [str(number) for number in range(9)])
    assert p.tolist() == [2**-9, 2**-6, 2**-7]
    assert corrected.tolist() == [3 * 2**-9, 2**-6, 2 * 2**-7]


def test_candidates_say_what_references_never_break(dataset: PreparedDataset) -> None:
    rules = candidates_of(dataset, dataset.cases)
    assert rules["minimum_size:lesion:low"].ml == 0.04  # type: ignore[union-attr]  8 voxels of 5 cubic millimetres
    assert "only_inside:lesion:organ" in rules
    assert "only_inside:organ:lesion" in rules  # its one part surrounds them
    kinds = [name.partition(":")[0] for name in rules]
    assert kinds == sorted(kinds, key=["largest_component", "minimum_size", "only_inside", "fill_holes"].index)

    parts = ReferenceParts(LABELS)
    for number in range(4):
        array = reference(number)
        array[17:19, 17, :] = number == 3  # a part of the organ without lesions, in one reference
        parts.add(Volume(array, AFFINE))
    few = parts.candidates()
    assert "only_inside:organ:lesion" not in few
    assert "only_inside:lesion:organ" in few


def test_rules_are_written_as_they_are_read() -> None:
    for word in ("largest_component:a", "minimum_size:a:0.05", "fill_holes:a", "only_inside:a:b"):
        assert parse_rule(word).text == word
    assert math.isclose(parse_rule(parse_rule("minimum_size:a:1e-7").text).ml, 1e-7)  # type: ignore[union-attr]
