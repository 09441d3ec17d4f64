"""The report of a dataset: a real prepared study with planted faults, read as a browser would."""

import base64
import json
from html.parser import HTMLParser
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from imgmed import PreparationSettings, PreparedDataset, prepare_dataset
from imgmed.errors import NotADatasetError
from imgmed.fingerprint import build_fingerprint, read_fingerprint, write_fingerprint
from imgmed.fingerprint.measures import measure_case
from imgmed.preparation.reading import ReadingRules, read_case_image, read_case_label
from imgmed.recipes import read_study
from imgmed.volume import Volume
from r2d2.cli import main
from r2d2.reports.dataset import build_dataset_report, choose_typical
from r2d2.reports.dataset_pictures import read_slice

pytestmark = pytest.mark.slow

LABELS = {"background": 0, "body": 1, "<b>spot</b>": 2}
AFFINE = np.diag([-1.0, 1.0, 3.0, 1.0])


class Page(HTMLParser):
    """What a browser would find in a page: tags with their attributes, and the text."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.text: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def all(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.text).split())


def write_study(folder: Path) -> Path:
    """Eight cases of four patients; p1_a is a thousand times brighter, p2_a has an empty label map."""
    for part in ("images", "labels"):
        (folder / part).mkdir(parents=True)
    for number in range(8):
        name = f"p{number // 2}_{'ab'[number % 2]}"
        rng = np.random.default_rng(number)
        label = np.zeros((20, 18, 6), np.uint8)
        label[6:12, 5:11, 1:5] = 1
        label[7:9, 6:8, 3] = 2
        image = rng.normal(0, 3, label.shape) + 100 * label + 10
        nib.save(
            nib.Nifti1Image((image * (1000 if name == "p1_a" else 1)).astype(np.float32), AFFINE),
            folder / "images" / f"{name}.nii.gz",
        )
        nib.save(nib.Nifti1Image(label * (name != "p2_a"), AFFINE), folder / "labels" / f"{name}.nii.gz")
    (folder / "labels.json").write_text(json.dumps(LABELS))
    return folder


def add_fingerprint(dataset: PreparedDataset) -> None:
    measures = {}
    for source in read_study(dataset.source_root, "auto").sources:
        image = read_case_image(source, ReadingRules())
        label = read_case_label(source.label, image, ReadingRules()).label_map
        words = ["labels <rounded>"] if source.case_id == "p3_b" else []
        measures[source.case_id] = measure_case(image, label, dataset.labels, repaired=words)
    duplicates = ["p0_a and p0_b show the same image"]
    write_fingerprint(
        dataset.folder,
        build_fingerprint(
            measures, channels=dataset.channels, labels=dataset.labels, splits=dataset.splits, duplicates=duplicates
        ),
    )


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> PreparedDataset:
    folder = tmp_path_factory.mktemp("report")
    settings = PreparationSettings(patient_pattern="^(p[0-9])_", folds=2, slice_axis=2)
    prepared = prepare_dataset(write_study(folder / "study"), folder / "dataset", settings)
    add_fingerprint(prepared)
    return prepared


@pytest.fixture(scope="module")
def page(dataset: PreparedDataset) -> Page:
    """The page of the same dataset with patients whose names would be recognised."""
    cases = {
        case.case_id: case.model_copy(update={"patient_id": f"patient-{case.patient_id}"})
        for case in dataset.cases.values()
    }
    renamed = PreparedDataset(dataset.folder, dataset.description, cases, dataset.splits)
    return Page(build_dataset_report(renamed, dataset.folder / "dataset.html"))


def test_the_page_needs_nothing_but_itself(page: Page) -> None:
    assert page.all("script") == []
    for _, attributes in page.tags:
        for name in ("src", "href"):
            assert (attributes.get(name) or "data:").startswith("data:")
        assert not any(name.startswith("on") for name in attributes)
    assert "http" not in page.words


def test_every_part_is_there_with_its_numbers(page: Page) -> None:
    words = page.words
    for part in (
        "8 cases of 4 patients",
        "2 odd cases, 1 pair with the same content",
        "Same content: p0_a and p0_b show the same image.",
        "2 of 8 cases are odd: ",
        "LAS 8",
        "20 x 18 x 6 in all cases",
        "All cases have a spacing of 1 x 1 x 3 mm",
        "p2_a no voxel is labelled",
        "times the usual",
        "training.class_weights null",
        "labels <rounded>",
        "2 folds over all but the test cases.",
    ):
        assert part in words, part
    # 4 x 4 x 6 - 4 and 2 x 2 x 1 voxels of 3 mm3 in each of seven cases
    assert "body 1 7 of 8" in words
    assert "0.420" in words  # 144 - 4 = 140 voxels of 0.003 ml
    table = words[words.index("Every case, odd ones first") :]
    assert table.index("p1_a intensity ") < table.index("p2_a nothing labelled ") < table.index("p0_a ")


def test_strings_from_outside_are_escaped(page: Page) -> None:
    assert "<b>spot</b>" in page.words
    assert page.all("b") == []


def test_patients_are_counted_and_not_named(dataset: PreparedDataset, page: Page) -> None:
    assert "8 cases of 4 patients" in page.words
    assert "patient-" not in (dataset.folder / "dataset.html").read_text()


def test_pictures_are_embedded_and_described(dataset: PreparedDataset, page: Page) -> None:
    pictures = page.all("img")
    for picture in pictures:
        data = base64.b64decode(picture["src"].removeprefix("data:image/png;base64,"), validate=True)
        assert data.startswith(b"\x89PNG\r\n\x1a\n")
        assert picture["alt"] and int(picture["width"]) > 300
    alts = " ".join(picture["alt"] for picture in pictures)
    for case_id in ("p1_a", "p2_a", *choose_typical(read_fingerprint(dataset.folder))):
        assert f"Case {case_id} with the contours of" in alts
    assert "Intensity of" in alts and "Label volume, ml" in alts


def test_the_slice_shown_is_the_largest_and_turned_as_radiologists_do(dataset: PreparedDataset) -> None:
    """An odd voxel at the patient's right, front: it must lie at the left of the top (last) row."""
    source = nib.load(dataset.source_root / "labels" / "p0_a.nii.gz")
    label = np.asarray(source.dataobj)  # L, A, S: the first axis runs to the left
    overlay = read_slice(dataset, "p0_a")
    assert (overlay.plane, overlay.position, overlay.slices) == ("axial", 2, 6)
    assert overlay.edges == ("R", "L", "A", "P")
    np.testing.assert_array_equal(overlay.reference, label[:, :, 1].T)
    assert overlay.spacing_mm == (1.0, 1.0)
    assert read_slice(dataset, "p2_a").position == 4  # nothing labelled: the middle


