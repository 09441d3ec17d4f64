import json
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgmed import Splits
from imgmed.errors import (
    InvalidSplitsError,
    LeakError,
    SourceLayoutError,
    SourceNotFoundError,
    TooFewPatientsError,
    UnknownCaseError,
)
from imgmed.splits import (
    Fold,
    check_no_leak,
    extend_splits,
    fixed_splits,
    folded_splits,
    group_cases,
    patients_of,
    read_splits,
    split_cases,
)

pytestmark = pytest.mark.slow

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


def test_fewer_than_three_patients_are_all_trained_on():
    splits = split_cases({"a1": "a", "a2": "a", "b1": "b"}, 0.1, 0.2, 5, 0)
    assert (splits.train, splits.validation, splits.test) == (("a1", "a2", "b1"), (), ())
    assert sorted(fold.validation for fold in splits.folds) == [("a1", "a2"), ("b1",)]
    copies = split_cases({name: name for name in "abc"}, 0.1, 0.2, 5, 0, duplicates=[("b", "a")])
    assert copies.train == ("a", "b", "c") and len(copies.folds) == 2
    alone = split_cases({"a": "a"}, 0.1, 0.2, 5, 0)
    assert (alone.train, alone.folds) == (("a",), ())
    grown = extend_splits(alone, {name: name for name in "abcdefghij"}, 0.1, 0.2, 0, folds=5)
    assert (len(grown.train), len(grown.validation), len(grown.test), len(grown.folds)) == (7, 1, 2, 5)


@pytest.mark.parametrize(
    ("validation", "test", "sizes"), [(0, 0, (10, 0, 0)), (0, 0.2, (8, 0, 2)), (0.1, 0, (9, 1, 0)), (0.9, 0, (1, 9, 0))]
)
def test_a_fraction_of_0_keeps_nobody(validation, test, sizes):
    patients = {f"c{n}": f"c{n}" for n in range(10)}
    splits = split_cases(patients, validation, test, 5, 0)
    assert (len(splits.train), len(splits.validation), len(splits.test)) == sizes
    assert fixed_splits(dict.fromkeys(patients, "train"), patients, validation, test, 5, 0) == splits


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


# --- groups -------------------------------------------------------------------------------------------------------


def components(patients: dict, pairs: list) -> list[set]:
    """Connected components by repeated merging, written without regard to speed."""
    sets = [{case for case in patients if patients[case] == patient} for patient in sorted(set(patients.values()))]
    for first, second in pairs:
        touched = [members for members in sets if {first, second} & members]
        sets = [members for members in sets if members not in touched] + [set().union(*touched)]
    return sets


@st.composite
def studies(draw):
    """Patients of many cases, some of them copies, each case with labels out of 1 to 4."""
    patients = draw(patient_maps)
    cases = st.sampled_from(sorted(patients))
    pairs = draw(st.lists(st.tuples(cases, cases), max_size=4))
    strata = {case: draw(st.frozensets(st.integers(1, 4))) for case in sorted(patients)}
    return patients, pairs, strata


@given(studies())
def test_groups_are_the_connected_components(study):
    patients, pairs, _ = study
    groups = group_cases(patients, pairs)
    found = [{case for case in groups if groups[case] == group} for group in set(groups.values())]
    assert sorted(map(sorted, found)) == sorted(map(sorted, components(patients, pairs)))


def test_a_duplicate_of_no_case_is_refused():
    with pytest.raises(UnknownCaseError, match="'x'"):
        group_cases({"a": "a"}, [("a", "x")])


# --- drawing, with copies and labels ------------------------------------------------------------------------------


def check_whole(splits: Splits, patients: dict, pairs: list) -> None:
    """Every case once in the parts and once in each fold; no component in two parts or on two sides of a fold."""
    sides = [(splits.train, splits.validation, splits.test)]
    sides += [(train, held, splits.test) for train, held in splits.folds]
    for parts in sides:
        assert sorted(case for part in parts for case in part) == sorted(patients)
        for members in components(patients, pairs):
            assert sum(bool(members & set(part)) for part in parts) == 1
    held_out = sorted(case for fold in splits.folds for case in fold.validation)
    assert held_out == (sorted(splits.train + splits.validation) if splits.folds else [])


