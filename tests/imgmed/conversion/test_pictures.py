"""Volumes to pictures and pictures to pictures: what stands in each pixel, and what a run leaves behind."""

import fcntl
import json
import os
import signal
import subprocess
import sys
from itertools import pairwise
from pathlib import Path, PurePosixPath

import cv2
import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from nibabel.orientations import axcodes2ornt, inv_ornt_aff, ornt_transform
from PIL import Image
from pydantic import ValidationError

from imgmed.conversion import PictureConversion, SliceConversion, convert_folder, folder, manifest
from imgmed.conversion.files import encode_picture, read_picture
from imgmed.conversion.pictures import resize_picture, to_grey
from imgmed.errors import ConversionError, SourceNotFoundError, UnreadableFileError, UnsupportedFormatError
from imgmed.selection import evenly_spread
from r2d2_base.errors import BusyFolderError, OutputExistsError
from tests.dicom_files import write_series

pytestmark = pytest.mark.slow

quick = settings(max_examples=40)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def names(folder: Path) -> list[str]:
    return sorted(name for name in contents(folder) if name != "conversion.jsonl")


def grey(path: Path) -> np.ndarray:
    """The pixels as OpenCV reads them, which is not what wrote them."""
    return cv2.imread(str(path), cv2.IMREAD_UNCHANGED)


@pytest.fixture
def eager_workers(monkeypatch):
    """As many processes as are allowed, for little work too."""
    monkeypatch.setattr(folder, "BYTES_WORTH_A_WORKER", 1)


@pytest.fixture
def scans(tmp_path, save_nifti):
    """Six small scans of two channels in two folders with awkward names."""
    for number in range(6):
        rng = np.random.default_rng(number)
        array = rng.integers(0, 1000, (9, 8, 4 + number, 2)).astype(np.int16)
        save_nifti(tmp_path / "my scans" / f"Zürich {number % 2}" / f"case {number}.nii.gz", array, np.eye(4))
    return tmp_path / "my scans"


# ---- orientation -----------------------------------------------------------------------------------------------

MARKED = np.zeros((5, 6, 7), np.uint8)
MARKED[4, 2, 3], MARKED[2, 5, 3], MARKED[2, 2, 6], MARKED[2, 2, 3] = 10, 20, 30, 40  # right, anterior, superior, middle


def oriented(codes: str) -> tuple[np.ndarray, np.ndarray]:
    """The marked volume stored with its axes in another order, and the affine that says so."""
    change = ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(codes))
    array = nib.orientations.apply_orientation(MARKED, change)
    return array, np.eye(4) @ inv_ornt_aff(change, MARKED.shape)


@pytest.mark.parametrize("codes", ["RAS", "LPS", "LAS", "SAR", "PIR", "ILA"])
@pytest.mark.parametrize(
    ("axis", "index", "shape", "where"),
    [
        # rows from the front back, columns from the patient's right to the left
        (2, 3, (6, 5), {10: (3, 0), 20: (0, 2), 40: (3, 2)}),
        # rows from the head down, columns from the patient's right to the left
        (1, 2, (7, 5), {10: (3, 0), 30: (0, 2), 40: (3, 2)}),
        # rows from the head down, columns from the front back
        (0, 2, (7, 6), {20: (3, 0), 30: (0, 3), 40: (3, 3)}),
    ],
    ids=["axial", "coronal", "sagittal"],
)
def test_slices_are_upright_however_the_file_is_stored(tmp_path, save_nifti, codes, axis, index, shape, where):
    save_nifti(tmp_path / "in" / "a.nii.gz", *oriented(codes))
    summary = convert_folder(SliceConversion(axis=axis, window="values"), tmp_path / "in", tmp_path / "out")
    assert summary.pictures == MARKED.shape[axis]
    picture = grey(tmp_path / "out" / f"a_{'xyz'[axis]}{index:03d}.png")
    assert picture.shape == shape
    assert {int(value): tuple(map(int, np.argwhere(picture == value)[0])) for value in np.unique(picture)[1:]} == where