def test_typical_cases_are_not_odd(dataset: PreparedDataset) -> None:
    fingerprint = read_fingerprint(dataset.folder)
    typical = choose_typical(fingerprint)
    assert len(typical) == 4
    assert not set(typical) & {"p1_a", "p2_a"} and set(fingerprint.odd_cases) == {"p1_a", "p2_a"}


def test_many_labels_and_one_case_are_no_fault(dataset: PreparedDataset, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    labels = {"background": 0} | {f"organ ${number}$": number for number in range(1, 31)}
    label = rng.integers(0, 31, (20, 18, 6)).astype(np.uint8)
    measures = {"p0_a": measure_case(Volume(rng.normal(size=label.shape).astype(np.float32), AFFINE), label, labels)}
    for path in dataset.folder.iterdir():
        if path.name != "fingerprint.json":
            (tmp_path / path.name).symlink_to(path)
    write_fingerprint(
        tmp_path, build_fingerprint(measures, channels=dataset.channels, labels=labels, splits=dataset.splits)
    )
    words = Page(build_dataset_report(PreparedDataset.read(tmp_path), tmp_path / "other.html")).words
    assert "organ $30$" in words
    assert "fewer than 5 cases (1) do not tell what is usual" in words


def test_without_a_fingerprint_the_dataset_says_so(dataset: PreparedDataset, tmp_path: Path) -> None:
    bare = PreparedDataset(tmp_path, dataset.description, dataset.cases, dataset.splits)
    with pytest.raises(NotADatasetError, match=r"has no fingerprint\.json"):
        build_dataset_report(bare, tmp_path / "dataset.html")
    assert list(tmp_path.iterdir()) == []


def test_the_command_writes_it(
    dataset: PreparedDataset, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def said(*words: str) -> tuple[int, str]:
        monkeypatch.setattr("sys.argv", ["r2d2", "report", "--dataset", str(dataset.folder), *words])
        with pytest.raises(SystemExit) as end:
            main()
        return int(end.value.code or 0), capsys.readouterr().err

    assert said("--out", str(tmp_path / "page.html")) == (0, f"wrote {tmp_path / 'page.html'}\n")
    assert "8 cases of 4 patients" in Page(tmp_path / "page.html").words
    code, message = said("--evaluation", "somewhere")
    assert code == 2 and "somewhere: no summary.json here" in message
    code, message = said("--run-dir", "somewhere")
    assert code == 2 and "--dataset and --run-dir are reported on one by one" in message
    code, message = said("--images", "somewhere")
    assert code == 2 and "belong to an evaluation" in message


def write_photos(folder: Path) -> Path:
    """Six photographs of a red field in a green one, whose label touches the left edge of one of them."""
    for part in ("images", "labels"):
        (folder / part).mkdir(parents=True)
    for number in range(6):
        label = np.zeros((24, 32), np.uint8)
        label[8:12, (0 if number == 5 else 6) : 10 + number] = 1
        photo = np.where(label[..., np.newaxis] > 0, (200, 40, 40), (30, 150 + number, 60)).astype(np.uint8)
        Image.fromarray(photo).save(folder / "images" / f"p{number}.png")
        Image.fromarray(label).save(folder / "labels" / f"p{number}.png")
    return folder


def test_photographs_have_pixels_colours_and_no_patient(tmp_path: Path):
    settings = PreparationSettings(normalisation="none", operations=())
    dataset = prepare_dataset(write_photos(tmp_path / "photos"), tmp_path / "out", settings)
    fingerprint = read_fingerprint(dataset.folder)
    touching = next(remark for remark in fingerprint.remarks if "touches" in remark)
    assert "in 1 of 6 cases (left edge 1)" in touching and "its area is a part" in touching
    overlay = read_slice(dataset, "p0")
    assert (overlay.edges, overlay.place) == (("", "", "", ""), "")
    photo = np.asarray(Image.open(tmp_path / "photos/images/p0.png"))
    np.testing.assert_array_equal(overlay.image, photo[::-1])
    page = Page(build_dataset_report(dataset, tmp_path / "report.html"))
    for word in ("Area, pixels", "Size, pixels", "left edge 1"):
        assert word in page.words
    for word in (" mm", " ml", "Radiological", "Axial", "left-right", "Orientation", "Spacing"):
        assert word not in page.words.split("Proposed settings")[0], word
    assert [attributes["alt"] for attributes in page.all("img") if "slice" in attributes.get("alt", "")] == []


def test_reasons_of_a_plan_for_pictures_name_no_millimetres(tmp_path: Path):
    dataset = prepare_dataset(write_photos(tmp_path / "photos"), tmp_path / "out")
    assert dataset.description.reasons["spacing_mm"] == ("pictures have no size in millimetres: their pixels are kept")
    assert dataset.scan_preparation.slice_axis == 2
