import hashlib
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from imgmed import prepare_dataset, write_phantom_study
from r2d2_base.errors import OutputExistsError


@pytest.fixture(scope="module")
def phantom(tmp_path_factory) -> Path:
    return write_phantom_study(tmp_path_factory.mktemp("phantom") / "study", cases=15)


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def load(folder: Path) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    index = json.loads((folder / "dataset.json").read_text())
    cases = []
    for entry in index["training"]:
        image, label = (nib.load(folder / entry[part]) for part in ("image", "label"))
        np.testing.assert_array_equal(image.affine, label.affine)
        cases.append((np.asarray(image.dataobj), np.asarray(label.dataobj), image.affine))
    return cases


def test_the_seed_decides_every_byte(tmp_path: Path):
    studies = [
        write_phantom_study(tmp_path / name, cases=3, seed=seed) for name, seed in (("a", 0), ("b", 0), ("c", 1))
    ]
    first, second, other = map(digests, studies)
    assert first == second and len(first) == 7
    assert all(first[name] != other[name] for name in first if name != "dataset.json")


def test_volumes_differ_in_shape_spacing_and_orientation(phantom: Path):
    cases = load(phantom)
    assert len(cases) == 15
    assert {nib.aff2axcodes(affine) for *_, affine in cases} == {("R", "A", "S"), ("L", "P", "S")}
    assert len({image.shape for image, *_ in cases}) > 5
    spacing = np.array([nib.affines.voxel_sizes(affine) for *_, affine in cases])
    assert spacing[:, :2].min() < 0.95 and spacing[:, :2].max() > 1.05
    np.testing.assert_allclose(spacing[:, 2], 3.0)


def test_one_in_five_has_no_lesion_and_the_lesion_is_small(phantom: Path):
    counts = np.array([np.bincount(label.ravel(), minlength=3) for _, label, _ in load(phantom)])
    assert (counts[:, 2] == 0).sum() == 3
    assert (counts[:, 1] > 0).all()
    with_lesion = counts[counts[:, 2] > 0]
    assert (with_lesion[:, 2] < 0.2 * with_lesion[:, 1]).all() and (with_lesion[:, 2] > 50).all()


def test_the_lesion_lies_within_the_organ(phantom: Path):
    for _, label, _ in load(phantom):
        lesion = np.argwhere(label == 2)
        if len(lesion):
            organ = np.argwhere(label > 0)
            assert (lesion.min(0) >= organ.min(0)).all() and (lesion.max(0) <= organ.max(0)).all()


def test_no_threshold_finds_the_structures(phantom: Path):
    """The best global threshold, chosen with the answer at hand, stays far from the references."""
    cases = load(phantom)
    images = np.concatenate([image.ravel() for image, *_ in cases])
    labels = np.concatenate([label.ravel() for _, label, _ in cases])

    def best_dice(mask: np.ndarray) -> float:
        thresholds = np.percentile(images, np.linspace(50, 99.9, 60))
        return max(2 * (mask & (images > t)).sum() / (mask.sum() + (images > t).sum()) for t in thresholds)

    assert best_dice(labels == 2) < 0.85
    assert best_dice(labels > 0) < 0.8


def test_prepared_slices_fit_the_shape_asked_for(phantom: Path, tmp_path: Path):
    dataset = prepare_dataset(phantom, tmp_path / "out")
    assert dataset.scan_preparation.slice_size == (48, 64)
    assert dataset.scan_preparation.slice_axis == 2
    assert dataset.description.normalisation == "zscore_case"
    assert dataset.labels == {"background": 0, "organ": 1, "lesion": 2}
    for name in dataset.cases:
        assert dataset.image(name).shape[1] <= 48 and dataset.image(name).shape[2] <= 64


def test_impossible_sizes_and_folders_in_use_are_refused(tmp_path: Path):
    with pytest.raises(ValueError, match="at least 3 cases of at least 32 x 32 x 8"):
        write_phantom_study(tmp_path / "a", cases=2)
    with pytest.raises(ValueError, match=r"received 5 of \(16, 64, 18\)"):
        write_phantom_study(tmp_path / "a", cases=5, shape=(16, 64, 18))
    (tmp_path / "mine").write_text("1")
    with pytest.raises(OutputExistsError):
        write_phantom_study(tmp_path, cases=3)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_progress_is_told(tmp_path: Path):
    told = []
    write_phantom_study(tmp_path / "a", cases=3, progress=lambda *news: told.append(news))
    assert told == [("phantom", done, 3) for done in (1, 2, 3)]