# ---- intensities -----------------------------------------------------------------------------------------------


@quick
@given(
    array=hnp.arrays(st.sampled_from([np.int16, np.uint16]), (3, 4, 2), elements=st.integers(0, 32767)),
    top=st.booleans(),
)
def test_whole_numbers_come_back_from_16_bits(tmp_path_factory, save_nifti, array, top):
    folder = tmp_path_factory.mktemp("bits")
    if top and array.dtype == np.uint16:
        array = array * np.uint16(2) + np.uint16(1)
    save_nifti(folder / "in" / "a.nii", array, np.eye(4))
    convert_folder(SliceConversion(bits=16), folder / "in", folder / "out")
    back = np.stack([grey(folder / "out" / f"a_z{index:03d}.png")[::-1, ::-1].T for index in range(2)], axis=2)
    assert back.dtype == np.uint16
    np.testing.assert_array_equal(back, array)


def test_an_offset_keeps_negative_numbers(tmp_path, save_nifti):
    array = np.array([-1024, -1, 0, 3071], np.int16).reshape(2, 2, 1)
    save_nifti(tmp_path / "in" / "ct.nii", array, np.eye(4))
    convert_folder(SliceConversion(bits=16, offset=1024), tmp_path / "in", tmp_path / "out")
    back = grey(tmp_path / "out" / "ct_z000.png")[::-1, ::-1].T.astype(int) - 1024
    np.testing.assert_array_equal(back, array[..., 0])


@pytest.mark.parametrize(
    ("array", "choice", "sentence"),
    [
        (np.full((2, 2, 2), -5, np.int16), {"bits": 16}, "offset of 5 to 65540"),
        (np.full((2, 2, 2), 300, np.int16), {"window": "values"}, "offset of -300 to -45"),
        (np.full((2, 2, 2), 0.5, np.float32), {"bits": 16}, "not whole numbers"),
        (np.full((2, 2, 2), np.nan, np.float32), {}, "8 NaN or infinite voxels"),
        (np.zeros((2, 2, 2, 2), np.int16), {"channels": (0, 2)}, "channels are 0 to 1"),
        (np.full((2, 2, 2), 300, np.int16), {"labels": True}, "need 16 bits"),
        (np.full((2, 2, 2), 1.5, np.float32), {"labels": True}, "whole numbers"),
    ],
)
def test_what_pixels_cannot_hold_is_refused(tmp_path, save_nifti, array, choice, sentence):
    save_nifti(tmp_path / "in" / "a.nii", array, np.eye(4))
    with pytest.raises(ConversionError, match=sentence):
        convert_folder(SliceConversion(**choice), tmp_path / "in", tmp_path / "out")
    assert names(tmp_path / "out") == []


def test_percentiles_of_each_volume_become_black_and_white(tmp_path, save_nifti):
    array = np.random.default_rng(0).normal(500, 200, (20, 20, 3)).astype(np.float32)
    save_nifti(tmp_path / "in" / "a.nii.gz", array, np.eye(4))
    convert_folder(SliceConversion(percentiles=(5, 90)), tmp_path / "in", tmp_path / "out")
    ordered = np.sort(array.ravel().astype(float))
    low, high = (np.interp(q / 100 * (len(ordered) - 1), np.arange(len(ordered)), ordered) for q in (5, 90))
    expected = np.round(np.clip((array[..., 1].astype(float) - low) / (high - low), 0, 1) * 255)
    picture = grey(tmp_path / "out" / "a_z001.png")[::-1, ::-1].T
    assert np.abs(picture - expected).max() <= 1 and (picture == expected).mean() > 0.99
    line = json.loads((tmp_path / "out" / "conversion.jsonl").read_text().splitlines()[1])
    np.testing.assert_allclose(line["detail"]["black_and_white"], [[low, high]], rtol=1e-6)


