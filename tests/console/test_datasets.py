"""A person prepares a dataset and looks at its cases: the pixels are where the voxels lie."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from imgmed import PreparedDataset, Volume, read_volume, write_volume
from r2d2.engine import EngineClient, Job, Submission
from r2d2.prediction.manifest import PredictedCase, PredictionManifest, read_manifest, write_manifest
from r2d2.reports.palette import colours_of, rgb
from r2d2.viewing.pictures import window_of
from r2d2.viewing.planes import cut, plane_of
from tests.console.conftest import ended
from tests.console.person import PHONE, Person
from tests.r2d2.viewing.oblique import LABELS, SHAPE, oblique_affine, oblique_case, oblique_study
from tests.web.serving import Served

pytestmark = pytest.mark.slow

CASE = "askew_001"
SMALL = {"width": 480, "height": 360}  # space takes a processor long to draw, by its pixels
COLOURS = np.array([(0, 0, 0)] + [rgb(colour) for colour in colours_of(LABELS).values()], float)


def shown(console: Person) -> np.ndarray:
    """The picture of the slice, as the browser holds it: (rows, columns, red green blue)."""
    width, height, values = console.page.evaluate(
        """() => {
            const canvas = document.getElementById("slice");
            const copy = document.createElement("canvas");
            [copy.width, copy.height] = [canvas.width, canvas.height];
            const context = copy.getContext("2d", { willReadFrequently: true });
            context.drawImage(canvas, 0, 0);
            const { data } = context.getImageData(0, 0, copy.width, copy.height);
            return [canvas.width, canvas.height, [...data]];
        }"""
    )
    return np.array(values, float).reshape(height, width, 4)[..., :3]


def drawn(console: Person, plane: str, at: int) -> None:
    console.until(f"document.getElementById('slices').dataset.drawn === '{plane} {at}'")


def laid_over(grey: np.ndarray, labels: np.ndarray, opacity: float) -> np.ndarray:
    """A slice in greys with the colours of its labels, as paint that lets so much through."""
    picture = np.repeat(grey[..., None], 3, axis=2)
    painted = picture * (1 - opacity) + COLOURS[labels] * opacity
    return np.where(labels[..., None] > 0, painted, picture)


def greys(plane: str, at: int) -> np.ndarray:
    scan = oblique_case(1)[0]
    low, high = (float(f"{value:.4g}") for value in window_of(scan))
    return (cut(scan, oblique_affine(), plane, at).astype(float).clip(low, high) - low) * 255 / (high - low)


def test_from_a_folder_to_a_case(console: Person, served: Served, jobs: EngineClient, askew: Job) -> None:
    oblique_study(served.folder / "data" / "hospital" / "north")
    page = console.go("/datasets")
    page.get_by_role("link", name="data", exact=True).click()
    page.get_by_role("link", name="hospital").click()
    page.get_by_role("link", name="north").click()
    page.get_by_role("link", name="Inspect this folder").click()
    page.get_by_role("button", name="Inspect", exact=True).click()
    page.get_by_role("heading", name="Settings that prepare would choose").wait_for()
    assert page.get_by_role("region", name="proposed settings").get_by_role("row").count() == 7
    page.get_by_role("link", name="Prepare …").click()
    folds = page.get_by_label("folds", exact=True)
    folds.fill("4")
    console.until(lambda: page.locator("#command").inner_text().endswith("north --out DATASET preparation.folds=4"))
    assert page.locator("#yaml").inner_text().splitlines() == ["preparation:", "  folds: 4"]
    folds.fill("1")
    page.get_by_text("1 to be mended.").wait_for()
    assert folds.get_attribute("aria-invalid") == "true"
    page.get_by_role("button", name="Prepare", exact=True).click()
    page.get_by_role("alert").get_by_text("preparation.folds").wait_for()
    assert page.get_by_label("folds", exact=True).get_attribute("aria-invalid") == "true"
    console.forgive("422")
    page.get_by_label("folds", exact=True).fill("2")
    page.get_by_text("further settings").click()
    page.get_by_label("Search among them").fill("decides which patients")
    assert page.locator("#others .setting:visible").count() == 1
    page.get_by_label("seed", exact=True).fill("4")
    page.get_by_role("button", name="Prepare", exact=True).click()
    page.wait_for_url("**/jobs/*")
    job = jobs.show(int(page.url.rpartition("/")[2])).job
    assert sorted(jobs.show(job.id).settings["settings"]) == ["preparation.folds=2", "preparation.seed=4"]
    ended(jobs, job)
    page = console.go(f"/datasets/show/job/{job.id}")
    page.get_by_role("link", name=CASE).click()
    console.until(lambda: page.locator("#view").is_visible())
    assert page.get_by_role("heading", level=1).inner_text() == CASE


def test_a_slice_has_its_voxels_and_labels_where_they_lie(console: Person, askew: Job) -> None:
    page = console.go(f"/viewer/job/{askew.id}/{CASE}")
    reference = oblique_case(1)[1]
    for plane, at in (("axial", 6), ("sagittal", 8), ("coronal", 3)):
        console.until("!document.getElementById('plane').disabled")
        page.get_by_label("Plane").select_option(plane)
        page.locator("#at").fill(str(at))
        drawn(console, plane, at)
        labels = cut(reference, oblique_affine(), plane, at)
        assert labels.any()
        expected = laid_over(greys(plane, at), labels, 0.5)
        assert np.abs(shown(console) - expected).max() <= 2, plane
        box = page.locator("#slice").bounding_box()
        assert box is not None
        height, width = np.array(labels.shape) * {"axial": (3.0, 0.8), "sagittal": (1.1, 3.0)}.get(plane, (1.1, 0.8))
        assert abs(box["width"] / box["height"] - width / height) < 0.02  # as long as in the patient
    page.get_by_label("Show").uncheck()
    console.until(lambda: np.abs(shown(console) - greys("coronal", 3)[..., None]).max() <= 1)


def test_slices_by_the_keyboard(console: Person, askew: Job) -> None:
    page = console.go(f"/viewer/job/{askew.id}/{CASE}")
    console.until("!document.getElementById('plane').disabled")
    begin = int(page.locator("#at").input_value())
    page.locator("#view").focus()
    for keys, at in (
        (("ArrowUp",), begin + 1),
        (("ArrowDown", "ArrowDown"), begin - 1),
        (("End",), 11),
        (("Home",), 0),
    ):
        for key in keys:
            page.keyboard.press(key)
        drawn(console, "coronal", at)
    assert page.locator("#place").inner_text() == "1 of 12"
    page.get_by_role("link", name="Next case").click()
    page.wait_for_url("**/askew_002")


@pytest.fixture(scope="module")
def predicted(served: Served, jobs: EngineClient, training: Job, dataset: Path) -> Job:
    """A job in which the trained network predicted the test cases of its dataset."""
    settings = {"model": training.output, "dataset": str(dataset), "out": str(served.folder / "data" / "maps")}
    return ended(jobs, jobs.submit(Submission(task="predict", settings=settings, name="maps"), "admin"))


def test_a_prediction_is_laid_over_the_case(console: Person, predicted: Job, dataset: Path) -> None:
    assert predicted.output is not None
    page = console.go(f"/viewer/job/{predicted.id}")
    case_id = page.locator("main li a").first.inner_text()
    prepared = PreparedDataset.read(dataset)
    page = console.go(f"/viewer/root/1/{case_id}?path={dataset.name}")
    page.get_by_label("Prediction to lay over it").select_option(f"job {predicted.id}: maps")
    page.get_by_role("button", name="Lay over").click()
    page.wait_for_url(f"**prediction={predicted.id}*")
    console.until("!document.getElementById('plane').disabled")
    page.get_by_role("group", name="Reference").get_by_label("Show").uncheck()
    prediction = page.get_by_role("group", name="Prediction")
    prediction.get_by_label("Outlines only").uncheck()
    prediction.get_by_label("Opacity").fill("100")
    volume = read_volume(Path(predicted.output) / f"{case_id}.nii.gz")
    colours = np.array([(0, 0, 0), *(rgb(one) for one in colours_of(list(prepared.labels)[1:]).values())], float)
    at = plane_of("axial", volume.shape, volume.affine).slices // 2
    page.locator("#at").fill(str(at))
    labels = cut(volume.array, volume.affine, "axial", at)
    console.until(lambda: np.abs(shown(console)[labels > 0] - colours[labels][labels > 0]).max(initial=0) <= 1)
    assert np.ptp(shown(console)[labels == 0], axis=1).max() <= 1  # all else is grey


def test_a_reference_of_a_folder_is_shown(console: Person, served: Served, jobs: EngineClient, predicted: Job) -> None:
    assert predicted.output is not None
    references = served.folder / "data" / "experts"
    references.mkdir()
    case = read_manifest(Path(predicted.output)).cases[0]  # type: ignore[union-attr]
    volume = read_volume(Path(predicted.output) / case.file)
    label = np.ones_like(volume.array)
    write_volume(references / case.file, Volume(label, volume.affine))
    settings = {"prediction": predicted.output, "reference": str(references)}
    judged = ended(jobs, jobs.submit(Submission(task="evaluate", settings=settings, name="against a folder"), "admin"))
    page = console.go(f"/jobs/{judged.id}")
    page.get_by_role("link", name="Cases", exact=True).click()
    page.get_by_role("link", name=case.case_id).click()
    console.until("!document.getElementById('plane').disabled")
    page.get_by_role("group", name="Prediction").get_by_label("Show").uncheck()
    page.get_by_role("group", name="Reference").get_by_label("Opacity").fill("100")
    console.until(lambda: np.abs(shown(console) - COLOURS[1]).max() <= 1)  # the expert saw organ everywhere


def box(mask: np.ndarray) -> np.ndarray:
    """First and last row and column of what is true."""
    lines = (np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0)))
    return np.array([(line[0], line[-1] + 1) for line in lines], float)


def within(inner: np.ndarray, outer: np.ndarray) -> np.ndarray:
    """A box, as parts of another."""
    parts: np.ndarray = (inner - outer[:, :1]) / (outer[:, 1:] - outer[:, :1])
    return parts


def test_a_volume_has_its_labels_where_they_lie(person: Callable[..., Person], askew: Job) -> None:
    console = person("admin", viewport=SMALL)
    page = console.go(f"/viewer/job/{askew.id}/{CASE}/volume")
    console.until("document.getElementById('volume').dataset.drawn === 'first'")
    page.get_by_label("Opacity").fill("100")
    reference, voxel = oblique_case(1)[1], (5, 6, 3)  # in the lesion, which is in the organ
    for plane in ("axial", "coronal", "sagittal"):
        page.get_by_label("View", exact=True).select_option(plane)
        width, height, values = page.evaluate(PICTURE, list(voxel))
        picture = np.array(values, float).reshape(height, width, 4)[::-1, :, :3]
        at = int(cut_through(voxel)[plane])
        labels = cut(reference, oblique_affine(), plane, at)
        whole = box(picture.max(axis=2) > 8)
        for value in (1, 2):
            found = box(np.abs(picture - COLOURS[value]).max(axis=2) < 24)
            expected = box(labels == value) / np.array(labels.shape)[:, None]
            assert np.abs(within(found, whole) - expected).max() < 0.02, (plane, value)


def cut_through(voxel: tuple[int, int, int]) -> dict[str, int]:
    """The slice of each plane that a voxel lies in: axes are to the left, to the head, to the front."""
    i, j, k = voxel
    return {"sagittal": SHAPE[0] - 1 - i, "axial": j, "coronal": k}


PICTURE = """(voxel) => {
    const viewer = R2D2.viewer;
    viewer.opts.crosshairWidth = 0;
    viewer.opts.isOrientationTextVisible = false;
    const mm = [0, 1, 2].map((row) => {
        const line = viewer.volumes[0].hdr.affine[row];
        return line[0] * voxel[0] + line[1] * voxel[1] + line[2] * voxel[2] + line[3];
    });
    viewer.scene.crosshairPos = viewer.mm2frac(mm, 0, true);
    viewer.drawScene();
    const { gl } = viewer;
    const [width, height] = [gl.drawingBufferWidth, gl.drawingBufferHeight];
    const pixels = new Uint8Array(4 * width * height);
    gl.readPixels(0, 0, width, height, gl.RGBA, gl.UNSIGNED_BYTE, pixels);
    return [width, height, [...pixels]];
}"""
"""Goes to a voxel and reads the whole picture, from the bottom up."""


def test_a_large_volume_comes_whole_on_request(
    person: Callable[..., Person], served: Served, jobs: EngineClient
) -> None:
    folder = served.folder / "data" / "large"
    folder.mkdir()
    scan = np.zeros((200, 180, 120), np.int16)
    scan[100:160, 80:120, 40:80] = np.arange(60)[:, None, None]
    write_volume(folder / "big.nii.gz", Volume(scan, oblique_affine()))
    case = PredictedCase(
        case_id="big", file="big.nii.gz", source=str(folder / "big.nii.gz"), source_sha256=("0",), split=None
    )
    labels = {"background": 0, "organ": 1}
    write_manifest(folder, PredictionManifest(model="m", model_sha256="0", labels=labels, cases=(case,)))
    console = person("admin", viewport=SMALL)
    page = console.go("/viewer/root/1/big/volume?path=large")
    console.until("document.getElementById('volume').dataset.drawn === 'first'")
    assert "of 200 × 180 × 120 voxels" in page.locator("#voxels").inner_text()
    page.get_by_label("View", exact=True).select_option("axial")
    few = page.evaluate("R2D2.viewer.volumes[0].img.length")
    page.get_by_role("button", name="Load all voxels").click()
    console.until("document.getElementById('volume').dataset.drawn === 'whole'")
    assert few < page.evaluate("R2D2.viewer.volumes[0].img.length") == scan.size


def test_a_viewer_looks_and_does_not_prepare(person: Callable[..., Person], askew: Job) -> None:
    vera = person("vera", viewport=PHONE)
    page = vera.go(f"/viewer/job/{askew.id}/{CASE}")
    vera.until("!document.getElementById('plane').disabled")
    page = vera.go("/datasets/inspect/1?path=askew")
    assert page.get_by_role("button", name="Inspect").count() == 0
    page.get_by_text("An operator may inspect this folder").wait_for()
    answer = vera.context.request.get(f"{vera.served.address}/datasets/prepare/1?path=askew")
    assert answer.status == 403
