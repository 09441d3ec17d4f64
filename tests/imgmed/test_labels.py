from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgmed.errors import LabelError
from imgmed.formats import read_volume
from imgmed.labels import (
    above_threshold,
    check_declared,
    compose,
    count_labels,
    keep_labels,
    number_segments,
    parse_labels,
    parse_regions,
    remap_labels,
    to_label_map,
)


def volume_of(*values) -> np.ndarray:
    return np.array(values).reshape(1, 1, -1)


def test_whole_numbers_in_any_type_become_small_integers():
    assert to_label_map(volume_of(0.0, 1.00009, 1.9999), "a").tolist() == [[[0, 1, 2]]]
    assert to_label_map(volume_of(0, 255), "a").dtype == np.uint8
    assert to_label_map(volume_of(0, 256), "a").dtype == np.uint16
    assert to_label_map(volume_of(True, False), "a").dtype == np.uint8
    assert to_label_map(np.ones((2, 2, 2, 1), np.int16), "a").shape == (2, 2, 2)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (
            volume_of(0.0, 0.5, 1.0002),
            "case.nii: labels must be whole numbers; 2 voxels are not, such as 0.5, 1.0002",
        ),
        (volume_of(0, -1), "case.nii: labels must lie within 0 to 65535; found -1 to 0"),
        (volume_of(0, 70000), "found 0 to 70000"),
        (volume_of(0.0, np.nan, np.inf), "case.nii: 2 NaN or infinite voxels"),
        (np.zeros((2, 2, 2, 3)), r"case.nii: a label map has one number for each voxel; received 3 \(colours"),
        (np.zeros((2, 2)), "a label map has 3 axes"),
    ],
)
def test_what_is_no_label_map_is_refused(array, message):
    with pytest.raises(LabelError, match=message):
        to_label_map(array, "case.nii")


@pytest.mark.parametrize("stored", [np.int16, np.uint16])
@pytest.mark.parametrize("largest", [3, 7, 117, 2035])
def test_labels_that_were_rounded_to_16_bits_come_back(tmp_path: Path, largest, stored):
    """nibabel keeps a float array in whole numbers with a scale factor: off by half a step, at most 1/131070 of all."""
    labels = np.random.default_rng(largest).integers(0, largest + 1, (8, 8, 8))
    labels[0, 0, 0] = largest
    image = nib.Nifti1Image(labels.astype(float), np.eye(4))
    image.header.set_data_dtype(stored)
    nib.save(image, tmp_path / "a.nii")
    for array in (read_volume(tmp_path / "a.nii").array, nib.load(tmp_path / "a.nii").get_fdata()):
        np.testing.assert_array_equal(to_label_map(array, "a.nii"), labels)


@pytest.mark.parametrize(("off", "is_refused"), [(0.0011, False), (0.0013, True), (0.5, True)])
def test_the_tolerance_grows_with_the_largest_label(off, is_refused):
    array = volume_of(0.0, 5 + off, 120.0)
    if is_refused:
        with pytest.raises(LabelError, match=r"1 voxels are not, .*resample it without interpolation"):
            to_label_map(array, "case.nii")
    else:
        assert to_label_map(array, "case.nii").tolist() == [[[0, 5, 120]]]


def test_a_mask_with_soft_edges_has_a_threshold():
    assert above_threshold(volume_of(0.2, 0.5, 0.9), 0.5, "a").tolist() == [[[0, 1, 1]]]
    assert above_threshold(np.array([[[[127], [128]]]], np.uint8), 128, "a").tolist() == [[[0, 1]]]
    with pytest.raises(LabelError, match="1 NaN"):
        above_threshold(volume_of(0.0, np.nan), 0.5, "case.nii")


@given(st.lists(st.integers(0, 400), min_size=1, max_size=30), st.sets(st.integers(1, 400), min_size=1))
def test_labels_that_are_not_kept_become_background(drawn, kept):
    array = np.array(drawn, np.uint16)
    assert keep_labels(array, kept).tolist() == [value if value in kept else 0 for value in drawn]


def test_undeclared_values_are_listed_beside_the_declared_ones():
    with pytest.raises(LabelError) as caught:
        check_declared([0, 2, 7], {"background": 0, "liver": 1, "tumour": 2}, "case.nii")
    message = str(caught.value)
    assert "case.nii: label values 7 are not declared" in message
    assert "found 0, 2, 7" in message and "0 background, 1 liver, 2 tumour" in message
    check_declared([0, 2], {"background": 0, "liver": 1, "tumour": 2}, "case.nii")


@pytest.mark.parametrize(
    ("declared", "expected"),
    [
        ({"0": "background", "2": "b", "1": "a"}, {"background": 0, "a": 1, "b": 2}),
        ({"background": 0, "a": 1}, {"background": 0, "a": 1}),
        ({"b": 4, "a": 2}, {"background": 0, "a": 2, "b": 4}),
        ({"a": "3"}, None),
    ],
)
def test_both_forms_of_declaration_are_read(declared, expected):
    if expected is None:  # {"a": "3"} reads as value "a" named "3": not a number
        with pytest.raises(LabelError):
            parse_labels(declared, "dataset.json")
    else:
        found = parse_labels(declared, "dataset.json")
        assert found == expected and list(found) == list(expected)