def test_a_window_is_the_same_for_every_volume(tmp_path, save_nifti):
    for name, value in (("a", 0), ("b", 100), ("c", 250), ("d", 5000)):
        save_nifti(tmp_path / "in" / f"{name}.nii", np.full((2, 2, 1), value, np.int16), np.eye(4))
    convert_folder(SliceConversion(window=(-50, 250)), tmp_path / "in", tmp_path / "out")
    # 255 * 50 / 300 = 42.5, whose rounding may go either way
    assert [int(grey(path)[0, 0]) for path in sorted((tmp_path / "out").glob("*.png"))][1:] == [128, 255, 255]


def test_a_constant_volume_is_black(tmp_path, save_nifti):
    save_nifti(tmp_path / "in" / "a.nii", np.full((3, 3, 1), 7, np.int16), np.eye(4))
    convert_folder(SliceConversion(), tmp_path / "in", tmp_path / "out")
    assert grey(tmp_path / "out" / "a_z000.png").max() == 0


# ---- channels, names, slices -----------------------------------------------------------------------------------


def test_three_channels_are_red_green_blue_without_smearing_colour(tmp_path, save_nifti):
    """Columns of pure red beside pure blue: with halved chroma (4:2:0) neighbours would mix to purple."""
    array = np.zeros((16, 16, 1, 4), np.uint8)
    array[::2, ..., 0] = 255
    array[1::2, ..., 2] = 255
    array[..., 3] = 99
    save_nifti(tmp_path / "in" / "a.nii", array, np.eye(4))
    convert_folder(SliceConversion(colour="rgb", format="jpg", window=(0, 255)), tmp_path / "in", tmp_path / "out")
    picture = np.asarray(Image.open(tmp_path / "out" / "a_z000.jpg")).astype(int)
    assert picture.shape == (16, 16, 3)
    expected = array[::-1, ::-1, 0, :3].transpose(1, 0, 2)
    assert np.abs(picture - expected).max() < 40


@pytest.mark.parametrize("channels", [1, 2])
def test_fewer_channels_are_the_first_as_grey(tmp_path, save_nifti, channels):
    array = np.random.default_rng(1).integers(0, 255, (9, 7, 1, channels)).astype(np.uint8)
    save_nifti(tmp_path / "in" / "a.nii", array if channels > 1 else array[..., 0], np.eye(4))
    convert_folder(SliceConversion(colour="rgb", window="values"), tmp_path / "in", tmp_path / "out")
    picture = grey(tmp_path / "out" / "a_z000.png")
    for channel in range(3):
        np.testing.assert_array_equal(picture[..., channel], array[::-1, ::-1, 0, 0].T)


def test_grey_keeps_every_channel_under_its_number(tmp_path, save_nifti):
    array = np.arange(2 * 2 * 1 * 3, dtype=np.uint8).reshape(2, 2, 1, 3)
    save_nifti(tmp_path / "in" / "a.nii", array, np.eye(4))
    convert_folder(SliceConversion(window="values"), tmp_path / "in", tmp_path / "all")
    convert_folder(SliceConversion(window="values", channels=(2,)), tmp_path / "in", tmp_path / "one")
    assert names(tmp_path / "all") == ["a_z000_0000.png", "a_z000_0001.png", "a_z000_0002.png"]
    assert names(tmp_path / "one") == ["a_z000_0002.png"]
    np.testing.assert_array_equal(grey(tmp_path / "all" / "a_z000_0001.png"), array[::-1, ::-1, 0, 1].T)


def test_names_sort_in_the_order_of_slices(tmp_path, save_nifti):
    save_nifti(tmp_path / "in" / "long.nii", np.zeros((2, 2, 1001), np.uint8), np.eye(4))
    convert_folder(SliceConversion(slices=3), tmp_path / "in", tmp_path / "out")
    assert names(tmp_path / "out") == ["long_z0166.png", "long_z0500.png", "long_z0834.png"]


