import io
from dataclasses import replace

import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.colors import to_rgb
from matplotlib.image import imread
from nibabel.orientations import axcodes2ornt, ornt_transform
from PIL import Image

from imgmed import read_volume, write_volume
from r2d2.reports.contours import draw_overlay
from r2d2.reports.overlay import OverlayError, error_counts, read_overlay

ORIENTATIONS = [
    "".join(codes[axis] for axis in order)
    for order in ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0))
    for codes in ("RAS", "LPS", "LAS", "RPI")
]


def files(folder, image, reference, prediction, affine, orientation="RAS"):
    """Save an RAS study in another orientation; nibabel turns it."""
    turn = ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(orientation))
    paths = []
    for name, array in (("image", image), ("reference", reference), ("prediction", prediction)):
        path = folder / f"{name}.nii.gz"
        nibabel.save(nibabel.Nifti1Image(array, affine).as_reoriented(turn), path)
        paths.append(path)
    return paths


def study(shape=(8, 7, 5)):
    """An image with one bright voxel far right, far front; the structure is largest on slice 3 (from 0)."""
    image, reference = np.zeros(shape, np.float32), np.zeros(shape, np.uint8)
    image[-1, -1, 3] = 1
    reference[2:4, 2:4, 2], reference[2:6, 2:5, 3] = 1, 1
    return image, reference, np.roll(reference, 1, axis=0)


def test_the_right_of_the_patient_is_on_the_left_and_the_front_on_top(tmp_path):
    overlay = read_overlay(*files(tmp_path, *study(), np.diag([1.0, 1.0, 2.0, 1.0])))
    assert (overlay.plane, overlay.position, overlay.slices) == ("axial", 4, 5)
    assert overlay.edges == ("R", "L", "A", "P")
    # Rows run from bottom to top, so that the last row and the first column are front and right.
    assert np.argwhere(overlay.image == 1).tolist() == [[6, 0]]
    assert overlay.reference.sum() == 12


@settings(max_examples=24)
@given(st.sampled_from(ORIENTATIONS))
def test_the_order_of_voxels_in_the_file_does_not_show(tmp_path_factory, orientation):
    affine = np.diag([0.5, 0.7, 3.0, 1.0])
    straight = read_overlay(*files(tmp_path_factory.mktemp("ras"), *study(), affine))
    turned = read_overlay(*files(tmp_path_factory.mktemp("turned"), *study(), affine, orientation))
    for name in ("image", "reference", "prediction"):
        np.testing.assert_array_equal(getattr(turned, name), getattr(straight, name))
    assert turned.spacing_mm == pytest.approx((0.7, 0.5), rel=1e-6)
    assert (turned.plane, turned.position, turned.edges) == (
        straight.plane,
        straight.position,
        straight.edges,
    )


@pytest.mark.parametrize(
    ("spacing", "plane", "edges", "spacing_mm"),
    [
        ((3.0, 1.0, 1.0), "sagittal", ("A", "P", "S", "I"), (1.0, 1.0)),
        ((1.0, 3.0, 0.5), "coronal", ("R", "L", "S", "I"), (0.5, 1.0)),
        ((1.0, 0.5, 3.0), "axial", ("R", "L", "A", "P"), (0.5, 1.0)),
        ((1.1, 1.0, 1.0), "axial", ("R", "L", "A", "P"), (1.0, 1.1)),
    ],
)
def test_slices_are_shown_across_the_axis_on_which_they_are_thick(tmp_path, spacing, plane, edges, spacing_mm):
    overlay = read_overlay(*files(tmp_path, *study(), np.diag([*spacing, 1.0])))
    assert (overlay.plane, overlay.edges) == (plane, edges)
    assert overlay.spacing_mm == pytest.approx(spacing_mm, rel=1e-6)


def test_the_slice_with_the_most_wrong_voxels_is_shown_not_the_largest(tmp_path):
    """Slice 3 (from 0) is largest and right; slice 1 has 6 wrong voxels, slice 2 has 4."""
    image, reference, _ = study()
    prediction = reference.copy()
    prediction[2:4, 2:4, 2] = 0
    prediction[0:2, 0:3, 1] = 1
    overlay = read_overlay(*files(tmp_path, image, reference, prediction, np.eye(4)))
    assert overlay.position == 2
    assert error_counts(overlay, {"a": 1}) == (0, 6, 0)


