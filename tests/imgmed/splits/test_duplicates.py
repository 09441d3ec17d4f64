import itertools
import json
import weakref

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from imgmed import Volume, read_volume
from imgmed.errors import InvalidVolumeError
from imgmed.splits import duplicates
from imgmed.splits.duplicates import (
    Duplicate,
    Signature,
    confirm,
    describe,
    is_same_label_map,
    nominate,
    signature_of,
)

SHAPE = (30, 36, 20)
OBLIQUE = nib.affines.from_matvec(nib.eulerangles.euler2mat(0.1, 0.2, 0.15) @ np.diag([-0.8, 0.9, 2.5]), [10, -20, 30])


def scan(number: int, shape: tuple = SHAPE) -> np.ndarray:
    """Whole intensities from about 0 to 1000: a structure at two scales, and noise."""
    rng = np.random.default_rng(number)
    fields = [gaussian_filter(rng.normal(size=shape), sigma) for sigma in (4, 1)]
    return np.round(500 + 120 * sum(field / field.std() for field in fields) + rng.normal(0, 15, shape))


def volume(array: np.ndarray, affine: np.ndarray = OBLIQUE) -> Volume:
    return Volume(array, affine)


def pairs_found(volumes: dict[str, Volume]) -> list[tuple[str, str]]:
    """What the two stages find together."""
    nominated = nominate({case_id: signature_of(item) for case_id, item in volumes.items()})
    return [duplicate.pair for duplicate in confirm(volumes.__getitem__, nominated)]


def saved(path, array, affine=OBLIQUE, slope=None):
    image = nib.Nifti1Image(array, affine)
    image.set_data_dtype(array.dtype)
    if slope is not None:
        image.header.set_slope_inter(*slope)
    nib.save(image, path)
    return path


def reoriented(array, affine, codes):
    """The same scan in another voxel order, by nibabel."""
    image = nib.Nifti1Image(array, affine)
    change = nib.orientations.ornt_transform(nib.io_orientation(affine), nib.orientations.axcodes2ornt(codes))
    turned = image.as_reoriented(change)
    return np.asarray(turned.dataobj), turned.affine


def bytes_of(array):
    low, high = array.min(), array.max()
    return np.round(255 * (array - low) / (high - low)).astype(np.uint8)


DISGUISES = {
    "another name": lambda path, x: saved(path / "Untitled 7 (é).nii.gz", x.astype(np.int16)),
    "not compressed": lambda path, x: saved(path / "b.nii", x.astype(np.int16)),
    "float32": lambda path, x: saved(path / "b.nii.gz", x.astype(np.float32)),
    "uint8": lambda path, x: saved(path / "b.nii.gz", bytes_of(x)),
    "shifted as CT offsets are": lambda path, x: saved(path / "b.nii.gz", (x - 1024).astype(np.int16)),
    "rescaled": lambda path, x: saved(path / "b.nii.gz", (0.037 * x + 11).astype(np.float32)),
    "scale factors in the header": lambda path, x: saved(path / "b.nii.gz", x.astype(np.float64), slope=(0.5, -3)),
    "inverted": lambda path, x: saved(path / "b.nii.gz", (4095 - x).astype(np.uint16)),
    "cut off at 8 bits": lambda path, x: saved(path / "b.nii.gz", np.clip(x * 0.235, 0, 255).astype(np.uint8)),
    "LPS": lambda path, x: saved(path / "b.nii.gz", *reoriented(x.astype(np.int16), OBLIQUE, "LPS")),
    "PIR": lambda path, x: saved(path / "b.nii.gz", *reoriented(x.astype(np.int16), OBLIQUE, "PIR")),
    "another place": lambda path, x: saved(path / "b.nii.gz", x.astype(np.int16), np.diag([-2.0, 2, 7, 1])),
    "all of it": lambda path, x: saved(path / "x.nii", *reoriented(bytes_of(-x), OBLIQUE, "SAL")),
}


@pytest.mark.parametrize("disguise", DISGUISES)
def test_a_disguised_copy_is_found_among_others(disguise, tmp_path):
    files = {f"other{n}": saved(tmp_path / f"other{n}.nii.gz", scan(n).astype(np.int16)) for n in range(1, 4)}
    files["original"] = saved(tmp_path / "original.nii.gz", scan(0).astype(np.int16))
    files["copy"] = DISGUISES[disguise](tmp_path, scan(0))
    assert pairs_found({case_id: read_volume(path) for case_id, path in files.items()}) == [("copy", "original")]


