"""The leak check on real scans: nobody accused wrongly, every disguise found, real copies in a public set named."""

import itertools
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from imgmed import Volume, read_volume
from imgmed.errors import LeakError
from imgmed.splits import fixed_splits, split_cases
from imgmed.splits.duplicates import confirm, describe, is_same_label_map, nominate, signature_of

pytestmark = pytest.mark.real_data

SCANS = {
    "hippocampus": "hippocampus_msd/imagesTr/hippocampus_210.nii.gz",  # float32 up to 1.7 million
    "spleen CT": "ct_spleen_msd_crop/sub-spleen2_ct.nii.gz",  # float32
    "abdominal CT": "ct_abdomen_totalseg/example_ct_sm.nii.gz",  # int16
    "left atrium": "heart_la_msd/imagesTr/la_009.nii.gz",  # int16
}


def find(volumes: dict[str, Volume], **more):
    """Both stages; the duplicates."""
    pairs = nominate({case_id: signature_of(item) for case_id, item in volumes.items()})
    return confirm(volumes.__getitem__, pairs, **more)


def to_bytes(array: np.ndarray) -> np.ndarray:
    low, high = float(array.min()), float(array.max())
    return np.round(255 * (array - low) / (high - low)).astype(np.uint8)


def turned(image: nib.Nifti1Image, codes: str) -> nib.Nifti1Image:
    wanted = nib.orientations.axcodes2ornt(codes)
    return image.as_reoriented(nib.orientations.ornt_transform(nib.io_orientation(image.affine), wanted))


DISGUISES = {
    "another name, not compressed": lambda x, image: image,
    "float32": lambda x, image: nib.Nifti1Image(x.astype(np.float32), image.affine),
    "uint8 over the whole range": lambda x, image: nib.Nifti1Image(to_bytes(x), image.affine),
    "shifted and rescaled": lambda x, image: nib.Nifti1Image((0.01 * x - 7).astype(np.float32), image.affine),
    "inverted": lambda x, image: nib.Nifti1Image((x.max() - x).astype(np.float32), image.affine),
    "LPS": lambda x, image: turned(image, "LPS"),
    "PIR": lambda x, image: turned(image, "PIR"),
    "all of it": lambda x, image: turned(nib.Nifti1Image(to_bytes(-x), image.affine), "SAL"),
}


@pytest.fixture(scope="module")
def crops(real_data: Path) -> dict[str, Volume]:
    """All 200 hippocampus crops (12 million voxels together)."""
    folder = real_data / "hippocampus_msd" / "imagesTr"
    return {path.name.split(".")[0]: read_volume(path) for path in sorted(folder.glob("hippocampus_*.nii.gz"))}


def test_no_accusation_among_the_hippocampus_crops(real_data: Path, crops):
    assert len(crops) == 200 and find(crops) == ()
    images = [nib.as_closest_canonical(nib.load(item.path)).get_fdata() for item in crops.values()]
    alike = [
        abs(np.corrcoef(first.ravel(), second.ravel())[0, 1])
        for first, second in itertools.combinations(images, 2)
        if first.shape == second.shape
    ]
    assert len(alike) == 13 and max(alike) == pytest.approx(0.68, abs=0.005)


def test_disguised_copies_among_the_crops_are_found(crops, tmp_path: Path):
    """One crop for each disguise, hidden among the 200; nothing else is named."""
    volumes = dict(crops)
    expected = []
    for number, (disguise, change) in enumerate(DISGUISES.items()):
        original = list(crops)[17 * number]
        image = nib.load(crops[original].path)
        path = tmp_path / f"copy {number}.nii"
        nib.save(change(image.get_fdata(), image), path)
        volumes[disguise] = read_volume(path)
        expected.append(tuple(sorted((original, disguise))))
    assert sorted(duplicate.pair for duplicate in find(volumes)) == sorted(expected)


@pytest.mark.parametrize("scan", SCANS)
def test_each_disguise_of_a_scan_is_found(scan, real_data: Path, tmp_path: Path):
    image = nib.load(real_data / SCANS[scan]).slicer[:, :, :30]
    nib.save(image, tmp_path / "a.nii.gz")
    original = read_volume(tmp_path / "a.nii.gz")
    voxels = image.get_fdata()
    for disguise, change in DISGUISES.items():
        nib.save(change(voxels, image), tmp_path / "b.nii")
        copy = read_volume(tmp_path / "b.nii")
        assert [d.pair for d in find({"a": original, "b": copy})] == [("a", "b")], disguise


def test_a_copy_with_another_label_map_is_named_as_such(real_data: Path, tmp_path: Path):
    folder = real_data / "ct_spleen_msd_crop"
    image, label = folder / "sub-spleen2_ct.nii.gz", folder / "sub-spleen2_ct_seg-manual.nii.gz"
    changed = nib.load(label).get_fdata().astype(np.uint8)
    changed[:, :, 12] = 0
    nib.save(nib.Nifti1Image(changed, nib.load(label).affine), tmp_path / "label.nii.gz")
    nib.save(turned(nib.load(image), "LPS"), tmp_path / "image.nii.gz")
    images = {"sub-1": read_volume(image), "sub-2": read_volume(tmp_path / "image.nii.gz")}
    labels = {"sub-1": read_volume(label), "sub-2": read_volume(tmp_path / "label.nii.gz")}

    (found,) = find(images, same_labels=lambda first, second: is_same_label_map(labels[first], labels[second]))
    assert found.same_labels is False and found.same_file is False and found.correlation == pytest.approx(1)
    text = describe(found, {name: [item.path.name] for name, item in images.items()})
    assert "sub-spleen2_ct.nii.gz" in text and "image.nii.gz" in text and text.endswith("their labels DIFFER")


