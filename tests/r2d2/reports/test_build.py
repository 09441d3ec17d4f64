import base64
import re
import subprocess
import sys
from html.parser import HTMLParser

import nibabel
import numpy as np
import pytest

import segeval
from r2d2.monitoring.influx.target import Target
from r2d2.reports.build import build_report
from r2d2.reports.cases import choose_cases
from r2d2.reports.overlay import read_overlay
from r2d2.tasks.reporting import ReportSettings, report
from r2d2_base.errors import CancelledError, ConfigurationError, NotWritableError
from r2d2_base.progress import StopRequest
from tests.r2d2.monitoring.influx.run_folders import ledger_of, write_run

pytestmark = pytest.mark.slow

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


def write_study(folder):
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
        save(folder / "images" / f"{name}.nii.gz", image, affine)
        pairs.append(
            segeval.CasePair(
                name,
                save(folder / "reference" / f"{name}.nii.gz", truth, affine),
                save(folder / "prediction" / f"{name}.nii.gz", prediction, affine),
                note="training case of this model" if name == "good" else None,
            )
        )
    segeval.write_evaluation(segeval.evaluate_pairs(pairs, LABELS), folder / "evaluation")
    return folder


@pytest.fixture
def study(tmp_path):
    """One that a test may change."""
    return write_study(tmp_path)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """Of a study that nothing was changed in."""
    return Page(build(write_study(tmp_path_factory.mktemp("report"))))


def build(study, **changes):
    names = ("good", "half", "lost")
    arguments = {
        "title": "Test <script>alert(1)</script>",
        "evaluation_dir": study / "evaluation",
        "prediction_dir": study / "prediction",
        "reference": {name: study / "reference" / f"{name}.nii.gz" for name in names},
        "images": {name: study / "images" / f"{name}.nii.gz" for name in names},
        "run_dir": None,
    }
    return build_report(study / "out" / "report.html", **(arguments | changes))


def test_the_page_needs_nothing_but_itself(page):
    assert page.all("script") == []
    for _, attributes in page.tags:
        for name in ("src", "href"):
            assert (attributes.get(name) or "data:").startswith("data:")
        assert not any(name.startswith("on") for name in attributes)
    assert "http" not in page.words


def test_a_page_that_is_cancelled_ends_between_pictures(study, monkeypatch):
    stop, read = StopRequest(), []

    def read_and_cancel(*arguments, **options):
        read.append(arguments)
        stop.make("enough")
        return read_overlay(*arguments, **options)

    monkeypatch.setattr("r2d2.reports.build.read_overlay", read_and_cancel)
    settings = ReportSettings(evaluation=study / "evaluation", out=study / "out" / "report.html")
    with pytest.raises(CancelledError, match="enough"):
        report(settings, stop=stop)
    assert len(read) == 1 and not (study / "out").exists()


def test_pictures_are_embedded_and_described(page):
    pictures = page.all("img")
    for picture in pictures:
        data = base64.b64decode(picture["src"].removeprefix("data:image/png;base64,"), validate=True)
        assert data.startswith(b"\x89PNG\r\n\x1a\n")
        assert int(picture["width"]) > 300
    described = [picture["alt"].split(":")[0] for picture in pictures]
    assert [alt for alt in described if alt.startswith("Axial slice 3 of 6 of case")] == overlays(page)
    assert len(overlays(page)) == 3
    for metric in ("Dice", "HD95, mm", "NSD"):
        assert f"{metric} of every case, by label. body" in described
    for label in ("body", "<b>tail</b>"):
        assert f"Bland-Altman plot of the volumes of {label}" in described


def overlays(page):
    """What the pictures of cases show, up to the first colon."""
    return [alt.split(":")[0] for alt in (picture["alt"] for picture in page.all("img")) if " of case " in alt]


def test_headline_and_tables_hold_the_figures(page):
    """Dice of label 1: 1, 2/3, 1; of label 2: 1, 1, 0. Mean of 0.889 and 0.667: 0.778."""
    words = page.words
    assert "0.778 Mean foreground Dice 95 % confidence interval" in words
    assert "3 cases of 3 patients, 2 labels (n = 6 scores)" in words
    assert "the background is not in it" in words
    assert "body 0.889" in words
    assert "0.667" in words
    assert "0.000 missed" in words
    assert words.index("lost 1.000") < words.index("half 0.667") < words.index("good 1.000")