def test_the_disguises_are_what_they_say(tmp_path):
    """The cut-off one really is cut off, and yet nearly the same."""
    stored = read_volume(DISGUISES["cut off at 8 bits"](tmp_path, scan(0))).array
    assert 0.001 < (stored == 255).mean() < 0.02


@given(st.permutations("RAS"), st.tuples(*[st.booleans()] * 3), st.sampled_from("CF"))
@pytest.mark.slow
def test_a_signature_does_not_depend_on_the_voxel_order(letters, mirrored, order):
    codes = "".join(dict(zip("RAS", "LPI", strict=True))[c] if m else c for c, m in zip(letters, mirrored, strict=True))
    array, affine = reoriented(scan(0), OBLIQUE, codes)
    assert signature_of(volume(np.asarray(array, order=order), affine)) == signature_of(volume(scan(0)))


def test_block_means_are_means_over_blocks():
    """24 x 24 x 12 voxels in 12 x 12 x 12 blocks of 2 x 2 x 1, by reshaping."""
    array = scan(0, (24, 24, 12))
    means = array.reshape(12, 2, 12, 2, 12).mean(axis=(1, 3)).ravel()
    expected = (means - means.mean()) / np.linalg.norm(means - means.mean())
    np.testing.assert_allclose(signature_of(volume(array, np.eye(4))).vectors()[0], expected, atol=2e-4)


@pytest.mark.parametrize(("shape", "blocks"), [((28, 28, 1), 784), ((512, 512, 1), 1681), ((60, 60, 5), 1620)])
def test_thin_volumes_have_finer_blocks(shape, blocks):
    assert signature_of(volume(np.random.default_rng(0).random(shape))).vectors().shape == (1, blocks)


def test_a_signature_is_small_and_survives_json():
    signature = signature_of(volume(np.stack([scan(0), scan(1)], axis=3)))
    text = signature.model_dump_json()
    assert Signature.model_validate_json(text) == signature and len(text) < 10_000
    assert json.loads(text)["shape"] == list(signature.shape)


def test_voxels_that_are_no_number_have_no_signature():
    array = scan(0)
    array[3, 4, 5] = np.nan
    with pytest.raises(InvalidVolumeError, match="NaN or infinite"):
        signature_of(volume(array))


# --- scans that are alike, and yet are not copies -----------------------------------------------------------------


def test_a_smoothed_scan_with_new_noise_is_another():
    array = scan(0)
    other = gaussian_filter(array, 0.5) + np.random.default_rng(1).normal(0, 15, SHAPE)
    volumes = {"a": volume(array), "b": volume(other)}
    assert nominate({name: signature_of(item) for name, item in volumes.items()}) == [("a", "b")]
    assert pairs_found(volumes) == []


def test_another_shape_is_another_scan():
    volumes = {"a": volume(scan(0)), "b": volume(scan(0)[:-1])}
    assert pairs_found(volumes) == [] and confirm(volumes.__getitem__, [("a", "b")]) == ()


def brains(spread: float) -> list[np.ndarray]:
    """Two heads of the same outline on the same empty background, each with tissue of its own."""
    outline = np.linalg.norm(np.indices(SHAPE).T - np.array(SHAPE) / 2, axis=-1).T < 9
    return [np.where(outline, 1000 + spread * np.random.default_rng(n).normal(size=SHAPE), 0.0) for n in range(2)]


def test_a_common_background_does_not_decide():
    """Empty space and outline give r above 0.999, though the tissue is another."""
    first, second = brains(5)
    assert np.corrcoef(first.ravel(), second.ravel())[0, 1] > 0.999
    assert pairs_found({"a": volume(first), "b": volume(second)}) == []
    assert pairs_found({"a": volume(first), "b": volume(3 * first + 2)}) == [("a", "b")]


def test_a_common_marker_does_not_decide():
    """A saturated label burned into two unlike scans."""
    first, second = scan(0), scan(1)
    for array in (first, second):
        array[2:8, 2:8, :] = 65_535
    assert np.corrcoef(first.ravel(), second.ravel())[0, 1] > 0.999
    assert pairs_found({"a": volume(first), "b": volume(second)}) == []
    assert pairs_found({"a": volume(first), "b": volume(first + 1)}) == [("a", "b")]