@given(studies(), fractions, fractions, st.integers(2, 6), st.integers(0, 50), st.randoms())
def test_stratified_splits_are_whole_sized_and_independent_of_order(study, validation, test, folds, seed, random):
    patients, pairs, strata = study
    count = len(components(patients, pairs))
    shuffled = list(patients)
    random.shuffle(shuffled)
    splits = split_cases(patients, validation, test, folds, seed, strata=strata, duplicates=pairs)
    check_whole(splits, patients, pairs)
    groups = group_cases(patients, pairs)
    sizes = [len({groups[case] for case in part}) for part in (splits.test, splits.validation)]
    if count > 2 and sizes[0] + sizes[1] + 1 < count:  # otherwise every part's least group decides
        assert abs(sizes[0] - test * count) <= 1 and abs(sizes[1] - validation * count) <= 1
    held = [len({groups[case] for case in fold.validation}) for fold in splits.folds]
    assert max(held, default=0) - min(held, default=0) <= 1
    again = split_cases(
        {case: patients[case] for case in shuffled},
        validation,
        test,
        folds,
        seed,
        strata={case: strata[case] for case in shuffled},
        duplicates=[(second, first) for first, second in reversed(pairs)],
    )
    assert again == splits


@given(st.integers(20, 60), st.integers(3, 8), st.integers(3, 8), st.integers(0, 200))
def test_rare_labels_reach_every_part_and_fold(count, rare, rarer, seed):
    """20 or more groups leave at least two for validation; two labels of at least three groups each fit."""
    names = [f"c{n}" for n in range(count)]
    strata = {name: frozenset({7} if n < rare else {9} if n < rare + rarer else ()) for n, name in enumerate(names)}
    splits = split_cases({name: name for name in names}, 0.1, 0.2, 5, seed, strata=strata)
    for label in (7, 9):
        for part in (splits.train, splits.validation, splits.test):
            assert any(label in strata[case] for case in part)
        others = sum(label in strata[case] for case in splits.train + splits.validation)
        held = [sum(label in strata[case] for case in fold.validation) for fold in splits.folds]
        assert max(held) - min(held) <= 1 and sum(held) == others


def test_common_labels_keep_their_proportion():
    """40 of 100 have the label: 8 of the 20 to test, 4 of the 10 to validate, 16 in each fold's 16 of 80."""
    strata = {f"c{n}": frozenset({1} if n % 5 < 2 else ()) for n in range(100)}
    for seed in range(5):
        splits = split_cases({name: name for name in strata}, 0.1, 0.2, 5, seed, strata=strata)
        labelled = [sum(bool(strata[case]) for case in part) for part in (splits.train, splits.validation, splits.test)]
        assert labelled == [28, 4, 8]
        held = [sum(bool(strata[case]) for case in fold.validation) for fold in splits.folds]
        assert sorted(held) == [6, 6, 6, 7, 7]


@pytest.mark.parametrize(("cases", "expected"), [(1, (1, 0, 0)), (2, (1, 0, 1)), (3, (1, 1, 1)), (4, (2, 1, 1))])
def test_a_label_of_few_cases_is_learnt_first_then_tested(cases, expected):
    strata = {f"c{n}": frozenset({1} if n < cases else ()) for n in range(20)}
    splits = split_cases({name: name for name in strata}, 0.1, 0.2, 5, 3, strata=strata)
    parts = (splits.train, splits.validation, splits.test)
    assert tuple(sum(bool(strata[case]) for case in part) for part in parts) == expected