def test_every_average_has_its_name_and_n(page):
    """Cases: 1, 5/6, 1/2, so that both orders give 7/9 here. Pooled for label 1: TP 80, FN 16, so 160 / 176."""
    words = page.words
    assert "Cases, then labels (nnU-Net’s order)" in words
    assert "Labels, then cases (MONAI’s order)" in words
    assert "n scores left out mean n cases left out" in words
    averages = words[words.index("Averages, by their names") :]
    assert re.search(r"Dice 0\.778 [0-9. to]+ 6 0 0\.778 [0-9. to]+ 3 0 IoU", averages)
    assert "body 0.909" in averages
    assert "Figures of the whole image, background included" in averages


def test_conventions_are_a_table_of_metrics_and_missing_structures(page):
    words = page.words
    conventions = words[words.index("Conventions used") :]
    assert "Metrics In neither Not in the reference Missed" in conventions
    neither = "no value, left out of the mean and counted"
    assert f"Dice, IoU, Precision, Sensitivity, NSD {neither} the worst value: 0 " in conventions
    assert f"Hausdorff, HD95, ASSD, MASD {neither} the worst value: the diagonal of the image in mm" in conventions
    assert "the larger of the two directed 95th percentiles" in conventions


def test_values_left_out_are_counted_where_the_mean_stands(study):
    """MONAI's HD95 has no value for a missed structure, ours has: n is 2 of 3 there, and 3 of 3 for Dice."""
    names = ("good", "half", "lost")
    pairs = [segeval.CasePair(n, *(study / f / f"{n}.nii.gz" for f in ("reference", "prediction"))) for n in names]
    chosen = segeval.Conventions(on_empty="monai", metrics=("hd95_mm", "nsd"))
    evaluation = segeval.evaluate_pairs(pairs, LABELS, conventions=chosen)
    segeval.write_evaluation(evaluation, study / "evaluation")
    words = Page(build(study)).words
    assert "Label HD95, mm n left out NSD n left out" in words
    assert "<b>tail</b> 0.00 0.00 to 0.00 2 1 0.667" in words
    assert "Mean foreground HD95, mm" in words


def test_strings_from_outside_are_escaped(page):
    assert "Test <script>alert(1)</script>" in page.words
    assert "<b>tail</b>" in page.words
    assert page.all("b") == []


def test_notes_and_warnings_are_shown(page):
    words = page.words
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
    assert "No scan of case good was given." in words
    assert "The scan of case half is not drawn:" in words
    for case in ("Worst case, lost", "Median case, half", "Best case, good"):
        assert case in words


def test_a_case_without_a_label_map_says_why(study):
    (study / "prediction" / "half.nii.gz").unlink()
    page = Page(build(study))
    assert "No picture of case half:" in page.words
    assert len(overlays(page)) == 2


def test_what_is_wrong_on_the_worst_slice_is_counted(page):
    """Label 1 lacks 2 × 4 of its voxels on each slice in "half"; label 2 all its 3 × 4 in "lost"."""
    words = page.words
    assert "Wrong on this slice: 8 voxels missed, 0 too many. Axial slice 3 of 6." in words
    assert "Wrong on this slice: 12 voxels missed, 0 too many. Axial slice 3 of 6." in words


def test_a_missing_prediction_is_drawn_as_nothing_and_said(study):
    (study / "prediction" / "lost.nii.gz").unlink()
    folders = (study / "reference", study / "prediction")
    segeval.write_evaluation(segeval.evaluate_folder(*folders, LABELS, on_missing="worst"), study / "evaluation")
    words = Page(build(study)).words
    assert "Worst case, lost: body no prediction; <b>tail</b> no prediction." in words
    assert "Wrong on this slice: 28 voxels missed" in words
    assert "0.000 no prediction" in words


def test_slices_as_cases_have_no_pictures(study):
    folders = (study / "reference", study / "prediction")
    segeval.write_evaluation(segeval.evaluate_folder(*folders, LABELS, unit="slice"), study / "evaluation")
    page = Page(build(study))
    assert overlays(page) == []
    assert "The cases are slices of volumes" in page.words