def test_a_copy_of_which_rounding_has_emptied_the_background_is_found():
    """Faint noise around a body: 8 bits make it one grey level, which must not count against the copy."""
    body = np.zeros(SHAPE, bool)
    body[8:22, 10:26, 4:16] = True
    array = np.where(body, scan(0) + 300, np.random.default_rng(5).normal(0, 1, SHAPE))
    stored = np.round(np.clip(array / 8, 0, 255)).astype(np.uint8)
    assert (stored == 0).mean() > 0.7
    assert pairs_found({"a": volume(array), "b": volume(stored)}) == [("a", "b")]
    assert pairs_found({"a": volume(stored), "b": volume(array)}) == [("a", "b")]


def test_blank_images_are_no_copies_of_each_other():
    blank = {name: volume(np.full(SHAPE, value)) for name, value in {"a": 0, "b": 0, "c": 0.7, "d": 0.7}.items()}
    assert nominate({name: signature_of(item) for name, item in blank.items()}) == []
    assert confirm(blank.__getitem__, itertools.combinations(blank, 2)) == ()


def test_pictures_of_two_grey_levels():
    """Nothing is left to rank; all pixels decide."""
    first, second = (np.random.default_rng(n).random((40, 40, 1)) < 0.3 for n in range(2))
    assert pairs_found({"a": volume(first), "b": volume(second)}) == []
    assert pairs_found({"a": volume(first), "b": volume(255 * first.astype(np.uint8))}) == [("a", "b")]


# --- channels -----------------------------------------------------------------------------------------------------


def channels(*arrays: np.ndarray) -> Volume:
    return volume(np.stack(arrays, axis=3))


def test_channels_in_another_order_are_found():
    volumes = {
        "a": channels(scan(0), scan(1)),
        "b": channels(2 * scan(1), 7 - scan(0)),
        "c": channels(scan(2), scan(3)),
    }
    assert pairs_found(volumes) == [("a", "b")]


def test_some_of_the_channels_are_found():
    blank = np.zeros(SHAPE)
    volumes = {
        "all": channels(scan(0), scan(1), scan(2)),
        "one": volume(scan(1)),
        "two": channels(scan(2), blank, scan(0)),
    }
    assert pairs_found(volumes) == [("all", "one"), ("all", "two")]
    assert pairs_found({"a": volumes["one"], "b": volumes["all"]}) == [("a", "b")]


def test_a_channel_that_all_cases_share_accuses_nobody():
    """Such as the distance from the centre, given to a network beside the scan."""
    shared = np.indices(SHAPE).sum(axis=0)
    assert pairs_found({str(n): channels(scan(n), shared) for n in range(3)}) == []


def test_the_worst_channel_is_reported():
    noisy = scan(1) + np.random.default_rng(9).normal(0, 5, SHAPE)
    volumes = {"a": channels(scan(0), scan(1)), "b": channels(scan(0), noisy)}
    (found,) = confirm(volumes.__getitem__, [("a", "b")])
    assert found.correlation == pytest.approx(np.corrcoef(scan(1).ravel(), noisy.ravel())[0, 1], abs=1e-12)


# --- the two stages -----------------------------------------------------------------------------------------------


@settings(max_examples=30)
@given(st.integers(0, 1000), st.integers(1, 12))
def test_nomination_is_that_of_a_plain_loop(seed, cases):
    """Few blocks of few distinct patterns, so that much is alike; sizes of the blocks of work vary."""
    rng = np.random.default_rng(seed)
    patterns = rng.normal(size=(4, 2, 3, 4))
    drawn = [rng.choice(5, rng.integers(1, 4)) for _ in range(cases)]
    arrays = [*patterns, np.ones((2, 3, 4))]
    volumes = {
        f"c{n:02}": volume(np.stack([(-1) ** n * arrays[k] + n for k in picks], axis=3), np.eye(4))
        for n, picks in enumerate(drawn)
    }
    expected = [
        (f"c{i:02}", f"c{j:02}")
        for i, j in itertools.combinations(range(cases), 2)
        if (a := set(drawn[i]) - {4}) and (b := set(drawn[j]) - {4}) and (a <= b or b <= a)
    ]
    signatures = {name: signature_of(item) for name, item in volumes.items()}
    assert nominate(signatures) == expected
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(duplicates, "BLOCK_ENTRIES", int(rng.integers(1, 60)))
        assert nominate(signatures) == expected