def test_several_labels_at_once_are_spread_better_than_by_chance():
    """As in a study of many organs: the labels' shares in the test, against those of draws without strata."""
    labels = {f"c{n}": frozenset(k for k in range(2, 12) if n % k == 0) for n in range(1, 101)}
    names = {name: name for name in labels}

    def error(splits: Splits) -> float:
        wanted = {k: 0.2 * sum(k in found for found in labels.values()) for k in range(2, 12)}
        return sum(abs(sum(k in labels[case] for case in splits.test) - wanted[k]) for k in wanted)

    blind = [error(split_cases(names, 0.1, 0.2, 5, seed)) for seed in range(20)]
    seeing = [error(split_cases(names, 0.1, 0.2, 5, seed, strata=labels)) for seed in range(20)]
    assert max(seeing) < min(blind) and max(seeing) <= 10  # one case a label


def test_labels_that_all_or_none_have_change_nothing():
    names = {f"c{n}": f"c{n}" for n in range(30)}
    blind = split_cases(names, 0.1, 0.2, 5, 0)
    assert split_cases(names, 0.1, 0.2, 5, 0, strata=dict.fromkeys(names, frozenset({1, 2}))) == blind
    assert split_cases(names, 0.1, 0.2, 5, 0, strata={}) == blind


# --- extending ----------------------------------------------------------------------------------------------------


@given(studies(), studies(), st.integers(0, 20))
def test_extending_keeps_everything(old_study, new_study, seed):
    old, pairs, strata = old_study
    if len(components(old, pairs)) < 3:
        return
    added = {f"n_{case}": patient for case, patient in new_study[0].items()}  # partly patients that are known
    existing = split_cases(old, 0.2, 0.2, 4, seed, strata=strata, duplicates=pairs)
    everyone = old | added
    all_pairs = [*pairs, (sorted(old)[0], sorted(added)[0])]
    try:
        extended = extend_splits(existing, everyone, 0.2, 0.2, seed, strata=strata, duplicates=all_pairs)
    except LeakError:  # only a new copy that joins two old groups may do this
        assert any(
            len({existing.part_of[case] for case in members if case in old}) > 1
            or len({existing.fold_of.get(case) for case in members if case in old}) > 1
            for members in components(everyone, all_pairs)
        )
        return
    check_whole(extended, everyone, all_pairs)
    assert all(extended.part_of[case] == part for case, part in existing.part_of.items())
    assert all(extended.fold_of[case] == index for case, index in existing.fold_of.items())
    assert len(extended.folds) == len(existing.folds)


def test_extending_approaches_the_fractions_and_evens_the_folds():
    existing = split_cases({f"c{n}": f"c{n}" for n in range(10)}, 0.1, 0.2, 5, 0)
    extended = extend_splits(existing, {f"c{n}": f"c{n}" for n in range(100)}, 0.1, 0.2, 0)
    assert [len(part) for part in (extended.train, extended.validation, extended.test)] == [70, 10, 20]
    assert {len(fold.validation) for fold in extended.folds} == {16}


def test_extending_spreads_a_label_that_arrives_late():
    existing = split_cases({f"c{n}": f"c{n}" for n in range(20)}, 0.1, 0.2, 5, 0)
    strata = {f"c{n}": frozenset({1} if 20 <= n < 26 else ()) for n in range(40)}
    extended = extend_splits(existing, {name: name for name in strata}, 0.1, 0.2, 0, strata=strata)
    assert Counter(extended.part_of[f"c{n}"] for n in range(20, 26)) == {"train": 4, "validation": 1, "test": 1}


def test_extending_counts_the_labels_that_are_placed_already():
    """6 of 40 have the label, so 1 is due in the test, which has 3: of the new ones 1 validates, 2 are learnt from."""
    existing = split_cases({f"c{n}": f"c{n}" for n in range(20)}, 0.1, 0.2, 5, 0)
    labelled = {*existing.test[:3], "n0", "n1", "n2"}
    names = [*existing.part_of, *(f"n{n}" for n in range(20))]
    strata = {name: frozenset({1} if name in labelled else ()) for name in names}
    extended = extend_splits(existing, {name: name for name in names}, 0.1, 0.2, 0, strata=strata)
    assert sorted(extended.part_of[f"n{n}"] for n in range(3)) == ["train", "train", "validation"]