@given(count=st.integers(1, 400), wanted=st.integers(1, 500))
def test_even_slices_are_distinct_ordered_and_centred(count, wanted):
    indices = evenly_spread(count, wanted)
    assert len(indices) == min(count, wanted)
    assert indices == sorted(set(indices)) and indices[0] >= 0 and indices[-1] < count
    gaps = {after - before for before, after in pairwise(indices)}
    assert not gaps or max(gaps) - min(gaps) <= 1
    assert abs(indices[0] - (count - 1 - indices[-1])) <= 1


# ---- pictures --------------------------------------------------------------------------------------------------


@given(picture=hnp.arrays(np.uint8, (5, 4, 3)))
def test_grey_is_the_luma_that_pillow_computes(picture):
    np.testing.assert_array_equal(to_grey(picture), np.asarray(Image.fromarray(picture).convert("L")))


@given(value=st.integers(0, 65535), size=st.tuples(st.integers(1, 40), st.integers(1, 40)))
def test_resizing_keeps_a_constant(value, size):
    assert (resize_picture(np.full((7, 11), value, np.uint16), size) == value).all()


def test_shrinking_averages_areas():
    picture = np.random.default_rng(2).integers(0, 256, (12, 8, 3)).astype(np.uint8)
    expected = picture.reshape(4, 3, 4, 2, 3).mean(axis=(1, 3))
    assert np.abs(resize_picture(picture, (4, 4)) - expected).max() <= 0.5001


@given(
    picture=hnp.arrays(np.uint16, (6, 5), elements=st.sampled_from([0, 3, 700, 65535])),
    size=st.tuples(st.integers(1, 20), st.integers(1, 20)),
)
def test_labels_are_never_invented(picture, size):
    resized = resize_picture(picture, size, labels=True)
    assert resized.shape == size and resized.dtype == np.uint16
    assert set(np.unique(resized)) <= set(np.unique(picture))


def test_label_slices_are_resized_without_new_values(tmp_path, save_nifti):
    array = np.zeros((10, 10, 2), np.float32)
    array[2:7, 3:8] = 4
    array[4:6, 4:6] = 1.99999
    save_nifti(tmp_path / "in" / "a.nii", array, np.eye(4))
    convert_folder(SliceConversion(labels=True, size=(35, 23)), tmp_path / "in", tmp_path / "out")
    picture = grey(tmp_path / "out" / "a_z001.png")
    assert picture.shape == (35, 23) and set(np.unique(picture)) == {0, 2, 4}


def test_jpeg_becomes_png_with_the_same_pixels(tmp_path):
    (tmp_path / "in").mkdir()
    noise = np.random.default_rng(3).integers(0, 256, (20, 30, 3)).astype(np.uint8)
    Image.fromarray(noise).save(tmp_path / "in" / "a.JPEG", quality=80)
    convert_folder(PictureConversion(source="jpg", format="png"), tmp_path / "in", tmp_path / "out")
    with Image.open(tmp_path / "in" / "a.JPEG") as jpeg, Image.open(tmp_path / "out" / "a.png") as png:
        np.testing.assert_array_equal(np.asarray(png), np.asarray(jpeg))


def test_a_grey_jpeg_is_not_encoded_again(tmp_path):
    (tmp_path / "in").mkdir()
    noise = np.random.default_rng(4).integers(0, 256, (20, 30)).astype(np.uint8)
    Image.fromarray(noise).save(tmp_path / "in" / "a.jpg", quality=60)
    convert_folder(PictureConversion(source="jpg", grey=True), tmp_path / "in", tmp_path / "out")
    assert (tmp_path / "out" / "a.jpg").read_bytes() == (tmp_path / "in" / "a.jpg").read_bytes()


@given(array=hnp.arrays(st.sampled_from([np.uint8, np.uint16]), hnp.array_shapes(min_dims=2, max_dims=2, max_side=9)))
def test_png_keeps_every_number(tmp_path_factory, array):
    path = tmp_path_factory.mktemp("png") / "a.png"
    path.write_bytes(encode_picture(array, "png"))
    np.testing.assert_array_equal(read_picture(path), array)
    np.testing.assert_array_equal(grey(path), array)


