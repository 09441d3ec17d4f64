"""One case as it is read: channels stacked and chosen, labels remapped, masks counted."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from imgmed.errors import InvalidVolumeError, LabelError, PairMismatchError
from imgmed.preparation.reading import CaseLabel, ReadingRules, read_case_image, read_case_label
from imgmed.study import CaseSource, VolumeSource
from imgmed.volume import Volume
from tests.dicom_files import write_series
from tests.hospital import write_seg, write_structures

SHAPE = (5, 4, 3)
AFFINE = np.diag([-1.0, 2, 3, 1])


def nifti(path: Path, array: np.ndarray, affine: np.ndarray = AFFINE) -> VolumeSource:
    nib.save(nib.Nifti1Image(array, affine), path)
    return VolumeSource((path,))


def case(*images: VolumeSource) -> CaseSource:
    return CaseSource("a", images, None)


def volume_of(seed: int, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


# ---- images --------------------------------------------------------------------------------------------


def test_one_file_for_each_channel_is_stacked_in_order(tmp_path: Path) -> None:
    first, second = volume_of(0), volume_of(1)
    found = read_case_image(case(nifti(tmp_path / "t1.nii", first), nifti(tmp_path / "t2.nii", second)), ReadingRules())
    np.testing.assert_array_equal(found.array, np.stack([first, second], axis=-1))
    np.testing.assert_array_equal(found.affine, AFFINE)
    assert found.array.dtype == np.float32


def test_a_file_with_channels_and_one_without_are_joined(tmp_path: Path) -> None:
    both, single = volume_of(0, (*SHAPE, 2)), volume_of(1)
    found = read_case_image(case(nifti(tmp_path / "a.nii", both), nifti(tmp_path / "b.nii", single)), ReadingRules())
    np.testing.assert_array_equal(found.array, np.concatenate([both, single[..., np.newaxis]], axis=3))


def test_wanted_channels_come_in_the_wanted_order(tmp_path: Path) -> None:
    array = volume_of(0, (*SHAPE, 3))
    source = case(nifti(tmp_path / "a.nii", array))
    found = read_case_image(source, ReadingRules(channel_indices=(2, 0)))
    np.testing.assert_array_equal(found.array, array[..., [2, 0]])
    with pytest.raises(InvalidVolumeError, match=r"a\.nii: 3 channels, none with number 3"):
        read_case_image(source, ReadingRules(channel_indices=(3,)))


def test_another_number_of_channels_than_declared_is_refused(tmp_path: Path) -> None:
    source = case(nifti(tmp_path / "a.nii", volume_of(0)))
    with pytest.raises(InvalidVolumeError, match=r"1 channels, but the study declares 2 \(T1, T2\)"):
        read_case_image(source, ReadingRules(declared_channels=("T1", "T2")))


def test_a_channel_stored_in_another_order_is_turned(tmp_path: Path) -> None:
    """nibabel reorients; a few micrometres are what rounded headers differ by."""
    array = volume_of(1)
    stored = nib.Nifti1Image(array, AFFINE).as_reoriented([[1, -1], [0, 1], [2, -1]])
    shifted = stored.affine + 0.005 * np.eye(4)[:, [3, 3, 3, 0]]
    nib.save(nib.Nifti1Image(np.asarray(stored.dataobj), shifted), tmp_path / "b.nii")
    other = VolumeSource((tmp_path / "b.nii",))
    found = read_case_image(case(nifti(tmp_path / "a.nii", volume_of(0)), other), ReadingRules())
    np.testing.assert_array_equal(found.array[..., 1], array)
    np.testing.assert_array_equal(found.affine, AFFINE)


@pytest.mark.parametrize("role", ["channel", "label"])
def test_channels_and_labels_must_share_the_grid_of_the_first(tmp_path: Path, role: str) -> None:
    """Mirrored data of the same affine values but for a sign: no advice to copy a header, which would mirror it."""
    first = nifti(tmp_path / "a.nii", np.zeros(SHAPE, np.uint8))
    for name, shape, affine, said in (
        ("b.nii", (5, 4, 2), AFFINE, r"other voxels: 5 x 4 x 2 beginning at voxel \(0, 0, 0\) of 5 x 4 x 3"),
        ("c.nii", SHAPE, AFFINE + np.eye(4)[:, [3, 3, 3, 0]] / 2, r"shifted by \(-0\.5, 0, 0\) voxels"),
        ("d.nii", SHAPE, AFFINE * [-1, 1, 1, 1], r"other voxels: 5 x 4 x 3 beginning at voxel \(-4, 0, 0\)"),
    ):
        other = nifti(tmp_path / name, np.zeros(shape, np.uint8), affine)
        with pytest.raises(PairMismatchError, match=rf"(?s)a\.nii.*{said}|{name}.*a\.nii.*{said}") as caught:
            if role == "channel":
                read_case_image(case(first, other), ReadingRules())
            else:
                read_case_label(other, read_case_image(case(first), ReadingRules()), ReadingRules())
        assert name in str(caught.value) and "resample" in str(caught.value) and "header" not in str(caught.value)


def test_a_label_map_written_without_an_affine_is_told_so(tmp_path: Path) -> None:
    image = read_case_image(case(nifti(tmp_path / "a.nii", volume_of(0))), ReadingRules())
    label = nifti(tmp_path / "b.nii", np.zeros(SHAPE, np.uint8), np.eye(4))
    with pytest.raises(PairMismatchError, match="write it with the affine of its scan"):
        read_case_label(label, image, ReadingRules())


# ---- label maps ----------------------------------------------------------------------------------------


@pytest.fixture
def image(tmp_path: Path) -> Volume:
    return read_case_image(case(nifti(tmp_path / "image.nii", volume_of(0))), ReadingRules())


def test_labels_are_remapped_and_others_stay(tmp_path: Path, image: Volume) -> None:
    array = np.random.default_rng(2).choice([0, 1, 2, 4], SHAPE).astype(np.uint8)
    source = nifti(tmp_path / "label.nii", array)
    np.testing.assert_array_equal(read_case_label(source, image, ReadingRules()).label_map, array)
    found = read_case_label(source, image, ReadingRules(remap_labels={4: 3, 1: 2})).label_map
    np.testing.assert_array_equal(found, np.array([0, 2, 2, 0, 3])[array])
    found = read_case_label(source, image, ReadingRules(remap_labels="foreground")).label_map
    np.testing.assert_array_equal(found, array > 0)


def test_what_was_set_right_is_told(tmp_path: Path, image: Volume) -> None:
    array = np.random.default_rng(2).integers(0, 3, SHAPE)
    stored = nib.Nifti1Image(array + np.where(array > 0, 1e-7, 0), AFFINE).as_reoriented([[0, -1], [1, 1], [2, 1]])
    nib.save(stored, tmp_path / "label.nii")
    found = read_case_label(VolumeSource((tmp_path / "label.nii",)), image, ReadingRules())
    np.testing.assert_array_equal(found.label_map, array)
    assert found.repaired == (
        "label map stored as float64, rounded to whole numbers",
        "label map stored as RAS, turned to LAS",
    )


def test_a_label_map_as_it_should_be_needs_no_repair(tmp_path: Path, image: Volume) -> None:
    found = read_case_label(nifti(tmp_path / "label.nii", np.ones(SHAPE, np.uint8)), image, ReadingRules())
    assert found.repaired == () and found.combinations == {} and found.masks is None


def test_labels_that_are_not_kept_are_background_after_renumbering(tmp_path: Path, image: Volume) -> None:
    array = np.random.default_rng(2).choice([0, 1, 2, 4], SHAPE).astype(np.uint8)
    source = nifti(tmp_path / "label.nii", array)
    found = read_case_label(source, image, ReadingRules(keep_labels=(2, 9), remap_labels={1: 9})).label_map
    np.testing.assert_array_equal(found, np.array([0, 9, 2, 0, 0])[array])
    with pytest.raises(LabelError, match="nothing names them liver; give keep_labels numbers"):
        read_case_label(source, image, ReadingRules(keep_labels=("liver",)))


def test_a_mask_of_fractions_has_a_threshold(tmp_path: Path, image: Volume) -> None:
    array = np.random.default_rng(3).random(SHAPE).astype(np.float32)
    source = nifti(tmp_path / "label.nii", array)
    found = read_case_label(source, image, ReadingRules(mask_threshold=0.25))
    np.testing.assert_array_equal(found.label_map, array >= 0.25)
    assert found.repaired == ()
    with pytest.raises(LabelError, match=r"soft edges preparation\.mask_threshold=0\.5"):
        read_case_label(source, image, ReadingRules())


# ---- masks ---------------------------------------------------------------------------------------------


def combinations_by_voxel(masks: dict[str, np.ndarray]) -> dict[frozenset[str], int]:
    counts: dict[frozenset[str], int] = {}
    for voxel in np.ndindex(next(iter(masks.values())).shape):
        names = frozenset(name for name, mask in masks.items() if mask[voxel])
        if names:
            counts[names] = counts.get(names, 0) + 1
    return counts


@given(st.dictionaries(st.sampled_from("abcde"), arrays(bool, (3, 2, 2)), min_size=1))
def test_combinations_are_counted_voxel_by_voxel(masks: dict[str, np.ndarray]) -> None:
    assert CaseLabel(None, masks).combinations == combinations_by_voxel(masks)


def test_more_masks_than_bits_are_all_counted() -> None:
    """As TotalSegmentator writes them: more than a hundred structures."""
    masks = {f"organ {number:03d}": np.arange(117).reshape(13, 9, 1) == number for number in range(117)}
    masks["body"] = np.ones((13, 9, 1), bool)
    assert CaseLabel(None, masks).combinations == {frozenset({name, "body"}): 1 for name in masks if name != "body"}


@pytest.fixture
def series(tmp_path: Path) -> Path:
    write_series(tmp_path / "series", np.zeros((8, 8, 4), np.int16), np.diag([-1.0, -1, 2, 1]), names="{}.dcm".format)
    return tmp_path / "series"


def read_labelled(series: Path, label: Path) -> CaseLabel:
    source = CaseSource("a", (VolumeSource(tuple(sorted(series.iterdir()))),), VolumeSource((label,)))
    return read_case_label(source.label, read_case_image(source, ReadingRules()), ReadingRules())


def box(start: int) -> np.ndarray:
    mask = np.zeros((8, 8, 4), bool)
    mask[start : start + 3, 1:6, 1:3] = True
    return mask


@pytest.mark.parametrize("write", [write_seg, write_structures])
def test_masks_become_composite_integers(series: Path, tmp_path: Path, write) -> None:
    masks = {"liver": box(1), "tumour": box(2)}
    found = read_labelled(series, write(tmp_path / "label.dcm", series, masks))
    expected = masks["liver"] * 1 + masks["tumour"] * 2
    np.testing.assert_array_equal(found.numbered({"liver": (1, 3), "tumour": (2, 3)}), expected)
    assert found.label_map is None and found.combinations == combinations_by_voxel(masks)
    with pytest.raises(LabelError, match="segments liver and tumour share voxels, but no label value means just them"):
        found.numbered({"liver": (1,), "tumour": (2,)})
    with pytest.raises(LabelError, match="segments tumour have no region"):
        found.numbered({"liver": (1,)})


def test_masks_are_kept_by_name(series: Path, tmp_path: Path) -> None:
    masks = {"liver": box(1), "tumour": box(2)}
    source = CaseSource("a", (VolumeSource(tuple(sorted(series.iterdir()))),), None)
    image = read_case_image(source, ReadingRules())
    label = VolumeSource((write_seg(tmp_path / "label.dcm", series, masks),))
    found = read_case_label(label, image, ReadingRules(keep_labels=("tumour",)))
    assert list(found.masks) == ["tumour"]
    np.testing.assert_array_equal(found.masks["tumour"], masks["tumour"])


def test_a_segment_without_a_voxel_is_passed_over(series: Path, tmp_path: Path) -> None:
    masks = {"liver": box(1), "tumour": np.zeros((8, 8, 4), bool)}
    found = read_labelled(series, write_seg(tmp_path / "seg.dcm", series, masks, keep_empty=True))
    assert list(found.masks) == ["liver"]
    np.testing.assert_array_equal(found.numbered({"liver": (1,)}), box(1))


def test_segments_without_any_voxel_are_background(series: Path, tmp_path: Path) -> None:
    masks = {"tumour": np.zeros((8, 8, 4), bool)}
    found = read_labelled(series, write_seg(tmp_path / "seg.dcm", series, masks, keep_empty=True))
    assert found.masks is None and found.combinations == {}
    np.testing.assert_array_equal(found.numbered({"tumour": (1,)}), np.zeros((8, 8, 4)))
