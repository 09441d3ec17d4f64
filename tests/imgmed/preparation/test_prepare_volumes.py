"""Studies prepared as volumes: what lies on disk, the way back to the scans, and what is refused."""

import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from imgmed import PreparationSettings, PreparedDataset, prepare_dataset, prepare_scan, read_volume
from imgmed.errors import InvalidCasesError

pytestmark = pytest.mark.slow
VOLUMES = PreparationSettings(kind="volumes")


def ball(shape: tuple[int, int, int], spacing: tuple[float, float, float], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A body in emptiness with a labelled ball of 15 mm in its middle, and a smaller one within."""
    places = np.indices(shape) * np.reshape(spacing, (3, 1, 1, 1))
    centre = np.reshape([size * step / 2 for size, step in zip(shape, spacing, strict=True)], (3, 1, 1, 1))
    distance = np.sqrt(((places - centre) ** 2).sum(axis=0))
    label = (distance < 15).astype(np.uint8) + (distance < 6).astype(np.uint8)
    noise = np.random.default_rng(seed).normal(100, 10, shape)
    image = np.where(distance < 20, noise + 50 * (label > 0), 0).astype(np.float32)
    return image, label


def add_ball(builder, name: str, shape=(50, 50, 20), spacing=(1.0, 1.0, 2.5), seed=0) -> None:
    """Stored left to right and from the head down."""
    affine = np.diag([-spacing[0], spacing[1], -spacing[2], 1.0])
    affine[:3, 3] = (20.0, -30.0, 11.0)
    builder.add(name, *ball(shape, spacing, seed), affine)


@pytest.fixture
def balls(builder):
    """Five scans of the same anatomy with other spacings, across slices too."""
    for seed, (name, across) in enumerate(zip("abcde", (2.0, 2.5, 2.5, 2.5, 4.0), strict=True)):
        add_ball(builder, name, (50, 50, round(50 / across)), (1.0, 1.0, across), seed)
    return builder.index()


def test_all_volumes_have_one_spacing_and_keep_what_is_labelled(balls, tmp_path: Path):
    dataset = prepare_dataset(balls.folder, tmp_path / "out", VOLUMES)
    before, after = [], []  # millilitres
    for case_id, case in dataset.cases.items():
        spacing = dataset.grid(case_id).stack_spacing_mm
        assert spacing == pytest.approx((2.5, 1.0, 1.0), rel=0.05)
        image, label = dataset.image(case_id), dataset.label_map(case_id)
        assert isinstance(image, np.memmap) and image.shape == (*label.shape, 1)
        source = np.asarray(nib.load(balls.label_path(case_id)).dataobj)
        assert set(np.unique(label)) == {0, 1, 2}
        before.append(float((source > 0).sum() * np.prod(case.spacing_mm) / 1000))
        after.append(float((label > 0).sum() * np.prod(spacing) / 1000))
        assert not case.labels_cropped
    np.testing.assert_allclose(after, before, rtol=0.06)  # slices of 4 mm say no more
    assert sum(after) == pytest.approx(sum(before), rel=0.02)
    assert sum(after) == pytest.approx(5 * 4 / 3 * np.pi * 1.5**3, rel=0.02)  # balls of 15 mm
    assert not [line for line in dataset.description.warnings if "cropped" in line]


def test_what_surrounds_the_body_is_cropped_and_the_slice_size_is_that_of_what_is_left(balls, tmp_path: Path):
    volumes = prepare_dataset(balls.folder, tmp_path / "volumes", VOLUMES)
    slices = prepare_dataset(balls.folder, tmp_path / "slices")
    assert volumes.grid("b").slice_shape == (39, 39)  # under 20 mm from the middle on either side
    assert volumes.scan_preparation.slice_size == (48, 48) and "48 x 48" in volumes.description.reasons["slice_size"]
    assert slices.grid("b").slice_shape == (50, 50) and slices.scan_preparation.slice_size == (64, 64)
    assert volumes.splits == slices.splits


def test_labels_and_scores_return_to_the_voxels_of_the_scan(balls, tmp_path: Path):
    dataset = prepare_dataset(balls.folder, tmp_path / "out", VOLUMES)
    for case_id, case in dataset.cases.items():
        scan, grid = nib.load(balls.label_path(case_id)), dataset.grid(case_id)
        source = np.asarray(scan.dataobj)
        restored = grid.restore(np.asarray(dataset.label_map(case_id)), order=0)
        assert restored.shape == scan.shape and grid.affine == tuple(map(tuple, scan.affine.tolist()))
        overlap = 2 * ((restored > 0) & (source > 0)).sum() / ((restored > 0).sum() + (source > 0).sum())
        assert overlap > (0.999 if case.spacing_mm[2] == 2.5 else 0.9)
        scores = np.zeros((*grid.stack_shape, 3), np.float32)
        scores[..., 1] = 1
        back = grid.restore(scores, order=1)
        beyond = np.ones(scan.shape, bool)
        grid_box = np.asarray(nib.load(balls.image_path(case_id)).dataobj) != 0
        beyond[tuple(slice(found.min(), found.max() + 1) for found in np.nonzero(grid_box))] = False
        assert (back[beyond] == (1, 0, 0)).all()  # cropped away: background
        np.testing.assert_allclose(back[~beyond], np.broadcast_to((0, 1, 0), back[~beyond].shape), atol=1e-5)


def test_a_scan_from_elsewhere_is_prepared_alike(balls, tmp_path: Path):
    dataset = prepare_dataset(balls.folder, tmp_path / "out", VOLUMES)
    for case_id in "ae":
        scan = prepare_scan(read_volume(balls.image_path(case_id)), dataset.scan_preparation)
        np.testing.assert_array_equal(scan.image, dataset.image(case_id))
        assert scan.grid == dataset.grid(case_id)


def test_scans_of_one_spacing_without_empty_surroundings_are_the_same_as_volumes_and_as_slices(study, tmp_path: Path):
    """Nothing is stored twice: where there is nothing to resample or to crop, one dataset is both."""
    volumes = prepare_dataset(study.folder, tmp_path / "volumes", VOLUMES)
    slices = prepare_dataset(study.folder, tmp_path / "slices")
    for case_id in slices.cases:
        assert volumes.image(case_id).tobytes() == slices.image(case_id).tobytes()
        assert volumes.label_map(case_id).tobytes() == slices.label_map(case_id).tobytes()
        assert volumes.grid(case_id) == slices.grid(case_id)


def test_labels_in_what_is_cropped_away_are_counted_and_said(balls, tmp_path: Path):
    image, label = ball((50, 50, 20), (1.0, 1.0, 2.5), 1)
    label[:2, 0, 0] = 1
    balls.add("f", image, label, np.diag([1.0, 1.0, 2.5, 1.0]))
    balls.index()
    dataset = prepare_dataset(balls.folder, tmp_path / "out", VOLUMES)
    assert {name: case.labels_cropped for name, case in dataset.cases.items() if case.labels_cropped} == {"f": 2}
    (warning,) = (line for line in dataset.description.warnings if "cropped" in line)
    assert "1 of 6 cases have labels where the scan was cropped (most: 2 voxels of f)" in warning
    assert PreparedDataset.read(dataset.folder).cases == dataset.cases


def test_a_case_of_one_slice_among_volumes_stops_or_is_left_out(balls, tmp_path: Path):
    add_ball(balls, "flat", (50, 50, 1))
    balls.index()
    with pytest.raises(InvalidCasesError, match=r"flat\.nii\.gz: a single slice \(50 x 50 x 1 voxels\), which is no"):
        prepare_dataset(balls.folder, tmp_path / "out", VOLUMES)
    dataset = prepare_dataset(balls.folder, tmp_path / "out", PreparationSettings(kind="volumes", on_error="skip"))
    assert sorted(dataset.cases) == list("abcde")
    (reason,) = dataset.description.skipped
    assert "flat" in reason and "single slice" in reason


@pytest.mark.parametrize(
    ("across", "wanted", "said"),
    [
        (2000.0, None, "the spacings are too far apart"),  # a header in micrometres read as mm
        (2.5, (0.035, 0.035, 0.035), "at most 2147483648 values are allowed"),
    ],
)
def test_spacings_that_would_give_absurd_sizes_are_refused_by_the_header(balls, tmp_path: Path, across, wanted, said):
    add_ball(balls, "odd", spacing=(1.0, 1.0, across))
    balls.index()
    with pytest.raises(InvalidCasesError, match=said) as caught:
        prepare_dataset(balls.folder, tmp_path / "out", PreparationSettings(kind="volumes", spacing_mm=wanted))
    assert f"odd.nii.gz: 20 x 50 x 50 voxels of {across:g} x 1 x 1 mm would become" in str(caught.value)


PREPARING = """
import resource, sys
from pathlib import Path
from imgmed import PreparationSettings, prepare_dataset

small, large, out = map(Path, sys.argv[1:])
peaks = []
for number, study in enumerate((small, large)):
    settings = PreparationSettings(kind="volumes", spacing_mm=(1.0, 1.0, 2.0), test_fraction=0, validation_fraction=0)
    dataset = prepare_dataset(study, out / str(number), settings)
    peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
print(peaks[1] - peaks[0], max(image.nbytes for image in map(dataset.image, dataset.cases)))
"""


def test_memory_of_a_preparation_is_at_most_four_times_its_largest_volume(builder, tmp_path: Path):
    """Of a process of its own, which has prepared a small study before: libraries are loaded, and count for nothing."""
    add_ball(builder, "a")
    small = builder.index().folder
    large = type(builder)(tmp_path / "large")
    rng = np.random.default_rng(0)
    image = rng.integers(1, 1000, (200, 200, 140)).astype(np.int16)
    large.add("a", image, (image > 900).astype(np.uint8), np.diag([1.0, 1.0, 2.2, 1.0]))
    large.index()
    done = subprocess.run(
        [sys.executable, "-c", PREPARING, str(small), str(large.folder), str(tmp_path / "out")],
        capture_output=True,
        text=True,
        check=True,
    )
    beyond, largest = map(int, done.stdout.split())
    assert largest > 20e6
    assert beyond <= 4 * largest