def test_pictures_of_every_kind_are_read_as_they_are(tmp_path):
    rgb = np.random.default_rng(5).integers(0, 256, (6, 8, 3)).astype(np.uint8)
    opaque = np.dstack([rgb, np.full((6, 8), 255, np.uint8)])
    Image.fromarray(opaque).save(tmp_path / "rgba.png")
    np.testing.assert_array_equal(read_picture(tmp_path / "rgba.png"), rgb)
    turned = Image.Exif()
    turned[0x0112] = 6  # to be turned by 90 degrees clockwise
    Image.fromarray(rgb).save(tmp_path / "turned.png", exif=turned)
    np.testing.assert_array_equal(read_picture(tmp_path / "turned.png"), np.rot90(rgb, -1))
    palette = Image.fromarray((rgb[..., 0] % 3).astype(np.uint8), "L").convert("P")
    palette.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
    palette.save(tmp_path / "palette.png")
    np.testing.assert_array_equal(read_picture(tmp_path / "palette.png", labels=True), rgb[..., 0] % 3)
    assert read_picture(tmp_path / "palette.png").shape == (6, 8, 3)
    cv2.imwrite(str(tmp_path / "deep.tif"), rgb[..., 0].astype(np.uint16) * 200)
    np.testing.assert_array_equal(read_picture(tmp_path / "deep.tif"), rgb[..., 0].astype(np.uint16) * 200)


def test_what_would_be_lost_in_silence_is_refused(tmp_path):
    cv2.imwrite(str(tmp_path / "deep.png"), np.full((4, 4, 3), 40000, np.uint16))
    with pytest.raises(UnsupportedFormatError, match="16 bit colour"):
        read_picture(tmp_path / "deep.png")
    Image.fromarray(np.full((4, 4, 4), 100, np.uint8)).save(tmp_path / "clear.png")
    with pytest.raises(UnsupportedFormatError, match="transparent"):
        read_picture(tmp_path / "clear.png")
    page = Image.new("L", (4, 4))
    page.save(tmp_path / "pages.tif", save_all=True, append_images=[page])
    with pytest.raises(UnsupportedFormatError, match="2 pictures"):
        read_picture(tmp_path / "pages.tif")
    (tmp_path / "cut.png").write_bytes((tmp_path / "deep.png").read_bytes()[:40])
    with pytest.raises(UnreadableFileError, match=r"cut\.png"):
        read_picture(tmp_path / "cut.png")


@pytest.mark.parametrize(
    ("conversion", "choice"),
    [
        (SliceConversion, {"bits": 16, "format": "jpg"}),
        (SliceConversion, {"bits": 16, "colour": "rgb"}),
        (SliceConversion, {"labels": True, "format": "jpg"}),
        (SliceConversion, {"labels": True, "window": (0, 1)}),
        (SliceConversion, {"offset": 5}),
        (SliceConversion, {"window": (5, 5)}),
        (SliceConversion, {"percentiles": (99, 1)}),
        (SliceConversion, {"colour": "rgb", "channels": (0, 1)}),
        (SliceConversion, {"channels": (-1,)}),
        (SliceConversion, {"size": (0, 5)}),
        (SliceConversion, {"depth": 5}),
        (PictureConversion, {"labels": True, "format": "jpg"}),
        (PictureConversion, {"labels": True, "grey": True}),
        (PictureConversion, {"size": (10, 100000)}),
    ],
)
def test_settings_that_contradict_themselves_are_refused(conversion, choice):
    with pytest.raises(ValidationError):
        conversion(**choice)


# ---- folders ---------------------------------------------------------------------------------------------------