def test_extending_by_nothing_changes_nothing_and_gone_cases_drop_out():
    names = {f"c{n}": f"c{n}" for n in range(30)}
    existing = split_cases(names, 0.1, 0.2, 5, 0)
    assert extend_splits(existing, names, 0.3, 0.3, 99) == existing
    gone = existing.train[0]
    del names[gone]
    smaller = extend_splits(existing, names, 0.1, 0.2, 0)
    assert smaller.part_of == {case: part for case, part in existing.part_of.items() if case != gone}
    assert smaller.fold_of == {case: index for case, index in existing.fold_of.items() if case != gone}


def test_a_part_that_lost_all_its_cases_is_an_error():
    names = {name: name for name in "abcdef"}
    existing = split_cases(names, 0.1, 0.1, 2, 0)
    del names[existing.test[0]]
    with pytest.raises(TooFewPatientsError, match="no case in the test part"):
        extend_splits(existing, names, 0.1, 0.1, 0)
    refilled = extend_splits(existing, names | {"g": "g"}, 0.1, 0.1, 0)
    assert refilled.test == ("g",)


def test_kept_splits_that_leak_are_an_error():
    names = {name: name for name in "abcdef"}
    existing = split_cases(names, 0.2, 0.2, 2, 0)
    copy, original = existing.test[0], existing.train[0]
    with pytest.raises(LeakError, match=rf"{copy} \(patient {copy}\) in test"):
        extend_splits(existing, names, 0.2, 0.2, 0, duplicates=[(original, copy)])


# --- assigned by the source ---------------------------------------------------------------------------------------


def test_parts_of_the_source_are_kept_and_folds_drawn():
    parts = {f"c{n}": "test" if n < 3 else "validation" if n < 5 else "train" for n in range(20)}
    splits = fixed_splits(parts, {name: name for name in parts}, 0.1, 0.2, 5, 0)
    assert splits.part_of == parts
    assert sorted(len(fold.validation) for fold in splits.folds) == [3, 3, 3, 4, 4]
    check_whole(splits, {name: name for name in parts}, [])


@pytest.mark.parametrize("missing", ["validation", "test"])
def test_a_part_that_the_source_lacks_comes_out_of_training(missing):
    other = {"validation": "test", "test": "validation"}[missing]
    parts = {f"c{n}": other if n < 8 else "train" for n in range(20)}
    splits = fixed_splits(parts, {name: name for name in parts}, 0.1, 0.2, 5, 0)
    assert set(getattr(splits, other)) == {f"c{n}" for n in range(8)}
    assert len(getattr(splits, missing)) == {"validation": 2, "test": 4}[missing]


def test_unassigned_cases_are_distributed():
    parts = {f"c{n}": "test" for n in range(4)}
    splits = fixed_splits(parts, {f"c{n}": f"c{n}" for n in range(20)}, 0.1, 0.2, 5, 0)
    assert (set(splits.test), len(splits.validation), len(splits.train)) == (set(parts), 2, 14)


def test_an_assignment_that_tears_a_patient_apart_is_an_error():
    patients = {"a1": "a", "a2": "a", "b": "b", "c": "c", "d": "d"}
    parts = {"a1": "train", "a2": "test", "b": "train", "c": "validation", "d": "test"}
    with pytest.raises(LeakError, match="patient a: a1 in train, a2 in test"):
        fixed_splits(parts, patients, 0.1, 0.2, 2, 0)
    with pytest.raises(LeakError, match=r"same image content: b \(patient b\) in train, d \(patient d\) in test"):
        fixed_splits({**parts, "a2": "train"}, patients, 0.1, 0.2, 2, 0, duplicates=[("d", "b")])


def test_only_three_names_of_parts():
    with pytest.raises(InvalidSplitsError, match="received 'val'"):
        fixed_splits({"a": "val"}, {name: name for name in "abc"}, 0.1, 0.2, 2, 0)


def test_an_assignment_without_training_cases_is_an_error():
    for fraction in (0, 0.1):
        with pytest.raises(TooFewPatientsError, match="leave 0 patients to train on"):
            fixed_splits(dict.fromkeys("abc", "test"), {name: name for name in "abc"}, fraction, 0.2, 2, 0)