@pytest.mark.parametrize("slab", [1, 700, 1 << 20])
@pytest.mark.parametrize("order", ["CF", "FC", "FF"])
def test_the_correlation_is_pearsons(slab, order, monkeypatch):
    monkeypatch.setattr(duplicates, "SLAB_VOXELS", slab)
    first = scan(0, (9, 8, 7)) + 1e6
    second = first + np.random.default_rng(0).normal(0, 3, first.shape)
    volumes = {
        name: volume(np.asarray(array, order=o)) for name, array, o in zip("ab", (first, -second), order, strict=True)
    }
    (found,) = confirm(volumes.__getitem__, [("b", "a")])
    assert found.correlation == pytest.approx(-np.corrcoef(first.ravel(), second.ravel())[0, 1], abs=1e-9)
    assert (found.first, found.second) == ("a", "b")


def test_two_volumes_are_held_at_most_and_each_is_read_rarely():
    alive: list[weakref.ref] = []
    reads = []

    def read(case_id: str) -> Volume:
        assert sum(reference() is not None for reference in alive) <= 1
        item = volume(scan(int(case_id[1]), (12, 12, 12)))
        alive.append(weakref.ref(item))
        reads.append(case_id)
        return item

    # a0 and d0 .. are the scan 0; b1, c1 the scan 1
    pairs = [("a0", "b1"), ("a0", "c1"), ("a0", "d0"), ("a0", "e0"), ("d0", "e0"), ("b1", "c1")]
    found = confirm(read, pairs)
    assert [duplicate.pair for duplicate in found] == [("a0", "d0"), ("a0", "e0"), ("b1", "c1")]
    assert reads == ["a0", "b1", "c1", "d0", "e0", "b1", "c1"]


def test_labels_and_files_are_compared_for_duplicates_only():
    volumes = {name: volume(scan(number)) for name, number in {"a": 0, "b": 0, "c": 0, "x": 1}.items()}
    labels = {
        name: volume((scan(0) > limit).astype(np.uint8)) for name, limit in {"a": 600, "b": 600, "c": 601}.items()
    }

    found = confirm(
        volumes.__getitem__,
        [("a", "b"), ("a", "c"), ("a", "x")],
        same_labels=lambda first, second: is_same_label_map(labels[first], labels[second]),
        contents={"a": "sha 1", "b": "sha 1", "c": "sha 2"},
    )
    assert [(d.pair, d.same_labels, d.same_file) for d in found] == [
        (("a", "b"), True, True),
        (("a", "c"), False, False),
    ]
    assert [d.same_labels for d in confirm(volumes.__getitem__, [("a", "b")])] == [None]


def test_label_maps_are_compared_in_the_patient():
    label = (scan(0) > 600).astype(np.uint8)
    turned = volume(*reoriented(label, OBLIQUE, "PSL"))
    assert is_same_label_map(volume(label), turned)
    changed = turned.array.copy()
    changed[0, 0, 0] ^= 1
    assert not is_same_label_map(volume(label), volume(changed, turned.affine))
    assert not is_same_label_map(volume(label), volume(label[1:]))


@pytest.mark.parametrize(
    ("duplicate", "expected"),
    [
        (Duplicate("a", "b", 1.0, True, True), "hold the same image content (the same bytes); their labels agree"),
        (Duplicate("a", "b", 0.9999999, None, False), "a (1.nii, 2.nii) and b (3.nii) hold the same image content"),
        (Duplicate("a", "b", 0.9999989, None, False), "(r = 0.99999)"),
        (Duplicate("a", "b", -0.99912, False, False), "(r = -0.99912); their labels DIFFER"),
        (Duplicate("a", "b", 1.0, None, False), "(r = 1)"),
    ],
)
def test_the_sentence_for_a_user(duplicate, expected):
    assert expected in describe(duplicate, {"a": ["1.nii", "2.nii"], "b": ["3.nii"]})


def test_an_inverted_picture_between_the_same_background_and_marker_is_no_copy():
    """The few bright voxels of a marker make r = 1, and the grey levels of all others run the other way."""
    picture = np.zeros((20, 20, 20))
    picture[:, :, 10:] = np.random.default_rng(0).permutation(4000).reshape(20, 20, 10) / 40 + 100
    other = np.where(picture > 0, 300 - picture, 0)
    for array in (picture, other):
        array[:4, :5, 19] = 1e6
    assert np.corrcoef(picture.ravel(), other.ravel())[0, 1] > 0.9999
    volumes = {"a": volume(picture), "b": volume(other), "c": volume(picture * 2 + 5)}
    assert [
        (found.first, found.second) for found in confirm(volumes.__getitem__, itertools.combinations("abc", 2))
    ] == [("a", "c")]
