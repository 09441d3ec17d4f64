"""What is shown of a case is what its files hold, voxel by voxel, where it lies in the patient."""

import io
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

from imgmed import PreparedDataset, Volume, read_volume, write_volume
from r2d2.errors import PredictionError, R2D2Error
from r2d2.prediction.manifest import PredictedCase, PredictionManifest, write_manifest
from r2d2.reports.palette import colours_of, rgb
from r2d2.viewing.browser_volume import browser_volume, thinning
from r2d2.viewing.case import case_of_dataset, case_of_prediction
from r2d2.viewing.pictures import grey_picture, label_picture, window_of
from r2d2.viewing.planes import cut, plane_names, plane_of, usual_plane
from r2d2.viewing.reader import CaseReader
from tests.dicom_files import write_series
from tests.r2d2.viewing.oblique import LABELS, SHAPE, oblique_affine, oblique_case, oblique_dataset

NAME = "askew_001"


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> PreparedDataset:
    return oblique_dataset(tmp_path_factory.mktemp("viewing"))


def reader(seen: list[Path] | None = None) -> CaseReader:
    return CaseReader((seen if seen is not None else []).extend)


def predicted(folder: Path, source: str, case_id: str = NAME) -> np.ndarray:
    """Write a folder with a label map as `predict` does, the reference moved by a voxel."""
    folder.mkdir()
    label = np.roll(oblique_case(1)[1], 1, axis=1)
    write_volume(folder / f"{case_id}.nii.gz", Volume(label, oblique_affine()))
    case = PredictedCase(case_id=case_id, file=f"{case_id}.nii.gz", source=source, source_sha256=("0",), split=None)
    labels = {"background": 0, **LABELS}
    write_manifest(folder, PredictionManifest(model="m", model_sha256="0", labels=labels, cases=(case,)))
    return label


def opened(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)))


