"""Scans that are unlike the training's: how often one like them is told so, by simulation, and what is caught."""

import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from dist_training.inference.familiarity import Familiarity, MeasuredHow, familiarity_of, familiarity_with
from imgmed import PreparationSettings, Volume, prepare_dataset, write_phantom_study
from imgmed.fingerprint.measures import CaseMeasures, ChannelMeasures, measure_case

CHANNELS = ("MRI",)


def scan(random: np.random.Generator) -> Volume:
    """A bright ball in the dark, in a field and with voxels that vary from scan to scan."""
    shape = tuple(random.integers(14, 19, 3))
    place = np.indices(shape).T - np.array(shape) / 2
    distance = np.linalg.norm(place, axis=-1).T
    array = random.normal(1, 0.2, shape) + random.uniform(2, 3) * (distance < random.uniform(5, 7))
    return Volume(array * random.uniform(10, 1000), np.diag([*random.lognormal(0, 0.05, 3), 1.0]))


def measured(volume: Volume, **facts: str) -> CaseMeasures:
    return measure_case(volume, None, {}, facts=facts)


def many(count: int, seed: int) -> list[CaseMeasures]:
    random = np.random.default_rng(seed)
    return [measured(scan(random)) for _ in range(count)]


def numbered(count: int) -> list[str]:
    return [str(number) for number in range(count)]


def learned(trained: list[CaseMeasures], **how: object) -> Familiarity:
    found = familiarity_with(trained, numbered(len(trained)), [], CHANNELS, **how)  # type: ignore[arg-type]
    assert found is not None
    return found


@pytest.fixture(scope="module")
def usual() -> Familiarity:
    return learned(many(60, seed=1))


def drawn(random: np.random.Generator) -> CaseMeasures:
    """Measures without a scan, of no bounds and no steps; the size in voxels is all the same."""
    spacing = tuple(random.lognormal(0, 0.3, 3).tolist())
    percentiles = tuple(np.cumsum(random.gamma(5.0, 20.0, 7)).tolist())
    top = percentiles[-1] * random.lognormal(0.5, 0.2)
    channel = ChannelMeasures(
        minimum=0.0, maximum=top, mean=percentiles[3], std=top * random.uniform(0.1, 0.3), percentiles=percentiles
    )
    return CaseMeasures(
        shape=(16, 16, 16),
        spacing_mm=spacing,
        orientation="RAS",
        canonical_shape=(16, 16, 16),
        canonical_spacing_mm=spacing,
        dtype="float32",
        channels=(channel,),
        labels={},
    )


@pytest.fixture(scope="module")
def studies() -> list[list[CaseMeasures]]:
    """Thirty of 80 scans."""
    random = np.random.default_rng(7)
    return [[drawn(random) for _ in range(80)] for _ in range(30)]


def test_of_scans_like_the_training_at_most_one_in_twenty_is_told_as_unlike(studies: list[list[CaseMeasures]]) -> None:
    """The share among 40 others than the 40 of the training; it varies with the study as well."""
    rates = []
    for some in studies:
        found = learned(some[:40])
        assert found.expected_rate == pytest.approx(2 / 41)
        rates.append(np.mean([bool(found.unlike(one, CHANNELS)) for one in some[40:]]))
    error = np.std(rates) / math.sqrt(len(rates))
    assert 0.02 < np.mean(rates) <= 2 / 41 + 2 * error  # the ranges are no wider than they need be


def test_scans_of_one_patient_do_not_vouch_for_each_other(studies: list[list[CaseMeasures]]) -> None:
    """Of 12 patients with four scans each that are all the same: taken for 48 patients, false alarms are too many."""
    rates = []
    for patients in (numbered(12) * 4, numbered(48)):
        found = [familiarity_with(some[:12] * 4, patients, [], CHANNELS) for some in studies]
        pairs = [(one, new) for one, some in zip(found, studies, strict=True) for new in some[12:]]
        alarms = [bool(one and one.unlike(new, CHANNELS)) for one, new in pairs]
        assert found[0] is not None
        rates.append((np.mean(alarms), found[0].expected_rate))
    (of_patients, expected), (of_scans, too_small) = rates
    assert (expected, too_small) == pytest.approx((1 / 13, 2 / 49))
    assert of_patients <= expected + 0.02
    assert of_scans > 2 * too_small