def test_a_voxel_is_wrong_by_its_labels_and_regions(tmp_path):
    """1 instead of 2 is right for the region of both, wrong for 2 alone; integers of no label are no error."""
    image, reference, _ = study()
    prediction = np.where(reference == 1, 2, 0).astype(np.uint8)
    prediction[0, 0, 1] = 7
    paths = files(tmp_path, image, reference, prediction, np.eye(4))
    assert error_counts(read_overlay(*paths, {"whole": (1, 2)}), {"whole": (1, 2)}) == (0, 0, 0)
    labels = {"whole": (1, 2), "core": 2}
    overlay = read_overlay(*paths, labels)
    assert (overlay.position, error_counts(overlay, labels)) == (4, (0, 0, 12))


def test_ignored_voxels_are_not_wrong(tmp_path):
    image, reference, _ = study()
    judged = reference.copy()
    judged[2:6, 2:5, 3] = 9
    prediction = np.zeros_like(reference)
    overlay = read_overlay(*files(tmp_path, image, judged, prediction, np.eye(4)), {"a": 1}, ignore_label=9)
    assert (overlay.position, error_counts(overlay, {"a": 1})) == (3, (4, 0, 0))


def test_without_a_scan_the_reference_is_drawn_in_greys(tmp_path):
    _, reference, prediction = files(tmp_path, *study(), np.eye(4))
    overlay = read_overlay(None, reference, prediction)
    assert not overlay.has_scan
    np.testing.assert_array_equal(overlay.image > 0, overlay.reference > 0)


def test_pictures_are_drawn_as_they_are(tmp_path):
    """The first row of a picture is at its top, and it has no left and right of a patient."""
    label_map = np.zeros((5, 7), np.uint8)
    label_map[0, 6] = 1
    colours = np.zeros((5, 7, 3), np.uint8)
    colours[0, 0] = (30, 60, 90)
    for name, array in (("image", colours), ("reference", label_map), ("prediction", 0 * label_map)):
        Image.fromarray(array).save(tmp_path / f"{name}.png")
    overlay = read_overlay(*(tmp_path / f"{name}.png" for name in ("image", "reference", "prediction")))
    assert (overlay.edges, overlay.slices, overlay.place) == (("", "", "", ""), 1, "")
    assert np.argwhere(overlay.reference).tolist() == [[4, 6]]  # rows run from bottom to top
    assert overlay.image.shape == (5, 7, 3) and overlay.image[4, 0].tolist() == [30, 60, 90]
    for name in ("reference", "prediction"):  # a prepared dataset keeps label maps of pictures as NIfTI
        write_volume(tmp_path / f"{name}.nii.gz", read_volume(tmp_path / f"{name}.png"))
    paths = (tmp_path / "image.png", tmp_path / "reference.nii.gz", tmp_path / "prediction.nii.gz")
    stored = read_overlay(*paths, is_picture=True)
    np.testing.assert_array_equal(stored.image, overlay.image)
    np.testing.assert_array_equal(stored.reference, overlay.reference)
    assert stored.edges == overlay.edges


def test_a_prediction_that_holds_the_voxels_in_another_order_is_turned(tmp_path):
    paths = files(tmp_path, *study(), np.diag([1.0, 1.0, 2.0, 1.0]))
    straight = read_overlay(*paths)
    turned = nibabel.load(paths[2]).as_reoriented(ornt_transform(axcodes2ornt("RAS"), axcodes2ornt("PSR")))
    nibabel.save(turned, tmp_path / "turned.nii.gz")
    overlay = read_overlay(*paths[:2], tmp_path / "turned.nii.gz")
    np.testing.assert_array_equal(overlay.prediction, straight.prediction)
    nibabel.save(nibabel.Nifti1Image(study()[1], np.eye(4)), tmp_path / "elsewhere.nii.gz")
    with pytest.raises(OverlayError, match="does not lie on the voxels of"):
        read_overlay(*paths[:2], tmp_path / "elsewhere.nii.gz")