@pytest.mark.parametrize(
    "wrong",
    [
        None,
        [],
        {},
        {"0": "background", "1": "a", "2": "a"},
        {"a": 1, "b": 1},
        {"whole": [1, 2]},
        {"a": -1},
        {"a": 65536},
        {"a": True},
        {"a": 1.5},
    ],
)
def test_declarations_that_make_no_sense_are_refused(wrong):
    with pytest.raises(LabelError, match=r"dataset\.json"):
        parse_labels(wrong, "dataset.json")


@given(st.lists(st.integers(0, 65535), min_size=1, max_size=60))
def test_counts_equal_a_plain_count(values):
    array = np.array(values, np.uint16)
    assert count_labels(array) == {value: values.count(value) for value in sorted(set(values))}


@pytest.mark.parametrize(
    ("declared", "said"),
    [
        ([1, 2], "regions must be like"),
        ({"all": []}, "a name with a list of label values"),
        ({"all": ["1"]}, "a name with a list of label values"),
        ({"all": [True]}, "a name with a list of label values"),
        ({"": [1]}, "a name with a list of label values"),
        ({"all": [0, 1]}, "region 'all' holds 0; .*other than the background: 1 liver, 2 tumour"),
        ({"all": [1, 7]}, "region 'all' holds 7"),
    ],
)
def test_regions_that_make_no_sense_are_refused(declared, said):
    with pytest.raises(LabelError, match=said):
        parse_regions(declared, {"background": 0, "liver": 1, "tumour": 2}, "r2d2.yaml")


def test_labels_are_merged_and_renumbered():
    tcga = np.array([[0, 1, 2], [4, 4, 0]], np.uint8)
    np.testing.assert_array_equal(remap_labels(tcga, {1: 1, 2: 2, 4: 3}), [[0, 1, 2], [3, 3, 0]])
    np.testing.assert_array_equal(remap_labels(tcga, {1: 1, 2: 1, 4: 1}), [[0, 1, 1], [1, 1, 0]])
    np.testing.assert_array_equal(remap_labels(tcga, {4: 9}, others="keep"), [[0, 1, 2], [9, 9, 0]])
    np.testing.assert_array_equal(remap_labels(tcga, {4: 300}, others="background"), [[0, 0, 0], [300, 300, 0]])
    assert remap_labels(tcga, {4: 300}, others="background").dtype == np.uint16
    assert tcga.tolist() == [[0, 1, 2], [4, 4, 0]]
    with pytest.raises(LabelError, match="label values 1, 2 have no new number; listed are 4"):
        remap_labels(tcga, {4: 1})
    with pytest.raises(LabelError, match="within 0 to 65535; received -1"):
        remap_labels(tcga, {1: 1, 2: 2, 4: -1})


names = st.sets(st.sampled_from(["kidney", "tumour", "cyst", "vein"]), max_size=4)


@given(cases=st.dictionaries(st.sampled_from("abc"), st.lists(names.map(frozenset), max_size=5), max_size=3))
def test_segments_are_numbered_alike_in_all_cases_and_regions_give_them_back(cases):
    labels, regions = number_segments(cases, ["vein", "kidney", "tumour", "cyst"])
    assert [labels[name] for name in ("background", "vein", "kidney", "tumour", "cyst")] == [0, 1, 2, 3, 4]
    assert sorted(labels.values()) == list(range(len(labels)))
    combinations = {segments for found in cases.values() for segments in found if len(segments) > 1}
    assert len(labels) == 5 + len(combinations)
    members = {value: {name for name, values in regions.items() if value in values} for value in labels.values()}
    assert [members[value] for value in range(1, 5)] == [{"vein"}, {"kidney"}, {"tumour"}, {"cyst"}]
    assert {frozenset(members[value]) for value in range(5, len(labels))} == combinations
    parse_regions(regions, labels, "here")


@given(seed=st.integers(0, 50))
def test_composed_masks_come_back_from_their_regions(seed):
    rng = np.random.default_rng(seed)
    masks = {name: rng.random((3, 4, 5)) < 0.4 for name in ("liver", "tumour", "vein")}
    stacked = np.stack([*masks.values()], axis=-1).reshape(-1, 3)
    seen = {frozenset(name for name, inside in zip(masks, voxel, strict=True) if inside) for voxel in stacked}
    labels, regions = number_segments({"a": seen})
    label_map = compose(masks, regions)
    assert label_map.dtype == np.uint8 and set(np.unique(label_map)) <= set(labels.values())
    for name, mask in masks.items():
        np.testing.assert_array_equal(np.isin(label_map, regions[name]), mask)


def test_segments_without_number_are_refused():
    mask = np.ones((1, 1, 2), bool)
    with pytest.raises(LabelError, match="segments spleen have no region; regions are liver"):
        compose({"spleen": mask}, {"liver": (1,)})
    with pytest.raises(LabelError, match="liver and tumour share voxels, but no label value"):
        compose({"liver": mask, "tumour": mask}, {"liver": (1,), "tumour": (2,)})
    with pytest.raises(LabelError, match="segments spleen are not among the names liver"):
        number_segments({"a": [frozenset({"spleen"})]}, ["liver"])