def altered(kind: str, volume: Volume) -> Volume:
    array, affine = volume.array, volume.affine
    match kind:
        case "spacing":
            return Volume(array, affine @ np.diag([1, 1, 2, 1.0]))
        case "extent":
            return Volume(array[: array.shape[0] // 2], affine)
        case "inverted":
            return Volume(array.max() - array, affine)
        case "constant":
            return Volume(np.full_like(array, 3.0), affine)
        case _:
            return Volume(np.where(np.arange(array.size).reshape(array.shape) == 0, array.max() * 50, array), affine)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("spacing", "spacing foot-head: "),
        ("extent", "extent left-right: "),
        ("inverted", "MRI 50th percentile: "),
        ("constant", "MRI "),
        ("artefact", "MRI reach of the brightest: "),
    ],
)
def test_what_is_unlike_is_told_and_how(usual: Familiarity, kind: str, said: str) -> None:
    random = np.random.default_rng(33)
    for _ in range(5):
        phrases = usual.unlike(measured(altered(kind, scan(random))), CHANNELS)
        assert any(phrase.startswith(said) and ", training " in phrase for phrase in phrases), phrases


def test_scale_matters_where_normalisation_leaves_it(usual: Familiarity) -> None:
    random = np.random.default_rng(3)
    same_units = [Volume(scan(random).array, np.eye(4)) for _ in range(30)]
    scaled = [measure_case(Volume(one.array / one.array.max(), one.affine), None, {}) for one in same_units]
    brighter = measure_case(Volume(same_units[0].array / same_units[0].array.max() * 30, np.eye(4)), None, {})
    assert not learned(scaled).unlike(brighter, CHANNELS)
    seen = learned(scaled, how=MeasuredHow(sees_units=True)).unlike(brighter, CHANNELS)
    assert any(phrase.startswith("MRI bright intensity: ") for phrase in seen)


def test_with_few_patients_the_rate_is_larger_and_said() -> None:
    scans = many(10, seed=2)
    assert familiarity_with(scans[:4], numbered(4), [], CHANNELS) is None
    assert familiarity_with(scans, ["one", "other"] * 5, [], CHANNELS) is None
    found = familiarity_with(scans, numbered(10), [], CHANNELS)
    assert found is not None
    assert found.expected_rate == pytest.approx(1 / 11)
    assert not any(found.unlike(one, CHANNELS) for one in scans)  # the widest of them is within


@pytest.mark.parametrize(("alarms", "count"), [(0, 20), (2, 20), (20, 20)])
def test_held_out_scans_are_counted_with_an_interval(usual: Familiarity, alarms: int, count: int) -> None:
    """Clopper and Pearson's, by SciPy."""
    random = np.random.default_rng(8)
    like = [one for one in many(60, seed=9) if not usual.unlike(one, CHANNELS)]
    odd = [measured(altered("inverted", scan(random))) for _ in range(alarms)]
    found = familiarity_with(many(60, seed=1), numbered(60), [*odd, *like[: count - alarms]], CHANNELS)
    assert found is not None
    assert (found.alarms, found.held_out) == (alarms, count)
    interval = stats.binomtest(alarms, count).proportion_ci(method="exact")
    assert (found.alarm_rate_low, found.alarm_rate_high) == pytest.approx((interval.low, interval.high))


def test_other_modalities_and_parts_of_the_body_are_told() -> None:
    random = np.random.default_rng(6)
    trained = [measured(scan(random), modality="MR", body_part=("HEAD", "BRAIN")[number % 2]) for number in range(20)]
    found = learned(trained)
    (heart,) = found.unlike(measured(scan(np.random.default_rng(1)), modality="MR", body_part="heart"), CHANNELS)
    assert heart == "body part HEART, training BRAIN, HEAD"
    ct = found.unlike(measured(scan(np.random.default_rng(1)), modality="CT"), CHANNELS)
    assert ct == ("modality CT, training MR",)
    lonely = [*trained, measured(scan(random), modality="PT", body_part="BRAIN")]  # by such words nothing is told
    assert (learned(lonely).modalities, learned(lonely).body_parts) == ((), ("BRAIN", "HEAD"))


def test_a_dataset_says_it_of_its_own_splits(tmp_path: Path) -> None:
    write_phantom_study(tmp_path / "study", cases=12, shape=(32, 32, 8))
    dataset = prepare_dataset(tmp_path / "study", tmp_path / "dataset", PreparationSettings(folds=2))
    found = familiarity_of(dataset)
    assert found is not None
    splits = dataset.splits
    assert (found.patients, found.held_out) == (len(splits.train), len(splits.validation) + len(splits.test))
    other = familiarity_of(dataset.with_fold(1))
    assert other is not None and other.ranges != found.ranges
    assert Familiarity.model_validate_json(found.model_dump_json()) == found
    (tmp_path / "dataset" / "fingerprint.json").unlink()
    assert familiarity_of(dataset.with_fold(0)) is None