def test_many_labels_are_named_instead_of_having_columns(study):
    """Six labels, of which five are nowhere: the table of cases names the worst, and the missed one."""
    labels = {"body": 1, "tail": 2, **{f"organ {value}": value for value in range(3, 7)}}
    folders = (study / "reference", study / "prediction")
    segeval.write_evaluation(segeval.evaluate_folder(*folders, labels), study / "evaluation")
    words = Page(build(study)).words
    assert "Case Mean Dice Worst labels In neither Missed" in words
    organs = ", ".join(f"organ {value}" for value in range(3, 7))
    assert f"lost 0.500 tail 0.000, body 1.000 {organs} tail" in words
    assert f"No case has volumes to compare of: {organs}." in words
    assert "worst of 6 labels: tail missed; body Dice 1.000" in words


def test_without_folders_the_paths_of_the_evaluation_are_used(study):
    page = Page(build(study, prediction_dir=None, reference={}))
    assert len(overlays(page)) == 3


def test_run_folder_adds_curves_and_provenance(study):
    run = study / "run"
    run.mkdir()
    (run / "events.jsonl").write_text(
        '{"event": "epoch", "epoch": 1, "step": 4, "loss": 1.5, "validation_dice": 0.25, "learning_rate": 0.001, '
        '"images_per_second": 10.0}\n{"event": "epoch", "epo'
    )
    (run / "model.json").write_text(
        '{"dataset": "phantom", "model_sha256": "abc123", "network": {"architecture": "unet", "depth": 4}}'
    )
    (run / "environment.json").write_text('{"world_size": 2, "versions": {"keras": "3.15.1"}}')
    page = Page(build(study, run_dir=run))
    assert sum(" over 1 epoch" in picture["alt"] for picture in page.all("img")) == 4
    for part in ("unet: depth 4", "phantom", "abc123", "Workers 2", "keras 3.15.1", "best 0.250 in epoch 1"):
        assert part in page.words, part


def test_what_was_sent_of_a_run_is_told(study):
    run = write_run(study / "run", steps=5)
    ledger = ledger_of(run, Target("http://influx", "lab", "mri"))
    ledger.sent, ledger.refused, ledger.fault = 7, 2, "it cannot be reached"
    ledger.write(run)
    words = Page(build(study, run_dir=run.path)).words
    assert "InfluxDB at http://influx has 7 points of this run, and refused 2. 22 records wait (it cannot be" in words


def test_a_training_alone_is_reported_on(tmp_path):
    run = write_run(tmp_path / "heart" / "run", steps=5)
    written = report(ReportSettings(run_dir=run.path))
    assert written == run.path / "training.html"
    page = Page(written)
    assert "Training heart/run" in page.words
    assert "after 1 epoch; " not in page.words and ", after 1 epoch." in page.words  # no Dice was recorded
    assert "10 % of the time waiting for input" in page.words and "1 epoch recorded" in page.words
    assert "figure" in [tag for tag, _ in page.tags]
    run.exit.write_text('{"schema_version": 1, "state": "stopped_early", "reason": "enough", "time": 1.8e9}')
    out = tmp_path / "other.html"
    report(ReportSettings(run_dir=run.path, out=out))
    assert "State: stopped early (enough), after 1 epoch." in Page(out).words


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({}, "is no run folder; name the --run-dir of a training"),
        ({"dataset": "there"}, "are reported on one by one"),
        ({"images": "there"}, "belong to an evaluation"),
    ],
)
def test_what_is_no_training_is_refused(tmp_path, more, said):
    with pytest.raises(ConfigurationError, match=said):
        report(ReportSettings(run_dir=tmp_path, **more))
    assert not list(tmp_path.iterdir())


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
    with pytest.raises(NotWritableError, match=r"report\.html cannot be written \(is a directory\)"):
        build(study)
    assert [entry.name for entry in (study / "out").iterdir()] == ["report.html"]


def test_no_evaluation_is_named(study):
    with pytest.raises(segeval.EvaluationNotFoundError, match=r"summary\.json"):
        build(study, evaluation_dir=study / "nowhere")


def test_drawing_shares_no_state_and_loads_no_tensorflow():
    code = (
        "import sys, r2d2.reports\n"
        "sys.exit(any(name in sys.modules for name in ('matplotlib.pyplot', 'tensorflow', 'keras')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
