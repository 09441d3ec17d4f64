import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgmed import Splits
from imgmed.errors import SourceLayoutError, TooFewPatientsError
from imgmed.splits import patients_of, split_cases

patient_maps = st.dictionaries(
    st.text("abcdefgh", min_size=1, max_size=4), st.integers(0, 30).map(str), min_size=3, max_size=60
).filter(lambda patients: len(set(patients.values())) >= 3)
fractions = st.floats(0.01, 0.49)


@given(patient_maps, fractions, fractions, st.integers(2, 10), st.integers(0, 100))
def test_parts_are_disjoint_complete_and_never_empty(patients, validation, test, folds, seed):
    splits = split_cases(patients, validation, test, folds, seed)
    parts = (splits.train, splits.validation, splits.test)
    assert all(parts)
    assert sorted(case for part in parts for case in part) == sorted(patients)
    groups = [{patients[case] for case in part} for part in parts]
    assert sum(map(len, groups)) == len(set(patients.values()))

    others = sorted(splits.train + splits.validation)
    held_out = [case for fold in splits.folds for case in fold.validation]
    assert sorted(held_out) == others
    for train, held in splits.folds:
        assert train and held and sorted(train + held) == others
        assert not {patients[case] for case in train} & {patients[case] for case in held}


@given(patient_maps, st.integers(0, 5), st.randoms())
def test_the_order_of_the_file_system_does_not_matter(patients, seed, random):
    shuffled = list(patients.items())
    random.shuffle(shuffled)
    assert split_cases(dict(shuffled), 0.1, 0.2, 5, seed) == split_cases(patients, 0.1, 0.2, 5, seed)


@pytest.mark.parametrize(
    ("count", "expected"),
    [(3, (1, 1, 1)), (4, (2, 1, 1)), (5, (3, 1, 1)), (10, (7, 1, 2)), (200, (140, 20, 40))],
)
def test_sizes(count, expected):
    splits = split_cases({f"c{n}": f"p{n}" for n in range(count)}, 0.1, 0.2, 5, 0)
    assert (len(splits.train), len(splits.validation), len(splits.test)) == expected
    assert len(splits.folds) == min(5, count - expected[2])


def test_folds_differ_in_size_by_at_most_one_patient():
    splits = split_cases({f"c{n}": f"p{n}" for n in range(17)}, 0.1, 0.2, 5, 0)
    sizes = [len(fold.validation) for fold in splits.folds]
    assert max(sizes) - min(sizes) <= 1


def test_large_fractions_leave_someone_to_train_on():
    splits = split_cases({name: name for name in "abcd"}, 0.45, 0.5, 5, 0)
    assert min(len(splits.train), len(splits.validation), len(splits.test)) == 1


def test_the_seed_decides():
    patients = {f"c{n}": f"c{n}" for n in range(30)}
    assert split_cases(patients, 0.1, 0.2, 5, 0) == split_cases(patients, 0.1, 0.2, 5, 0)
    assert len({split_cases(patients, 0.1, 0.2, 5, seed).test for seed in range(5)}) == 5


def test_two_patients_are_too_few():
    with pytest.raises(TooFewPatientsError, match=r"at least 3 patients.*received 2"):
        split_cases({"a1": "a", "a2": "a", "b1": "b"}, 0.1, 0.2, 5, 0)


def test_patients_come_from_the_pattern():
    assert patients_of(["sub-01_l", "sub-01_r", "sub-02"], r"(sub-\d+)") == {
        "sub-01_l": "sub-01",
        "sub-01_r": "sub-01",
        "sub-02": "sub-02",
    }
    with pytest.raises(SourceLayoutError, match="finds no patient in case 'x7'"):
        patients_of(["sub-01", "x7"], r"(sub-\d+)")


def test_splits_survive_json():
    splits = split_cases({name: name for name in "abcdef"}, 0.1, 0.2, 3, 0)
    assert Splits.model_validate_json(splits.model_dump_json()) == splits
    assert set(splits.model_dump(mode="json")["folds"][0]) == {"train", "validation"}
