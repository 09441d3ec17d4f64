import base64
import subprocess
import sys
from html.parser import HTMLParser

import nibabel
import numpy as np
import pytest

import segeval
from r2d2.report import ReportWriteError, build_report
from r2d2.report.build import choose_cases

LABELS = {"background": 0, "body": 1, "<b>tail</b>": 2}


class Page(HTMLParser):
    """What a browser would find in a page: tags with their attributes, and the text."""

    def __init__(self, path):
        super().__init__()
        self.tags, self.text = [], []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def words(self):
        return " ".join(" ".join(self.text).split())


def save(path, array, affine):
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(array, affine), path)
    return path


@pytest.fixture
def study(tmp_path):
    """Three cases: "good" is perfect, "half" has Dice 2/3 for label 1, "lost" misses label 2."""
    affine = np.diag([1.0, 1.0, 3.0, 1.0])
    truth = np.zeros((12, 10, 6), np.uint8)
    truth[2:6, 2:6, 2:4], truth[7:10, 2:6, 2:4] = 1, 2
    half = truth.copy()
    half[2:4, 2:6, 2:4] = 0
    lost = np.where(truth == 2, 0, truth).astype(np.uint8)
    image = np.random.default_rng(0).normal(size=truth.shape).astype(np.float32)
    pairs = []
    for name, prediction in (("good", truth), ("half", half), ("lost", lost)):
        save(tmp_path / "images" / f"{name}.nii.gz", image, affine)
        pairs.append(
            segeval.CasePair(
                name,
                save(tmp_path / "reference" / f"{name}.nii.gz", truth, affine),
                save(tmp_path / "prediction" / f"{name}.nii.gz", prediction, affine),
                note="training case of this model" if name == "good" else None,
            )
        )
    segeval.write_evaluation(segeval.evaluate_pairs(pairs, LABELS), tmp_path / "evaluation")
    return tmp_path


def build(study, **changes):
    names = ("good", "half", "lost")
    arguments = {
        "title": "Test <script>alert(1)</script>",
        "evaluation_dir": study / "evaluation",
        "prediction_dir": study / "prediction",
        "reference": {name: study / "reference" / f"{name}.nii.gz" for name in names},
        "images": {name: study / "images" / f"{name}.nii.gz" for name in names},
        "run_dir": None,
        "labels": LABELS,
    }
    return build_report(study / "out" / "report.html", **(arguments | changes))


def test_the_page_needs_nothing_but_itself(study):
    page = Page(build(study))
    assert page.all("script") == []
    for _, attributes in page.tags:
        for name in ("src", "href"):
            assert (attributes.get(name) or "data:").startswith("data:")
        assert not any(name.startswith("on") for name in attributes)
    assert "http" not in page.words


def test_pictures_are_embedded_and_described(study):
    page = Page(build(study))
    pictures = page.all("img")
    assert len(pictures) == 3
    for picture in pictures:
        data = base64.b64decode(picture["src"].removeprefix("data:image/png;base64,"), validate=True)
        assert data.startswith(b"\x89PNG\r\n\x1a\n")
        assert picture["alt"].startswith("Axial slice 3 of case")
        assert int(picture["width"]) > 300


def test_headline_and_tables_hold_the_figures(study):
    """Dice of label 1: 1, 2/3, 1; of label 2: 1, 1, 0. Mean of 0.889 and 0.667: 0.778."""
    words = Page(build(study)).words
    assert "0.778 Mean foreground Dice 95 % confidence interval" in words
    assert "3 cases of 3 patients, 2 labels (n = 6 scores)" in words
    assert "body 0.889" in words
    assert "0.667" in words
    assert "0.000 missed" in words
    assert words.index("lost 1.000") < words.index("half 0.667") < words.index("good 1.000")
    assert "the diagonal of the image" in words


def test_strings_from_outside_are_escaped(study):
    page = Page(build(study))
    assert "Test <script>alert(1)</script>" in page.words
    assert "<b>tail</b>" in page.words
    assert page.all("b") == []


def test_notes_and_warnings_are_shown(study):
    words = Page(build(study)).words
    assert "1 of 3 cases are marked “training case of this model”" in words
    assert words.count("training case of this model") == 2


def test_the_worst_the_median_and_the_best_case_are_drawn(study):
    evaluation = segeval.read_evaluation(study / "evaluation")
    assert [(rank, case.case_id) for rank, case in choose_cases(evaluation)] == [
        ("Worst", "lost"),
        ("Median", "half"),
        ("Best", "good"),
    ]


def test_a_case_without_a_picture_says_why(study):
    (study / "images" / "half.nii.gz").write_bytes(b"no scan")
    words = Page(build(study, images={name: study / "images" / f"{name}.nii.gz" for name in ("half", "lost")})).words
    assert "No picture of case good: its image was not given." in words
    assert "No picture of case half:" in words
    assert "Worst case, lost" in words


def test_without_folders_the_paths_of_the_evaluation_are_used(study):
    page = Page(build(study, prediction_dir=None, reference={}))
    assert len(page.all("img")) == 3


def test_run_folder_adds_curves_and_provenance(study):
    run = study / "run"
    run.mkdir()
    (run / "events.jsonl").write_text(
        '{"event": "epoch", "epoch": 1, "loss": 1.5, "validation_dice": 0.25, "learning_rate": 0.001, '
        '"images_per_second": 10.0}\n{"event": "epoch", "epo'
    )
    (run / "model.json").write_text(
        '{"dataset": "phantom", "model_sha256": "abc123", "network": {"architecture": "unet", "depth": 4}}'
    )
    (run / "environment.json").write_text('{"world_size": 2, "versions": {"keras": "3.15.1"}}')
    page = Page(build(study, run_dir=run))
    assert len(page.all("img")) == 3 + 4
    for part in ("unet: depth 4", "phantom", "abc123", "Workers 2", "keras 3.15.1", "best 0.250 in epoch 1"):
        assert part in page.words, part


def test_an_empty_run_folder_is_no_fault(study):
    (study / "run").mkdir()
    assert "records no finished epoch" in Page(build(study, run_dir=study / "run")).words


def test_a_lone_case_has_no_interval(study):
    pair = segeval.CasePair("good", study / "reference" / "good.nii.gz", study / "prediction" / "good.nii.gz")
    segeval.write_evaluation(segeval.evaluate_pairs([pair], LABELS), study / "evaluation")
    words = Page(build(study)).words
    assert "no confidence interval (fewer than two patients)" in words
    assert "1 case of 1 patient" in words


def test_an_earlier_report_is_replaced_and_nothing_is_left_beside(study):
    path = build(study)
    path.write_text("old")
    build(study)
    assert "Mean foreground Dice" in path.read_text(encoding="utf-8")
    assert [entry.name for entry in path.parent.iterdir()] == ["report.html"]


def test_a_place_that_cannot_be_written_is_named(study):
    (study / "out" / "report.html").mkdir(parents=True)
    with pytest.raises(ReportWriteError, match=r"report\.html: the report cannot be written"):
        build(study)
    assert [entry.name for entry in (study / "out").iterdir()] == ["report.html"]


def test_no_evaluation_is_named(study):
    with pytest.raises(segeval.EvaluationNotFoundError, match=r"summary\.json"):
        build(study, evaluation_dir=study / "nowhere")


def test_drawing_shares_no_state_and_loads_no_tensorflow():
    code = (
        "import sys, r2d2.report\n"
        "sys.exit(any(name in sys.modules for name in ('matplotlib.pyplot', 'tensorflow', 'keras')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
