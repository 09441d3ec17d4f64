"""Small pictures stand upright, have the proportions of the patient, and show where labels are."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from imgmed import PreparationSettings, Volume, prepare_dataset, write_volume
from r2d2.viewing.planes import cut, plane_of
from r2d2.viewing.thumbnails import LARGEST_PX, thumbnail
from tests.r2d2.viewing.oblique import SHAPE, oblique_affine, oblique_case, oblique_dataset


def opened(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content))).astype(int)


def box(mask: np.ndarray) -> np.ndarray:
    """First and last row and column of what is true, as parts of the picture."""
    ends = [(np.flatnonzero(line)[0], np.flatnonzero(line)[-1] + 1) for line in (mask.any(axis=1), mask.any(axis=0))]
    return np.array(ends) / np.array(mask.shape)[:, None]


def test_a_scan(tmp_path: Path) -> None:
    dataset = oblique_dataset(tmp_path)
    shown = opened(thumbnail(dataset, "askew_002"))
    plane = plane_of("coronal", SHAPE, oblique_affine())  # as its slices are cut, none resampled
    assert max(shown.shape[:2]) == LARGEST_PX
    proportion = plane.columns * plane.column_mm / (plane.rows * plane.row_mm)
    assert abs(shown.shape[1] / shown.shape[0] - proportion) < 0.02
    middle = sum(dataset.case("askew_002").slice_range) // 2
    label = cut(oblique_case(2)[1], oblique_affine(), "coronal", middle)
    is_outline = shown[..., 2] - shown[..., 0] > 60  # of the organ's colour
    assert np.abs(box(is_outline) - box(label > 0)).max() < 0.02


def test_pictures_stand_as_their_files(tmp_path: Path) -> None:
    for part in ("images", "masks"):
        (tmp_path / "study" / part).mkdir(parents=True)
        for number in range(4):
            array = np.full((32, 64, 1), 40 + number, np.uint8) if part == "images" else np.zeros((32, 64, 1), np.uint8)
            array[:8, :16] = 200 if part == "images" else 1  # the corner at the top left
            write_volume(tmp_path / "study" / part / f"p{number}.png", Volume(array, np.eye(4)))
    dataset = prepare_dataset(tmp_path / "study", tmp_path / "dataset", PreparationSettings(folds=2))
    shown = opened(thumbnail(dataset, "p1"))
    assert shown.shape == (LARGEST_PX // 2, LARGEST_PX, 3)
    top_left, others = shown[4:16, 4:32].mean(), [shown[50:70, 4:32].mean(), shown[4:16, 100:150].mean()]
    assert top_left > 200 and max(others) < 50