def towards(plane: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Directions in the patient (right, anterior, superior) of growing rows, columns and slices of a picture."""
    right, front, head = np.eye(3)
    if plane == "sagittal":
        return -head, -front, right
    return (-front, -right, head) if plane == "axial" else (-head, -right, front)


def test_the_planes_lie_as_they_say(dataset: PreparedDataset) -> None:
    affine = oblique_affine()
    voxels = np.moveaxis(np.indices(SHAPE), 0, -1)
    for name in plane_names(is_picture=False):
        plane = plane_of(name, SHAPE, affine)
        rows, columns, slices = towards(name)
        stack = [
            np.stack([cut(voxels[..., axis], affine, name, at) for axis in range(3)], -1) for at in range(plane.slices)
        ]
        places = np.stack(stack) @ affine[:3, :3].T + affine[:3, 3]
        assert places.shape == (plane.slices, plane.rows, plane.columns, 3)
        for axis, direction, length in ((0, slices, None), (1, rows, plane.row_mm), (2, columns, plane.column_mm)):
            step = np.diff(places, axis=axis).reshape(-1, 3)
            assert (step @ direction > 0.9 * np.linalg.norm(step, axis=1)).all()  # 20 degrees off at most
            assert length is None or np.allclose(np.linalg.norm(step, axis=1), length)
    assert plane_of("axial", SHAPE, affine).edges == ("R", "L", "A", "P")
    assert plane_of("sagittal", SHAPE, affine).edges == ("A", "P", "S", "I")
    assert usual_plane(SHAPE, affine, is_picture=False) == "coronal"  # across 3 mm


def test_pictures_hold_the_voxels_of_scan_and_labels(dataset: PreparedDataset, tmp_path: Path) -> None:
    label = predicted(tmp_path / "prediction", "elsewhere.nii.gz")
    case = case_of_dataset(dataset, NAME, tmp_path / "prediction")
    read = reader()
    scan = read.scan(case)
    image, reference = oblique_case(1)
    assert scan.note == "" and np.array_equal(scan.volume.array, image)
    low, high = window_of(scan.volume.array)
    colours = colours_of(LABELS)
    table = np.array([(0, 0, 0, 0)] + [(*rgb(colours[name]), 255) for name in LABELS], np.uint8)
    for name in plane_names(is_picture=False):
        at = plane_of(name, SHAPE, oblique_affine()).slices // 2
        grey = cut(scan.volume.array, scan.volume.affine, name, at)
        expected = np.clip(np.rint((grey.astype(np.float64) - low) * 255 / (high - low)), 0, 255)
        assert np.abs(opened(grey_picture(grey, (low, high))) - expected).max() <= 1
        for layer, array in (("reference", reference), ("prediction", label)):
            plane = cut(read.label_map(case, layer), oblique_affine(), name, at)
            assert np.array_equal(plane, cut(array, oblique_affine(), name, at)) and plane.any()
            assert np.array_equal(opened(label_picture(plane, LABELS, colours)), table[plane])


def test_an_outline_is_the_rim_of_each_label() -> None:
    plane = np.zeros((7, 8), np.uint8)
    plane[1:6, 2:8] = 1
    plane[3, 4] = 2
    drawn = opened(label_picture(plane, LABELS, colours_of(LABELS), is_outline=True))[..., 3] > 0
    expected = np.zeros((7, 8), bool)
    expected[1:6, 2:8] = True
    expected[[2, 2, 4, 4], [3, 5, 3, 5]] = False  # touch the lesion at its corners only
    expected[2:5, 6:8] = False  # the end of the picture is no border
    assert np.array_equal(drawn, expected)


def test_a_picture_of_a_number_that_is_no_label_and_of_voxels_that_are_none() -> None:
    assert opened(label_picture(np.array([[0, 9]]), LABELS, colours_of(LABELS))).tolist() == [[[0] * 4, [255] * 4]]
    assert opened(grey_picture(np.array([[np.nan, np.inf, 1.0]]), (0.0, 2.0))).tolist() == [[0, 255, 128]]
    assert window_of(np.full((2, 2, 2), 7)) == (6.5, 7.5) and window_of(np.full((1, 1, 1), np.nan)) == (0.0, 1.0)


def test_without_its_scan_a_case_is_shown_as_it_was_prepared(dataset: PreparedDataset, tmp_path: Path) -> None:
    moved = shutil.copytree(dataset.folder.parent, tmp_path / "moved")
    content = (moved / "dataset" / "dataset.json").read_text()
    (moved / "dataset" / "dataset.json").write_text(content.replace(str(dataset.source_root), str(tmp_path / "gone")))
    lone = PreparedDataset.read(moved / "dataset")
    case = case_of_dataset(lone, NAME)
    scan = reader().scan(case)
    assert "as it was prepared" in scan.note and scan.volume.shape == SHAPE
    assert np.allclose(scan.volume.affine, oblique_affine(), atol=1e-4)
    image = oblique_case(1)[0]
    low, high = lone.case(NAME).clip_bounds[0]
    assert np.abs(scan.volume.array - np.clip(image, low, high)).max() < 1e-2
    assert np.array_equal(reader().label_map(case, "reference"), oblique_case(1)[1])


def test_files_are_asked_for_before_they_are_opened(dataset: PreparedDataset) -> None:
    def refuse(files: object) -> None:
        raise R2D2Error(f"outside: {files}")

    case = case_of_dataset(dataset, NAME)
    seen: list[Path] = []
    reader(seen).label_map(case, "reference")
    assert seen == [dataset.source_root / "imagesTr" / f"{NAME}.nii.gz", dataset.reference(NAME)]
    with pytest.raises(R2D2Error, match="outside"):
        CaseReader(refuse).scan(case)


def test_a_prediction_of_scans_from_anywhere(tmp_path: Path) -> None:
    image, _ = oblique_case(1)
    write_volume(tmp_path / "new.nii.gz", Volume(image, oblique_affine()))
    label = predicted(tmp_path / "out", str(tmp_path / "new.nii.gz"), "new")
    case = case_of_prediction(tmp_path / "out", "new")
    assert case.reference is None and list(case.labels) == ["organ", "lesion"]
    assert np.array_equal(reader().scan(case).volume.array, image)
    assert np.array_equal(reader().label_map(case, "prediction"), label)
    with pytest.raises(R2D2Error, match="has no reference"):
        reader().label_map(case, "reference")
    with pytest.raises(PredictionError, match="no label map of case 'other'"):
        case_of_prediction(tmp_path / "out", "other")
    (tmp_path / "new.nii.gz").unlink()
    with pytest.raises(R2D2Error, match="cannot be shown"):
        reader().scan(case)


def test_volumes_are_read_once_and_let_go(dataset: PreparedDataset) -> None:
    read = CaseReader(lambda files: None, most_bytes=3 * SHAPE[0] * SHAPE[1] * SHAPE[2])
    first, other = (case_of_dataset(dataset, name) for name in (NAME, "askew_002"))
    kept = read.scan(first).volume.array
    assert read.scan(first).volume.array is kept
    read.scan(other)
    assert read.scan(first).volume.array is not kept


def test_a_browser_gets_the_voxels_where_they_lie(tmp_path: Path) -> None:
    image, label = oblique_case(2)
    for array, is_label_map in ((image, False), (label, True), (image / 7.0 - 3.0, False)):
        made = browser_volume(array, oblique_affine(), is_label_map=is_label_map, window=(1.0, 2.0))
        (tmp_path / "sent.nii.gz").write_bytes(made.content)
        read = read_volume(tmp_path / "sent.nii.gz")
        assert made.steps == (1, 1, 1) and np.allclose(read.affine, oblique_affine(), atol=1e-4)
        assert np.abs(read.array - array).max() <= (0 if array.dtype.kind != "f" else np.ptp(array) / 65534)
        header = nibabel.load(tmp_path / "sent.nii.gz").header
        assert (header["cal_min"], header["cal_max"]) == (1.0, 2.0)


def test_large_volumes_are_thinned_out_on_the_same_grid(tmp_path: Path) -> None:
    image, label = oblique_case(3)
    steps = thinning(SHAPE, (0.8, 1.1, 3.0), 500)
    assert steps == (4, 3, 1)  # 5 x 8 x 12 voxels of 3.2, 3.3 and 3 mm
    for array, is_label_map in ((image, False), (label, True)):
        made = browser_volume(array, oblique_affine(), is_label_map=is_label_map, most_voxels=500)
        (tmp_path / "sent.nii.gz").write_bytes(made.content)
        read = read_volume(tmp_path / "sent.nii.gz")
        assert np.prod(made.shape) <= 500 and np.array_equal(read.array, array[:: steps[0], :: steps[1], :: steps[2]])
        for voxel in ((0, 0, 0), (2, 3, 4)):
            there = oblique_affine() @ (*(np.array(voxel) * steps), 1)
            assert np.allclose(read.affine @ (*voxel, 1), there, atol=1e-3)
    assert browser_volume(image, oblique_affine(), most_voxels=None).shape == SHAPE


def test_a_series_is_found_by_its_first_file(tmp_path: Path) -> None:
    affine = np.array([[-0.8, 0, 0, 10], [0, -1.1, 0, 20], [0, 0, 3.0, 30], [0, 0, 0, 1]])
    stored = np.random.default_rng(0).integers(0, 500, (20, 16, 5)).astype(np.uint16)
    files = write_series(tmp_path / "series", stored, affine)
    predicted(tmp_path / "out", str(files[0]), "series")
    seen: list[Path] = []
    volume = reader(seen).scan(case_of_prediction(tmp_path / "out", "series")).volume
    assert seen == sorted(files)  # each is asked for: a folder may hold links
    for voxel in ((0, 0, 0), (3, 7, 2), (19, 15, 4)):
        there = np.linalg.solve(volume.affine, affine @ (*voxel, 1))[:3].round().astype(int)
        assert volume.array[tuple(there)] == stored[voxel]
