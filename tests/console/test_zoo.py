"""The zoo as a person uses it: a card read, scans brought along and segmented, a network published and started from."""

import gzip
import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from pydicom import dcmread

from r2d2.engine import EngineClient, Job
from r2d2.reports.page import figures
from r2d2.reports.picture import encode, new_figure
from tests.console.person import Person
from tests.dicom_files import write_series
from tests.web.serving import Served
from tests.zoo_models import WEIGHTS, add_model, list_files

pytestmark = pytest.mark.slow

WORDS = {
    "Title": "Organs in noise",
    "Intended use": "Tests of the console.",
    "Not for": "Anything else.",
    "Known failures": "none known",
    "Author": "The testers",
    "Attribution": "R2D2",
    "Source": "generated",
}


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scan of the size of those that the shipped model knows: noise around a blob."""
    drawn = np.random.default_rng(0).gamma(2.0, 50.0, (34, 50, 30)).astype(np.float32)
    drawn[10:20, 15:30, 8:20] += 200
    file = tmp_path_factory.mktemp("scan") / "brought along.nii.gz"
    nib.save(nib.Nifti1Image(drawn, np.diag([1.0, 1.0, 1.0, 1.0])), file)
    return file


def test_a_card_says_what_a_model_is_for(console: Person) -> None:
    page = console.go("/zoo?words=hippocampus fcn")
    assert page.locator("article.model").count() == 1
    page.get_by_role("link", name="hippocampus-fcn:1").click()
    page.get_by_role("heading", name="What it is not for").wait_for()
    assert "no medical device" in page.locator(".model-card").inner_text()
    page.get_by_role("link", name="Start a training from it").click()
    page.get_by_role("heading", name="New training").wait_for()
    assert page.get_by_label("Start from").input_value() == "zoo:hippocampus-fcn:1"


def test_a_card_shows_its_pictures(console: Person, served: Served) -> None:
    folder = add_model(served.folder / "zoo", "with-pictures", WEIGHTS)
    drawn = [encode(new_figure(5, 4), f"{word} slice", f"{word} case: Dice 0.8.") for word in ("Worst", "Best")]
    (folder / "card.html").write_text(f"<h1>Ours</h1>{figures(drawn, 'wide')}")
    list_files(folder)
    page = console.go("/zoo/models/with-pictures/1")
    page.get_by_role("heading", name="How that looks").wait_for()
    page.get_by_text("Best case: Dice 0.8.").wait_for()
    sizes = "[...document.querySelectorAll('.pictures img')].map((one) => one.complete && one.naturalWidth)"
    console.until(lambda: page.evaluate(sizes) == [600, 600])
    assert page.get_by_role("img", name="Worst slice").is_visible() and console.axe() == []


def test_scans_are_brought_along_and_segmented(
    person: Callable[..., Person], jobs: EngineClient, scan: Path, tmp_path: Path
) -> None:
    olga = person("olga")
    page = olga.go("/zoo/predict?model=zoo:hippocampus-fcn:1")
    assert "not blanked" in page.locator("main").inner_text()
    page.locator("#files").set_input_files([scan])
    page.get_by_text("brought along.nii.gz").wait_for()
    page.get_by_role("button", name="Predict").click()
    page.get_by_role("heading", name="Prediction").wait_for()
    job = jobs.show(int(page.url.rpartition("/")[2])).job
    assert job.task == "predict" and job.by == "olga"
    link = page.get_by_role("link", name="Download NIfTI")
    link.wait_for(timeout=600_000)
    assert "brought along" in page.locator("table").inner_text()
    with page.expect_download() as begun:
        link.click()
    got = tmp_path / "got.nii.gz"
    shutil.copy(begun.value.path(), got)
    label_map, image = nib.load(got), nib.load(scan)
    assert label_map.shape == image.shape and np.allclose(label_map.affine, image.affine)
    assert set(np.unique(label_map.get_fdata())) <= {0, 1, 2}
    folder = jobs.work_root / "uploads"
    assert any(folder.rglob("brought along.nii.gz")) and folder.stat().st_mode & 0o77 == 0
    olga.confirm("Remove the scans")
    page.get_by_text("The scans were removed from the server.").wait_for()
    assert not any(folder.rglob("*.nii.gz"))


def test_a_folder_of_dicom_slices_gives_a_segmentation(
    console: Person, scan: Path, tmp_path: Path, jobs: EngineClient
) -> None:
    voxels = np.asarray(nib.load(scan).dataobj).astype(np.int16)
    write_series(tmp_path / "T1", voxels, np.eye(4), change=lambda _, one: setattr(one, "Modality", "MR"))
    page = console.go("/zoo/predict?model=zoo:hippocampus-fcn:1")
    page.locator("#folder").set_input_files(tmp_path / "T1")
    page.get_by_text(f"{voxels.shape[2]} files").wait_for()
    page.get_by_role("button", name="Predict").click()
    page.get_by_role("heading", name="Prediction").wait_for()
    link = page.get_by_role("link", name="Download DICOM SEG")
    link.wait_for(timeout=600_000)
    with page.expect_download() as begun:
        link.click()
    made = dcmread(begun.value.path())
    assert (made.Modality, made.Rows, made.Columns) == ("SEG", voxels.shape[1], voxels.shape[0])
    assert "Doe" not in page.content(), "who the patient is stands in the files alone"


def test_what_is_no_scan_is_refused_in_words(console: Person, tmp_path: Path, jobs: EngineClient) -> None:
    page = console.go("/zoo/predict?model=zoo:hippocampus-fcn:1")
    file = tmp_path / "notes.txt"
    file.write_bytes(gzip.compress(b"no scan"))
    page.locator("#files").set_input_files([file])
    page.get_by_role("button", name="Predict").click()
    page.get_by_text("Not sent: notes.txt is no scan that R2D2 knows").wait_for()
    console.until(lambda: not any((jobs.work_root / "uploads").rglob("scans")))
    console.forgive("422")
    page = console.go("/zoo/predict")
    page.get_by_role("button", name="Predict").click()
    page.get_by_text("choose scans, or a dataset").wait_for()
    console.forgive("422")


def test_a_network_is_published_with_all_refusals_and_started_from(
    console: Person, jobs: EngineClient, training: Job, dataset: Path
) -> None:
    page = console.go(f"/zoo/publish/{training.id}")
    page.get_by_role("button", name="Publish").click()
    page.get_by_text("to be mended").wait_for()
    assert page.get_by_text("must be given").count() > 8
    console.forgive("422")
    the_model = page.get_by_role("group", name="The model")
    data = page.get_by_role("group", name="The data that it learned from")
    for label, words in WORDS.items():
        page.get_by_label(label, exact=True).fill(words)
    the_model.get_by_label("Name", exact=True).fill("organs-in-noise")
    the_model.get_by_label("Licence", exact=True).fill("any")
    data.get_by_label("Name", exact=True).fill("Generated volumes")
    data.get_by_label("Licence", exact=True).fill("CC0-1.0")
    page.get_by_role("button", name="Publish").click()
    page.get_by_text("must be an SPDX expression").wait_for()
    console.forgive("422")
    assert page.get_by_label("Title", exact=True).input_value() == "Organs in noise", "answers stay"
    the_model.get_by_label("Licence", exact=True).fill("MIT")
    page.get_by_role("button", name="Publish").click()
    page.get_by_role("link", name="organs-in-noise:1").click()
    page.get_by_text("This model was not evaluated").wait_for()
    page.get_by_role("link", name="Start a training from it").click()
    page.get_by_label("Dataset").select_option(label=next_label(page))
    console.until(lambda: "transfer.start_from=zoo:organs-in-noise:1" in page.locator("#command").inner_text())
    page.get_by_text("Nothing stands in the way.").wait_for()
    console.go("/zoo/models/organs-in-noise/1")
    console.confirm("Remove")
    console.page.get_by_text("organs-in-noise:1 was removed").wait_for()


def next_label(page: object) -> str:
    """The first prepared dataset in the list."""
    options: list[str] = page.get_by_label("Dataset").locator("option").all_inner_texts()  # type: ignore[attr-defined]
    return next(text for text in options if "job" in text or "in " in text)