def test_one_training_patient_leaves_nobody_to_validate():
    patients = {name: name for name in "abc"}
    with pytest.raises(TooFewPatientsError, match="leave 1 patients to train on and none in validation; assign"):
        fixed_splits({"a": "train", "b": "test", "c": "test"}, patients, 0.1, 0.2, 2, 0)
    splits = fixed_splits({"a": "train", "b": "test", "c": "test"}, patients, 0, 0.2, 2, 0)
    assert (splits.train, splits.validation, splits.test, splits.folds) == (("a",), (), ("b", "c"), ())


def test_folds_of_the_source_are_kept():
    patients = {name: name for name in "abcdef"}
    given = [(("a", "b"), ("c", "d")), (("c", "d"), ("a", "b"))]
    splits = folded_splits(given, "e", patients, 5, 0)
    assert (splits.train, splits.validation, splits.test) == (("a", "b"), ("c", "d"), ("e",))
    assert splits.folds == (Fold(("a", "b"), ("c", "d")), Fold(("c", "d"), ("a", "b")))
    lone = folded_splits(given[:1], "", patients, 5, 0)
    assert (lone.train, lone.validation, lone.test, len(lone.folds)) == (("a", "b"), ("c", "d"), (), 4)
    with pytest.raises(LeakError, match="patient p: a in train, c in validation"):
        folded_splits(given, "e", {**patients, "a": "p", "c": "p"}, 5, 0)
    with pytest.raises(TooFewPatientsError, match="fold 0 of the source is left without cases"):
        folded_splits(given, "e", {name: name for name in "cdef"}, 5, 0)


# --- given in a file ----------------------------------------------------------------------------------------------


@pytest.fixture
def give(tmp_path):
    """Write splits as a user would: (content) -> path."""

    def write(content):
        path = tmp_path / "my splits.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    return write


NAMES = {name: name for name in "abcdef"}
GIVEN = {"train": ["c", "a", "d"], "validation": ["b"], "test": ["f", "e"]}


def test_given_splits_are_taken_and_their_folds_drawn(give):
    splits = read_splits(give(GIVEN), NAMES, 2, 0)
    assert (splits.train, splits.validation, splits.test) == (("a", "c", "d"), ("b",), ("e", "f"))
    assert len(splits.folds) == 2
    check_whole(splits, NAMES, [])


def test_given_folds_are_taken(give):
    folds = [{"train": ["a", "b"], "validation": ["c", "d"]}, {"train": ["d", "c"], "validation": ["b", "a"]}]
    splits = read_splits(give(GIVEN | {"folds": folds}), NAMES, 5, 0)
    assert splits.folds == (Fold(("a", "b"), ("c", "d")), Fold(("c", "d"), ("a", "b")))


def test_the_splits_of_a_prepared_dataset_can_be_given(give):
    splits = split_cases({f"c{n}": f"p{n // 2}" for n in range(24)}, 0.1, 0.2, 4, 1)
    path = give({"schema_version": 1} | splits.model_dump(mode="json"))
    assert read_splits(path, {f"c{n}": f"p{n // 2}" for n in range(24)}, 9, 9) == splits


def test_a_study_without_test_part_can_be_given(give):
    splits = read_splits(give({"train": list("abc"), "validation": list("def"), "test": []}), NAMES, 3, 0)
    assert splits.test == () and sorted(len(fold.validation) for fold in splits.folds) == [2, 2, 2]


