"""Label maps lie on the scan's own voxels, whatever its orientation: a network whose answer is known for every voxel.

The network is made by hand. It looks one pixel to the right for the first label, one to the back and one slice up for
the second: slices that were turned or mirrored on their way would give another answer.
"""

from itertools import permutations, product
from pathlib import Path

import keras
import nibabel as nib
import numpy as np
import pytest
import SimpleITK
from nibabel.orientations import axcodes2ornt, ornt_transform
from scipy.spatial.transform import Rotation

from dist_training.inference.model_card import save_model
from dist_training.inference.outputs import NetworkOutputs
from dist_training.inference.windows import Windows
from dist_training.record.run_folder import RunFolder
from imgmed import PreparationSettings, PreparedDataset, Volume, prepare_dataset
from r2d2.prediction.predictor import Predictor
from r2d2.prediction.settings import InferenceSettings
from r2d2.tasks.prediction import PredictSettings, segment, segment_volume
from tests.r2d2.prediction.studies import CLEAR, UNET, clipped, predict_scans, save_network, write_study

pytestmark = pytest.mark.tensorflow

VALUES = (0, 2, 300)
WEIGHTS, THRESHOLD = (4.0, 6.0), 0.3
ORIENTATIONS = ["".join(codes) for axes in permutations(("RL", "AP", "SI")) for codes in product(*axes)]
TURN = Rotation.from_euler("zx", [12, 20], degrees=True).as_matrix()
ITK_FROM_RAS = np.diag([-1.0, -1.0, 1.0])