def test_a_scan_that_lies_elsewhere_is_refused(tmp_path):
    paths = files(tmp_path, *study(), np.eye(4))
    nibabel.save(nibabel.Nifti1Image(study()[0], np.diag([2.0, 1.0, 1.0, 1.0])), paths[0])
    with pytest.raises(OverlayError, match="another affine"):
        read_overlay(*paths)


def test_many_labels_can_be_drawn(tmp_path):
    labels = {f"organ {value}": value for value in range(1, 31)}
    reference = np.arange(1, 31, dtype=np.uint8).reshape(6, 5, 1)
    overlay = read_overlay(None, *files(tmp_path, reference, reference, np.roll(reference, 1), np.eye(4))[1:], labels)
    assert draw_overlay(overlay, labels, "a", "c").png.startswith(b"\x89PNG")


def test_without_a_reference_the_largest_prediction_is_shown_and_without_both_the_middle(tmp_path):
    image, reference, prediction = study()
    nothing = np.zeros_like(reference)
    assert read_overlay(*files(tmp_path, image, nothing, prediction, np.eye(4))).position == 4
    assert read_overlay(*files(tmp_path, image, nothing, nothing, np.eye(4))).position == 3


def test_of_several_channels_the_first_is_drawn(tmp_path):
    image, reference, prediction = study()
    paths = files(tmp_path, image, reference, prediction, np.eye(4))
    nibabel.save(nibabel.Nifti1Image(np.stack([image, 5 + image], axis=-1), np.eye(4)), paths[0])
    assert read_overlay(*paths).image.max() == 1


def test_other_shapes_are_refused(tmp_path):
    image, reference, prediction = study()
    with pytest.raises(OverlayError, match=r"has shape \(7, 7, 5\)"):
        read_overlay(*files(tmp_path, image[1:], reference, prediction, np.eye(4)))


def count_colour(picture, colour):
    """Pixels of about this colour, given as (red, green, blue) in 0 to 1."""
    pixels = imread(io.BytesIO(picture.png))
    return int((np.abs(pixels[..., :3] - colour).max(axis=-1) < 0.05).sum())


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.5, 2.0, 3.0)])
def test_both_contours_are_drawn_in_colours_of_their_own(tmp_path, spacing):
    """The reference is a band of opacity 0.75, here on black; without its mask a colour is in the legend at most."""
    overlay = read_overlay(*files(tmp_path, *study(), np.diag([*spacing, 1.0])))
    nothing = np.zeros_like(overlay.reference)
    both, reference_only, prediction_only = (
        draw_overlay(changed, {"<b>$x": 1}, alt="a", caption="Case a.")
        for changed in (overlay, replace(overlay, prediction=nothing), replace(overlay, reference=nothing))
    )
    blue_on_black, orange = 0.75 * np.array(to_rgb("#56B4E9")), to_rgb("#E69F00")
    assert count_colour(both, blue_on_black) > count_colour(prediction_only, blue_on_black) + 100
    assert count_colour(both, orange) > count_colour(reference_only, orange) + 100
    assert both.caption == "Case a. Axial slice 4 of 5."


def test_constant_images_structures_at_the_edge_and_no_structure_can_be_drawn(tmp_path):
    shape = (6, 6, 3)
    image = np.full(shape, np.nan, np.float32)
    full, nothing = np.ones(shape, np.uint8), np.zeros(shape, np.uint8)
    for reference, prediction in ((full, full), (full, nothing), (nothing, nothing)):
        overlay = read_overlay(*files(tmp_path, np.zeros(shape, np.float32), reference, prediction, np.eye(4)))
        assert draw_overlay(overlay, {"a": 1, "b": 2}, "a", "c").png.startswith(b"\x89PNG")
    overlay = read_overlay(*files(tmp_path, image, full, full, np.eye(4)))
    assert draw_overlay(overlay, {"a": 1}, "a", "c").png.startswith(b"\x89PNG")