@pytest.mark.parametrize(
    ("name", "most_alike"),
    [
        ("brain_tcga_lgg_4ch/TCGA-FG-6692_4ch.nii.gz", 0.967),
        ("brain_brats2013_2ch/imagesTr/brats_2013_pat0004_1.nii.gz", 0.940),
    ],
)
def test_contrasts_of_one_patient_are_not_copies(name, most_alike, real_data: Path):
    """FLAIR, T1, T1c, T2 on one grid and one empty background, as cases of a study; every second voxel of each axis."""
    whole = read_volume(real_data / name)
    source = Volume(whole.array[::2, ::2, ::2], whole.affine)
    contrasts = {f"contrast {n}": Volume(source.array[..., n], source.affine) for n in range(source.channels)}
    voxels = [item.array.ravel() for item in contrasts.values()]
    assert np.sort(np.corrcoef(voxels).ravel())[-len(voxels) - 1] == pytest.approx(most_alike, abs=0.003)
    assert find(contrasts) == ()
    assert [d.pair for d in find({"all": source, **contrasts})] == [("all", name) for name in contrasts]


def test_copies_that_were_changed_for_good_are_beyond_the_check(real_data: Path):
    """Smoothed with new noise, or cut off at the 70th percentile: r of 0.98 and less, like another scan's may be."""
    original = read_volume(real_data / SCANS["spleen CT"])
    noise = np.random.default_rng(0).normal(0, 20, original.shape)
    for changed in (
        gaussian_filter(original.array, 1) + noise,
        np.minimum(original.array, np.percentile(original.array, 70)),
    ):
        assert np.corrcoef(original.array.ravel(), changed.ravel())[0, 1] < 0.98
        assert find({"a": original, "b": Volume(changed, original.affine)}) == ()


def test_a_copy_cut_off_a_little_is_found(real_data: Path):
    """8 bits for all but the brightest thousandth."""
    for scan in ("spleen CT", "abdominal CT", "left atrium"):
        original = read_volume(real_data / SCANS[scan])
        low, high = float(original.array.min()), np.percentile(original.array, 99.9)
        changed = np.clip(255 * (original.array - low) / (high - low), 0, 255).astype(np.uint8)
        assert len(find({"a": original, "b": Volume(changed, original.affine)})) == 1


@pytest.fixture(scope="module")
def pictures(real_data: Path) -> dict[str, tuple[np.ndarray, int]]:
    """{part/number: (28 x 28 picture, class)} of PneumoniaMNIST."""
    with np.load(real_data / "pneumoniamnist_v1" / "pneumoniamnist.npz") as archive:
        return {
            f"{part}/{number:04}": (picture, int(category))
            for part in ("train", "val", "test")
            for number, (picture, category) in enumerate(
                zip(archive[f"{part}_images"], archive[f"{part}_labels"].ravel(), strict=True)
            )
        }


def test_the_real_copies_among_thousands_of_small_pictures(pictures):
    """Exactly the pictures with identical pixels, found here by their bytes: 30 pairs, as 26 sets."""
    volumes = {name: Volume(picture[..., np.newaxis], np.eye(4)) for name, (picture, _) in pictures.items()}
    found = find(volumes, same_labels=lambda first, second: pictures[first][1] == pictures[second][1])

    by_bytes: dict[bytes, list[str]] = {}
    for name, (picture, _) in pictures.items():
        by_bytes.setdefault(picture.tobytes(), []).append(name)
    copies = [sorted(names) for names in by_bytes.values() if len(names) > 1]
    assert len(pictures) == 5030 and sum(len(names) * (len(names) - 1) // 2 for names in copies) == 30
    assert sorted(duplicate.pair for duplicate in found) == sorted(
        (names[0], other) for names in copies for other in names[1:]
    )
    assert all(duplicate.correlation == pytest.approx(1) and duplicate.same_labels for duplicate in found)

    pairs = [duplicate.pair for duplicate in found]
    patients = {name: name for name in pictures}
    splits = split_cases(patients, 0.1, 0.2, 5, 0, duplicates=pairs)
    assert all(splits.part_of[first] == splits.part_of[second] for first, second in pairs)

    own = {name: {"val": "validation"}.get(part := name.split("/")[0], part) for name in pictures}
    with pytest.raises(LeakError) as caught:
        fixed_splits(own, patients, 0.1, 0.2, 5, 0, duplicates=pairs)
    torn = [names for names in copies if len({own[name] for name in names}) > 1]
    assert len(caught.value.problems) == len(torn) == 8
    assert "train/1344 (patient train/1344) in train, val/0473 (patient val/0473) in validation" in str(caught.value)
