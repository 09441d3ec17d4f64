"""The fingerprint of a study: planted faults are named, healthy studies are left alone."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgmed.errors import NotADatasetError
from imgmed.fingerprint import FILE_NAME, Distribution, build_fingerprint, read_fingerprint, write_fingerprint
from imgmed.fingerprint.measures import CaseMeasures, measure_case
from imgmed.fingerprint.oddities import outliers
from imgmed.splits import Splits
from imgmed.volume import Volume

LABELS = {"background": 0, "liver": 1, "lesion": 2}
SHAPE = (24, 22, 10)


def case(seed: int, *, scale=1.0, offset=0.0, spacing=(1.0, 1.0, 3.0), shift=0, labels=(1, 2), shape=SHAPE):
    """A bright body in air with a liver and a lesion in it, varied a little by the seed."""
    rng = np.random.default_rng(seed)
    image = rng.normal(0, 2, shape).astype(np.float32)
    image[5:19, 4:18] += rng.normal(100, 30, (14, 14, shape[2]))
    label = np.zeros(shape, np.uint8)
    label[7 : 12 + seed % 2, 6:12, 2:8] = 1
    label[8:10, 8:10, 3 : 5 + seed % 3] = 2
    label[~np.isin(label, labels)] = 0
    label = np.roll(label, shift, axis=0)
    return measure_case(Volume(image * scale + offset, np.diag([*spacing, 1.0])), label, LABELS)


def healthy(count: int = 24) -> dict[str, CaseMeasures]:
    return {f"case{number:02}": case(number) for number in range(count)}


def fingerprint(measures, train=None, **options):
    ids = tuple(measures)
    splits = Splits(train=ids if train is None else train, validation=(), test=(), folds=())
    return build_fingerprint(measures, channels=("CT",), labels=LABELS, splits=splits, **options)


@pytest.mark.parametrize("count", [1, 4, 5, 24])
def test_nothing_is_odd_about_a_healthy_study(count):
    assert fingerprint(healthy(count)).odd == ()


@pytest.mark.parametrize(
    ("fault", "kind", "words"),
    [
        ({"spacing": (1.0, 1.0, 30.0)}, "spacing", "spacing in mm along foot-head: 30, 10 times the usual"),
        ({"spacing": (0.1, 1.0, 3.0)}, "spacing", "spacing in mm along left-right: 0.1, 1/10 of the usual"),
        ({"scale": 1000.0}, "intensity", "spread of the intensities of CT"),
        ({"scale": 0.001}, "intensity", "spread of the intensities of CT"),
        ({"scale": 0.0, "offset": 7.0}, "intensity", "7 in every voxel"),
        ({"offset": 1024.0}, "intensity", "darkest intensities of CT"),
        ({"shape": (24, 22, 40)}, "shape", "voxels along foot-head: 40, 4 times the usual"),
        ({"labels": ()}, "unlabelled", "no voxel is labelled"),
        ({"labels": (1,)}, "label_absent", "lesion: absent; 23 of 24 cases have it"),
        ({"shift": 12}, "label_outside_body", "of it lies in the air around the body"),
        ({"shift": -7}, "label_border", "liver: touches the border of the image (left)"),
    ],
)
def test_one_planted_fault_is_named_and_no_other_case(fault, kind, words):
    measures = healthy() | {"case05": case(5, **fault)}
    found = fingerprint(measures)
    assert {oddity.case_id for oddity in found.odd} == {"case05"}
    assert [o for o in found.odd_cases["case05"] if o.kind == kind and words in o.sentence], found.odd


def test_a_label_volume_far_from_the_others_is_named():
    measures = healthy()
    liver = measures["case03"].labels["liver"]
    for factor, is_odd in ((1.0, False), (1 / 2, False), (1 / 5, True), (5.0, True)):
        small = liver.model_copy(update={"volume_ml": liver.volume_ml * factor})
        changed = measures["case03"].model_copy(update={"labels": measures["case03"].labels | {"liver": small}})
        odd = fingerprint(measures | {"case03": changed}).odd
        assert [(o.case_id, o.kind) for o in odd] == ([("case03", "label_volume")] if is_odd else [])


def test_what_many_cases_share_is_a_remark_and_not_odd():
    measures = {
        f"case{n:02}": case(n, scale=1000.0 if n % 3 == 0 else 1.0, shift=-7 if n % 2 else 0) for n in range(24)
    }
    found = fingerprint(measures)
    assert not [oddity for oddity in found.odd if oddity.kind == "label_border"]
    assert found.labels["liver"].border_cases == 12
    assert found.labels["liver"].border_faces == {"left": 12}
    assert any("liver touches the border of the image in 12 of 24 cases (left 12)" in text for text in found.remarks)
    assert any("2 groups" in text and "16 cases around" in text and "8 cases around" in text for text in found.remarks)


def test_few_cases_say_that_they_are_few_but_name_what_is_wrong_by_itself():
    measures = healthy(3) | {"moved": case(1, shift=12, spacing=(9.0, 1.0, 3.0))}
    found = fingerprint(measures)
    assert {(oddity.case_id, oddity.kind) for oddity in found.odd if oddity.kind != "label_border"} == {
        ("moved", "label_outside_body")
    }
    assert any("fewer than 5 cases (4)" in text for text in found.remarks)


def test_shares_come_from_training_cases_alone():
    measures = {"a": case(0), "b": case(0), "c": case(0, labels=())}
    found = fingerprint(measures, train=("a", "c"))
    voxels = measures["a"].labels["liver"].voxels
    assert found.labels["liver"].training_share == voxels / (2 * 24 * 22 * 10)
    assert found.labels["liver"].cases == 2


def test_it_survives_the_disk_and_names_no_patient(tmp_path):
    found = fingerprint(healthy(6), duplicates=["case00 and case01 show the same image"])
    write_fingerprint(tmp_path, found)
    assert read_fingerprint(tmp_path) == found
    assert "patient" not in (tmp_path / FILE_NAME).read_text()
    assert found.spacing_mm[2] == Distribution.of([3.0])
    assert (found.orientations, found.dtypes) == ({"RAS": 6}, {"float32": 6})


def test_a_missing_or_damaged_file_is_named(tmp_path):
    with pytest.raises(NotADatasetError, match=r"has no fingerprint\.json"):
        read_fingerprint(tmp_path)
    (tmp_path / FILE_NAME).write_text('{"schema_version": 1, "cases": ')
    with pytest.raises(NotADatasetError, match="damaged"):
        read_fingerprint(tmp_path)


def test_cases_without_label_maps_have_a_fingerprint_too():
    volume = Volume(np.random.default_rng(0).normal(size=SHAPE).astype(np.float32), np.eye(4))
    found = fingerprint({name: measure_case(volume, None, {}) for name in "abcdef"})
    assert found.odd == () and found.remarks == ()
    assert found.labels["liver"].cases == 0


@given(values=st.lists(st.floats(1e-6, 1e6), max_size=30), factor=st.floats(1.1, 50))
def test_outliers_are_few_and_far(values, factor):
    named = {str(place): value for place, value in enumerate(values)}
    found = outliers(named, factor)
    assert len(found) <= len(values) / 2
    for value, median, limit in found.values():
        assert limit >= factor * (1 - 1e-9)
        assert max(value / median, median / value) > limit * (1 - 1e-9)


@given(
    values=st.lists(st.floats(0.01, 100), min_size=5, max_size=20, unique=True),
    unit=st.floats(1e-3, 1e3),
)
def test_outliers_do_not_depend_on_the_unit(values, unit):
    named = {str(place): value for place, value in enumerate(values)}
    rescaled = outliers({name: unit * value for name, value in named.items()}, 2.0)
    limit = next((outlier.limit for outlier in outliers(named, 2.0).values()), 2.0)
    median = float(np.exp(np.median(np.log(values))))
    at_the_limit = {n for n, v in named.items() if abs(abs(np.log(v / median)) / np.log(limit) - 1) < 1e-6}
    assert set(rescaled) - at_the_limit == set(outliers(named, 2.0)) - at_the_limit