def test_all_faults_of_given_splits_are_listed_together(give):
    content = {"train": ["a", "b", "x"], "validation": ["b"], "test": ["y", "e"]}
    with pytest.raises(InvalidSplitsError) as caught:
        read_splits(give(content), NAMES, 2, 0)
    for part in ("not in the study: x, y", "missing: c, d, f", "named more than once: b", "my splits.json"):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("folds", "fault"),
    [
        (
            [{"train": ["a", "b"], "validation": ["c"]}, {"train": ["c", "d"], "validation": ["a", "b"]}],
            "0: missing: d",
        ),
        ([{"train": ["a", "b", "f"], "validation": ["c", "d"]}], "fold 0: not in train or validation: f"),
        ([{"train": ["a", "b"], "validation": ["c", "d"]}], "never in a fold's validation: a, b"),
        ([{"train": ["a", "b", "c"], "validation": ["c", "d"]}], "named more than once: c"),
        ([{"train": ["a", "b", "c", "d"], "validation": []}], "validation holds no case"),
        ([{"train": ["a", "b"], "validation": ["c", "d"]}] * 2, "in the validation of several folds: c, d"),
    ],
)
def test_faults_of_given_folds_are_listed(give, folds, fault):
    with pytest.raises(InvalidSplitsError, match=fault):
        read_splits(give(GIVEN | {"folds": folds}), NAMES, 2, 0)


def test_a_list_of_nnunets_folds_is_taken(give):
    folds = [{"train": ["a", "b"], "val": ["c", "d"]}, {"train": ["c", "d"], "val": ["a", "b"]}]
    splits = read_splits(give(folds), {name: name for name in "abcd"}, 5, 0)
    assert (splits.train, splits.validation, splits.test) == (("a", "b"), ("c", "d"), ())
    assert splits.folds == (Fold(("a", "b"), ("c", "d")), Fold(("c", "d"), ("a", "b")))
    with pytest.raises(InvalidSplitsError, match="fold 0 trains on and holds out b"):
        read_splits(give([{"train": ["a", "b"], "val": ["b"]}]), NAMES, 2, 0)


@pytest.mark.parametrize(
    "content",
    ["{", "[]", {"train": [], "test": []}, GIVEN | {"val": []}, GIVEN | {"train": "a"}, GIVEN | {"folds": {}}],
)
def test_other_files_are_refused_with_the_form_that_works(give, content):
    with pytest.raises(InvalidSplitsError, match='"validation": '):
        read_splits(give(content), NAMES, 2, 0)


def test_a_splits_file_that_is_not_there(tmp_path):
    with pytest.raises(SourceNotFoundError, match="nowhere"):
        read_splits(tmp_path / "nowhere.json", NAMES, 2, 0)


def test_given_splits_that_leak_are_an_error_that_names_all(give):
    patients = NAMES | {"d": "f"}
    with pytest.raises(LeakError) as caught:
        read_splits(give(GIVEN), patients, 2, 0, duplicates=[("a", "b")])
    assert caught.value.problems == (
        "same image content: a (patient a) in train, b (patient b) in validation",
        "patient f: d in train, f in test",
    )


def test_given_folds_that_leak_are_an_error(give):
    folds = [{"train": ["a", "b"], "validation": ["c", "d"]}, {"train": ["d", "c"], "validation": ["b", "a"]}]
    with pytest.raises(LeakError, match="patient a: a in fold 0 train, c in fold 0 validation"):
        read_splits(give(GIVEN | {"folds": folds}), NAMES | {"c": "a"}, 5, 0)


@given(studies(), st.integers(0, 9))
def test_the_check_agrees_with_looking_at_every_component(study, seed):
    patients, pairs, _ = study
    splits = split_cases(patients, 0.2, 0.2, 3, seed)
    torn = [
        members
        for members in components(patients, pairs)
        if len({(splits.part_of[case], splits.fold_of.get(case)) for case in members}) > 1
    ]
    if not torn:
        check_no_leak(splits, patients, pairs)
        return
    with pytest.raises(LeakError) as caught:
        check_no_leak(splits, patients, pairs)
    assert len(caught.value.problems) == len(torn)


def test_a_long_list_of_leaks_is_cut_short():
    names = {f"{side}{n:03}": f"p{n}" for side in "ab" for n in range(130)}
    splits = Splits(
        train=tuple(case for case in names if case[0] == "a"),
        validation=(),
        test=tuple(case for case in names if case[0] == "b"),
        folds=(),
    )
    with pytest.raises(LeakError, match="130 leaks") as caught:
        check_no_leak(splits, names)
    assert len(caught.value.problems) == 130 and str(caught.value).endswith("... and 30 more")