def test_sub_folders_are_kept_and_hidden_files_left_out(scans, tmp_path):
    (scans / ".hidden").mkdir()
    for name in (".hidden/a.nii.gz", "._case 0.nii.gz", "notes.txt"):
        (scans / name).write_text("no scan")
    (tmp_path / "elsewhere").mkdir()
    os.link(scans / "Zürich 0" / "case 0.nii.gz", tmp_path / "elsewhere" / "linked.nii.gz")
    (scans / "link").symlink_to(tmp_path / "elsewhere")
    (scans / "link" / "round").symlink_to(scans)  # a circle
    summary = convert_folder(SliceConversion(), scans, tmp_path / "out")
    assert (summary.sources, summary.converted, summary.gone) == (7, 7, ())
    assert {str(PurePosixPath(name).parent) for name in names(tmp_path / "out")} == {"Zürich 0", "Zürich 1", "link"}
    assert "Zürich 1/case 5_z008_0001.png" in names(tmp_path / "out")
    assert summary.pictures == len(names(tmp_path / "out")) == 2 * (4 + sum(range(4, 10)))


def test_run_twice_it_does_nothing(scans, tmp_path):
    convert_folder(SliceConversion(), scans, tmp_path / "out")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")}
    summary = convert_folder(SliceConversion(), scans, tmp_path / "out", workers=2)
    assert (summary.sources, summary.converted, summary.pictures) == (6, 0, len(names(tmp_path / "out")))
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")} == before


def test_two_workers_write_what_one_writes(scans, tmp_path, eager_workers):
    seen = []
    convert_folder(SliceConversion(size=(20, 30)), scans, tmp_path / "one")
    convert_folder(
        SliceConversion(size=(20, 30)), scans, tmp_path / "two", workers=2, progress=lambda *step: seen.append(step)
    )
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert seen == [("converting", number, 6) for number in range(7)]


def test_a_changed_source_is_converted_again_and_nothing_stale_stays(scans, tmp_path, save_nifti):
    convert_folder(SliceConversion(), scans, tmp_path / "out")
    changed = scans / "Zürich 1" / "case 5.nii.gz"
    times = changed.stat()
    save_nifti(changed, np.zeros((9, 8, 2, 2), np.int16), np.eye(4))
    os.utime(changed, ns=(times.st_atime_ns, times.st_mtime_ns))
    (tmp_path / "out" / "Zürich 0" / "case 0_z001_0000.png").unlink()
    (tmp_path / "out" / "Zürich 0" / "case 2_z001_0000.png").write_bytes(b"cut")
    (scans / "Zürich 0" / "case 4.nii.gz").unlink()
    summary = convert_folder(SliceConversion(), scans, tmp_path / "out")
    assert (summary.sources, summary.converted) == (5, 3)
    assert summary.gone == ("Zürich 0/case 4.nii.gz",)
    fresh = tmp_path / "fresh"
    convert_folder(SliceConversion(), scans, fresh)
    after, expected = contents(tmp_path / "out"), contents(fresh)
    assert {name: after[name] for name in expected if name.endswith(".png")} == {
        name: data for name, data in expected.items() if name.endswith(".png")
    }
    assert all("case 4" in name for name in set(after) - set(expected))


def test_names_that_collide_are_all_listed_before_anything_is_written(tmp_path, save_nifti):
    for name in ("a.nii", "a.nii.gz", "sub/b.nii", "sub/b.NII.GZ", "c.nii"):
        save_nifti(tmp_path / "in" / name.replace("NII.GZ", "nii.gz"), np.zeros((2, 2, 2), np.uint8), np.eye(4))
    with pytest.raises(ConversionError) as caught:
        convert_folder(SliceConversion(), tmp_path / "in", tmp_path / "out")
    assert caught.value.problems == ("a: a.nii and a.nii.gz", "sub/b: sub/b.nii and sub/b.nii.gz")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("workers", [1, 2])