@pytest.fixture(scope="module")
def looking_aside(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model; its training scans have 14 x 16 pixels of 1 mm in 4 slices 3 mm apart."""
    folder = tmp_path_factory.mktemp("geometry")
    study = write_study(folder / "study", VALUES)
    dataset = prepare_dataset(study, folder / "dataset", PreparationSettings(slice_axis=2, neighbours=1))
    images = keras.Input((None, None, 3))
    convolution = keras.layers.Conv2D(3, 3, padding="same")
    model = keras.Model(images, convolution(images))
    kernel, bias = np.zeros((3, 3, 3, 3)), np.zeros(3)
    kernel[2, 1, 1, 1], kernel[1, 0, 2, 2] = WEIGHTS  # row, column, slice, class
    bias[1:] = -THRESHOLD * np.array(WEIGHTS)
    convolution.set_weights([kernel, bias])
    run = RunFolder(folder / "run")
    run.create()
    save_model(model, run, network=UNET, dataset=dataset, epoch=1, validation_dice=None, validation_dice_per_label={})
    return run.path


def logits_by_hand(intensities: np.ndarray) -> np.ndarray:
    """What the network says of a scan (right, anterior, superior): (3, r, a, s)."""
    inside = (intensities - intensities.mean()) / intensities.std()
    right, back_and_up = np.zeros_like(inside), np.zeros_like(inside)
    right[:-1] = inside[1:]
    back_and_up[:, 1:] = np.concatenate([inside[:, :-1, 1:], inside[:, :-1, -1:]], axis=2)
    seen = (right, back_and_up)
    return np.stack([0 * inside, *(weight * (part - THRESHOLD) for weight, part in zip(WEIGHTS, seen, strict=True))])


def scan_and_answer(shape: tuple[int, int, int], affine: np.ndarray) -> tuple[nib.Nifti1Image, nib.Nifti1Image]:
    """A scan in RAS order and the label map that it must get, clear for every voxel."""
    array = np.random.default_rng(1).gamma(2.0, 50.0, shape).astype(np.float32)
    logits = logits_by_hand(clipped(array, array))
    ordered = np.sort(logits, axis=0)
    assert (ordered[-1] - ordered[-2]).min() > CLEAR
    labels = np.array(VALUES, np.uint16)[logits.argmax(axis=0)]
    assert set(np.unique(labels)) == set(VALUES)
    return nib.Nifti1Image(array, affine), nib.Nifti1Image(labels, affine)


def oblique(spacing: tuple[float, float, float]) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = TURN * spacing, (-40.0, 25.0, 310.5)
    return affine


def turned(image: nib.Nifti1Image, codes: str) -> nib.Nifti1Image:
    return image.as_reoriented(ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(codes)))


def write_itk(path: Path, image: nib.Nifti1Image) -> None:
    written = SimpleITK.GetImageFromArray(np.asarray(image.dataobj).T)
    spacing = np.linalg.norm(image.affine[:3, :3], axis=0)
    written.SetSpacing(spacing.tolist())
    written.SetDirection((ITK_FROM_RAS @ image.affine[:3, :3] / spacing).ravel().tolist())
    written.SetOrigin((ITK_FROM_RAS @ image.affine[:3, 3]).tolist())
    SimpleITK.WriteImage(written, str(path))


def test_a_volume_in_any_of_the_48_orientations_gets_the_same_label_map(looking_aside: Path) -> None:
    predictor = Predictor(looking_aside)
    scan, answer = scan_and_answer((13, 15, 5), oblique((1.0, 1.0, 3.0)))
    assert len(set(ORIENTATIONS)) == 48
    for codes in ORIENTATIONS:
        image, expected = turned(scan, codes), turned(answer, codes)
        made = segment_volume(predictor, Volume(np.asarray(image.dataobj), image.affine)).label_map
        np.testing.assert_array_equal(made.array, np.asarray(expected.dataobj), err_msg=codes)
        np.testing.assert_array_equal(made.affine, image.affine)


def test_files_get_their_label_map_in_their_own_voxels_and_header(looking_aside: Path, tmp_path: Path) -> None:
    """A dozen orientations, oblique, smaller and larger than in training; read by other programs than ours."""
    (tmp_path / "scans").mkdir()
    answers: dict[str, nib.Nifti1Image] = {}
    for number, codes in enumerate(ORIENTATIONS[::4]):
        shape = [(13, 15, 5), (9, 7, 2), (30, 41, 6)][number % 3]
        suffix = (".nii.gz", ".mha", ".nrrd", ".nii")[number % 4]
        scan, answer = (turned(image, codes) for image in scan_and_answer(shape, oblique((1.0, 1.0, 3.0))))
        answers[codes + suffix] = answer
        if suffix.startswith(".nii"):
            scan.set_sform(scan.affine, code=2)
            scan.set_qform(scan.affine, code=1)
            nib.save(scan, tmp_path / "scans" / (codes + suffix))
        else:
            write_itk(tmp_path / "scans" / (codes + suffix), scan)
    predict_scans(looking_aside, [tmp_path / "scans"], tmp_path / "out")
    for name, answer in answers.items():
        made, scan = tmp_path / "out" / name, tmp_path / "scans" / name
        if ".nii" in name:
            label_map, header = nib.load(made), nib.load(scan).header
            np.testing.assert_array_equal(np.asarray(label_map.dataobj), np.asarray(answer.dataobj), err_msg=name)
            for form in ("get_sform", "get_qform"):
                (ours, code), (theirs, their_code) = (
                    getattr(one, form)(coded=True) for one in (label_map.header, header)
                )
                np.testing.assert_array_equal(ours, theirs)
                assert code == their_code
            assert label_map.header.get_zooms() == header.get_zooms()
        else:
            label_map, source = (SimpleITK.ReadImage(str(path)) for path in (made, scan))
            np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(label_map).T, answer.get_fdata(), err_msg=name)
            for place in ("GetOrigin", "GetSpacing", "GetDirection"):
                np.testing.assert_allclose(getattr(label_map, place)(), getattr(source, place)(), rtol=0, atol=1e-9)


def shares(length: int, size: float, pixel: float) -> np.ndarray:
    """How much of each of `length` voxels lies in each pixel, counted in steps of 0.1 mm: (pixels, length)."""
    owner = np.repeat(np.arange(length), round(size * 10)).reshape(-1, round(pixel * 10))
    return np.stack([np.bincount(pixel_owners, minlength=length) for pixel_owners in owner]) / owner.shape[1]


def test_an_oblique_anisotropic_scan_is_resampled_and_its_answer_put_back(looking_aside: Path) -> None:
    """Pixels of 0.8 x 0.4 mm become pixels of 1 mm by the share that lies in each; ITK interpolates the answer."""
    affine = oblique((0.8, 0.4, 3.0))
    array = np.random.default_rng(1).gamma(2.0, 50.0, (20, 35, 5)).astype(np.float32)
    coarse = np.einsum("ri,ijk,cj->rck", shares(20, 0.8, 1), array.astype(np.float64), shares(35, 0.4, 1))
    logits = logits_by_hand(clipped(coarse, array))
    exponentials = np.exp(logits)
    finer = np.stack([as_itk_interpolates(part / exponentials.sum(axis=0)) for part in exponentials])
    ordered = np.sort(finer, axis=0)
    clear = ordered[-1] - ordered[-2] > CLEAR
    assert clear.mean() > 0.995
    scan = nib.Nifti1Image(array, affine)
    expected = nib.Nifti1Image(np.array(VALUES, np.uint16)[finer.argmax(axis=0)], affine)
    compared = nib.Nifti1Image(clear.astype(np.uint8), affine)
    for codes in ("RAS", "LPI", "SRA", "IPL"):
        image = turned(scan, codes)
        made = segment_volume(looking_aside, Volume(np.asarray(image.dataobj), image.affine)).label_map
        where = np.asarray(turned(compared, codes).dataobj) > 0
        np.testing.assert_array_equal(made.array[where], np.asarray(turned(expected, codes).dataobj)[where], codes)


def as_itk_interpolates(scores: np.ndarray) -> np.ndarray:
    """Scores in pixels of 1 mm, at the places of voxels of 0.8 x 0.4 mm in the same field of view."""
    image = SimpleITK.GetImageFromArray(scores.T)
    image.SetOrigin((0.5, 0.5, 0.0))
    grid = SimpleITK.Image(20, 35, 5, SimpleITK.sitkFloat64)
    grid.SetSpacing((0.8, 0.4, 1.0))
    grid.SetOrigin((0.4, 0.2, 0.0))
    return SimpleITK.GetArrayFromImage(SimpleITK.Resample(image, grid, SimpleITK.Transform(), SimpleITK.sitkLinear)).T


def test_arrays_are_what_is_written(looking_aside: Path, tmp_path: Path) -> None:
    """Label maps, probabilities and uncertainty of one call in memory, and of another in files."""
    for number, codes in enumerate(("LIP", "SAR")):
        scan, _ = scan_and_answer((13, 15, 5), oblique((1.0, 0.8, 3.0)))
        nib.save(turned(scan, codes), tmp_path / f"{number}.nii")
    scans = [tmp_path / "0.nii", tmp_path / "1.nii"]
    wanted = InferenceSettings(probabilities=True, uncertainty="entropy")
    done = predict_scans(looking_aside, scans, tmp_path / "out", inference=wanted)
    (tmp_path / "2.nii").write_bytes(b"no scan")
    found = segment(PredictSettings(model=looking_aside, inputs=[*scans, tmp_path / "2.nii"], inference=wanted))
    for one, case in zip(found, done.cases, strict=True):
        assert one.case == case
        written = nib.load(tmp_path / "out" / case.file)
        np.testing.assert_array_equal(one.label_map.array, np.asarray(written.dataobj))
        np.testing.assert_array_equal(one.label_map.affine, written.affine)
        for name, part in zip(one.outputs, np.moveaxis(one.probabilities, -1, 0), strict=True):
            stored = nib.load(tmp_path / f"out/probabilities/{name}/{case.file}").get_fdata()
            np.testing.assert_allclose(part, stored, rtol=0, atol=1.6e-5)
        stored = nib.load(tmp_path / "out/uncertainty" / case.file).get_fdata()
        np.testing.assert_allclose(one.uncertainty, stored, rtol=0, atol=1.6e-5)
    assert len(found.left_out) == 1 and "2.nii" in found.left_out[0]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0.nii", "1.nii", "2.nii", "out"]


def test_windows_over_several_channels_and_regions_that_overlap(tmp_path: Path) -> None:
    """Regions whole = {first, second} and core = {second}; the mean of what the windows say decides on each."""
    study, rng = write_study(tmp_path / "study", (0, 1, 2)), np.random.default_rng(3)
    for name in "abc":
        path = study / f"images/{name}.nii.gz"
        image = nib.load(path)
        both = np.stack([image.get_fdata(), rng.gamma(2.0, 50.0, image.shape)], axis=-1).astype(np.float32)
        nib.save(nib.Nifti1Image(both, image.affine), path)
    dataset: PreparedDataset = prepare_dataset(study, tmp_path / "dataset", PreparationSettings(slice_axis=2))
    outputs = NetworkOutputs.of_regions(dataset.labels, {"whole": (1, 2), "core": (2,)})
    model = save_network(dataset, tmp_path / "run", outputs=outputs)
    array = rng.gamma(2.0, 50.0, (40, 14, 3, 2)).astype(np.float32)
    nib.save(nib.Nifti1Image(array, np.diag([1.0, 1.0, 3.0, 1.0])), tmp_path / "scan.nii.gz")
    wanted = InferenceSettings(window=(16, 16), overlap=0.25)
    predict_scans(model, [tmp_path / "scan.nii.gz"], tmp_path / "out", inference=wanted)
    channels = [np.clip(part, *np.percentile(part, [0.5, 99.5])) for part in np.moveaxis(array, 3, 0).astype(float)]
    slices = np.stack([(part - part.mean()) / part.std() for part in channels], axis=-1)
    inputs = np.pad(np.moveaxis(slices, 2, 0), [(0, 0), (0, 0), (1, 1), (0, 0)]).astype(np.float32)
    network = keras.saving.load_model(model / "model.keras")

    def probabilities(batch: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-network.predict_on_batch(batch).astype(np.float64)))

    said = np.stack(list(Windows((16, 16), 0.25).blend(inputs, probabilities, 2, 3)))[:, :, 1:15]
    whole, core = np.moveaxis(said > 0.5, 3, 0)
    expected = np.where(whole & core, 2, np.where(whole, 1, 0))  # a core outside of the whole is nearest to neither
    clear = (np.abs(said - 0.5) > CLEAR).all(axis=-1)
    label_map = np.moveaxis(np.asarray(nib.load(tmp_path / "out/scan.nii.gz").dataobj), 2, 0)
    assert clear.mean() > 0.99 and set(np.unique(label_map)) == {0, 1, 2}
    np.testing.assert_array_equal(label_map[clear], expected[clear])