def test_broken_files_are_listed_together_and_the_others_done(scans, tmp_path, eager_workers, workers):
    broken = scans / "Zürich 0" / "case 0.nii.gz"
    whole = broken.read_bytes()
    broken.write_bytes(whole[:100])
    (scans / "Zürich 1" / "empty.nii").write_bytes(b"")
    (scans / "dangling.nii").symlink_to(tmp_path / "nowhere")
    with pytest.raises(ConversionError, match="3 of 8 files") as caught:
        convert_folder(SliceConversion(), scans, tmp_path / "out", workers=workers)
    assert [problem.split(":")[0] for problem in caught.value.problems] == [
        str(scans / name) for name in ("Zürich 0/case 0.nii.gz", "Zürich 1/empty.nii", "dangling.nii")
    ]
    assert len(names(tmp_path / "out")) == 2 * sum(range(5, 10))
    broken.write_bytes(whole)
    (scans / "Zürich 1" / "empty.nii").unlink()
    (scans / "dangling.nii").unlink()
    assert convert_folder(SliceConversion(), scans, tmp_path / "out").converted == 1


def test_a_folder_of_something_else_is_left_alone(scans, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.txt").write_text("mine")
    with pytest.raises(OutputExistsError, match="no conversion wrote"):
        convert_folder(SliceConversion(), scans, out)
    with pytest.raises(OutputExistsError, match="no folder"):
        convert_folder(SliceConversion(), scans, out / "thesis.txt")
    assert contents(out) == {"thesis.txt": b"mine"}


def test_other_settings_or_sources_do_not_mix(scans, tmp_path):
    convert_folder(SliceConversion(slices=1), scans, tmp_path / "out")
    before = contents(tmp_path / "out")
    with pytest.raises(ConversionError, match=r"slices 1, now 2"):
        convert_folder(SliceConversion(slices=2), scans, tmp_path / "out")
    with pytest.raises(ConversionError, match="holds the pictures of"):
        convert_folder(SliceConversion(slices=1), scans / "Zürich 0", tmp_path / "out")
    assert contents(tmp_path / "out") == before


def test_sources_and_pictures_lie_apart(scans, tmp_path):
    for out in (scans, scans / "pictures"):
        with pytest.raises(ConversionError, match="lies within"):
            convert_folder(SliceConversion(), scans, out)
    with pytest.raises(SourceNotFoundError, match="no pictures"):
        convert_folder(PictureConversion(), scans, tmp_path / "out")
    with pytest.raises(SourceNotFoundError, match="no such file"):
        convert_folder(PictureConversion(), scans / "nowhere", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_one_file_is_a_source_too(scans, tmp_path):
    for number in (0, 2):
        source = scans / "Zürich 0" / f"case {number}.nii.gz"
        summary = convert_folder(SliceConversion(slices=1, channels=(0,)), source, tmp_path / "out")
        assert (summary.sources, summary.converted, summary.pictures, summary.gone) == (1, 1, 1, ())
    assert names(tmp_path / "out") == ["case 0_z002_0000.png", "case 2_z003_0000.png"]


def test_a_dicom_series_is_one_volume_with_one_window(tmp_path):
    """The same scan as NIfTI gives the same pictures; a lone file is called by its own name, a broken one is listed."""
    array = np.random.default_rng(0).integers(-900, 900, (8, 7, 5)).astype(np.int16)
    affine = np.diag([-1.0, -1.0, 2.0, 1.0])
    write_series(tmp_path / "in" / "p1" / "ct", array, affine, names="IM{:04d}".format)
    for number, name in enumerate("ab"):
        write_series(tmp_path / "in" / "p2", array[..., number : number + 2], affine, names=f"{name}{{}}.dcm".format)
    write_series(tmp_path / "in", array[..., :1], affine, names="lone{}.dcm".format)
    summary = convert_folder(SliceConversion(), tmp_path / "in", tmp_path / "out")
    assert (summary.sources, summary.converted, summary.pictures) == (4, 4, 10)
    assert {name[:-9] for name in names(tmp_path / "out")} == {"p1/ct", "p2_1", "p2_2", "lone0"}
    (tmp_path / "volumes" / "p1").mkdir(parents=True)
    nib.save(nib.Nifti1Image(array, affine), tmp_path / "volumes" / "p1" / "ct.nii.gz")
    convert_folder(SliceConversion(), tmp_path / "volumes", tmp_path / "expected")
    for name in names(tmp_path / "expected"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "expected" / name).read_bytes()
    assert convert_folder(SliceConversion(), tmp_path / "in", tmp_path / "out").converted == 0
    (tmp_path / "in" / "p1" / "ct" / "IM0003").unlink()
    (tmp_path / "in" / "broken.dcm").write_bytes(b"hello")
    with pytest.raises(ConversionError, match=r"(?s)2 of 5 files .* 3 are done.*broken\.dcm: .*1 slice is missing"):
        convert_folder(SliceConversion(), tmp_path / "in", tmp_path / "out")


def test_the_folder_of_a_series_gives_its_name(tmp_path):
    array = np.arange(24, dtype=np.int16).reshape(4, 3, 2)
    write_series(tmp_path / "chest", array, np.diag([-1.0, -1.0, 2.0, 1.0]), names="{}.dcm".format)
    convert_folder(SliceConversion(window="lung"), tmp_path / "chest", tmp_path / "out")
    assert names(tmp_path / "out") == ["chest_z000.png", "chest_z001.png"]
    expected = np.rint((array[..., 0].astype(float) + 1350) * 255 / 1500).astype(np.uint8)
    np.testing.assert_array_equal(grey(tmp_path / "out" / "chest_z000.png"), expected.T)


def test_a_line_cut_off_by_a_crash_does_not_count(scans, tmp_path):
    convert_folder(SliceConversion(), scans, tmp_path / "out")
    whole = contents(tmp_path / "out")
    listing = tmp_path / "out" / "conversion.jsonl"
    listing.write_bytes(whole["conversion.jsonl"][:-20])
    (tmp_path / "out" / "Zürich 1" / ".case 5_z000.png.0123abcd.partial").write_bytes(b"half")
    assert convert_folder(SliceConversion(), scans, tmp_path / "out").converted == 1
    assert contents(tmp_path / "out") == whole


def test_two_runs_do_not_write_one_folder(scans, tmp_path, monkeypatch):
    monkeypatch.setattr(manifest, "PATIENCE_S", 0.2)
    (tmp_path / "out").mkdir()
    holder = os.open(tmp_path / "out", os.O_RDONLY)
    try:
        fcntl.flock(holder, fcntl.LOCK_EX)
        with pytest.raises(BusyFolderError, match="being written by another process"):
            convert_folder(SliceConversion(), scans, tmp_path / "out")
    finally:
        os.close(holder)
    assert convert_folder(SliceConversion(), scans, tmp_path / "out").converted == 6


# ---- workers ---------------------------------------------------------------------------------------------------


CONVERT = """
import os, signal, sys
from pathlib import Path
from imgmed.conversion import SliceConversion, convert_folder, folder
folder.BYTES_WORTH_A_WORKER = 1
def report(stage, done, total):
    if stage == "converting" and str(done) == sys.argv[3]:
        os.kill(os.getpid(), signal.SIGKILL)
convert_folder(SliceConversion(size=(150, 150)), Path(sys.argv[1]), Path(sys.argv[2]), workers=2, progress=report)
"""


def test_killed_midway_it_goes_on_to_the_same_folder(tmp_path, save_nifti):
    """SIGKILL hits the run, not its workers: they must end by themselves, and leave nothing half-written."""
    for number in range(8):
        array = np.random.default_rng(number).integers(0, 1000, (40, 40, 40)).astype(np.int16)
        save_nifti(tmp_path / "in" / f"case {number}.nii", array, np.eye(4))
    convert_folder(SliceConversion(size=(150, 150)), tmp_path / "in", tmp_path / "undisturbed")
    out = tmp_path / "out"
    command = [sys.executable, "-c", CONVERT, str(tmp_path / "in"), str(out)]
    for done, altogether in ((1, 1), (3, 4), (2, 6)):
        assert subprocess.run([*command, str(done)]).returncode == -signal.SIGKILL
        assert (out / "conversion.jsonl").read_bytes().count(b"\n") == 1 + altogether
    subprocess.run([*command, "never"], check=True)
    assert contents(out) == contents(tmp_path / "undisturbed")
