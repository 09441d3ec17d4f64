"""The page of a training: its curves, its log, what may be asked of it."""

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Page

from dist_training.record.events import EpochEnded, RequestServed, StepsProfiled, StepTaken, read_events
from dist_training.record.run_folder import RunFolder
from dist_training.record.samples import SampleDescription, SampleFolder, SampleSlice, SampleSlices
from imgmed import write_phantom_study
from r2d2.curves import RunCurves
from r2d2.engine import EngineClient, Job, Submission
from r2d2.engine.processes import processes_of
from r2d2.monitoring.gpu import GpuReader
from r2d2.monitoring.series import SeriesFile, read_series
from tests.console.conftest import TINY, ended
from tests.console.person import PHONE, SCREEN, Person
from tests.r2d2.monitoring.test_gpu import FakeNvml
from tests.web.serving import Served

pytestmark = pytest.mark.slow


def data(console: Person, path: str, **headers: str) -> tuple[int, str | None, Any]:
    """Ask as a script of a page does; gives status, tag and content."""
    answer = console.context.request.get(f"{console.served.address}{path}", headers={"HX-Request": "true", **headers})
    content = answer.json() if answer.status == 200 else None
    return answer.status, answer.headers.get("etag"), content


def test_curves_are_what_the_run_recorded(console: Person, training: Job) -> None:
    assert training.output is not None
    events = read_events(RunFolder(Path(training.output)).events)
    steps = [event for event in events if isinstance(event, StepTaken)]
    epochs = [event for event in events if isinstance(event, EpochEnded)]
    status, tag, found = data(console, f"/jobs/{training.id}/curves")
    assert status == 200 and found["is_behind"] is False
    assert found["steps"]["step"] == [event.step for event in steps]
    assert found["steps"]["loss"]["mean"] == pytest.approx([event.loss for event in steps], rel=1e-6)
    assert found["epochs"]["dice"] == pytest.approx([event.validation_dice for event in epochs], rel=1e-6)
    assert set(found["epochs"]["dice_per_label"]) == set(epochs[0].validation_dice_per_label)
    assert found["last_step"] == found["total_steps"] == steps[-1].step
    assert data(console, f"/jobs/{training.id}/curves", **{"If-None-Match": tag or ""})[0] == 304
    few = data(console, f"/jobs/{training.id}/curves?first=2&last=9&most=4")[2]["steps"]
    inside = [event.loss for event in steps if 2 <= event.step <= 9]
    assert len(few["step"]) <= 4 and few["step"][-1] == min(9, steps[-1].step)
    assert max(few["loss"]["largest"]) == pytest.approx(max(inside), rel=1e-6)
    console.forgive("304")


def test_machines_are_drawn_under_the_curves_as_they_were_recorded(console: Person, training: Job) -> None:
    assert training.output is not None
    status, _, found = data(console, f"/jobs/{training.id}/machines")
    assert status == 200 and {"memory", "worker_images"} <= set(found)
    recorded = read_series(RunFolder(Path(training.output)).monitoring / "rank-0.jsonl")
    speeds = [record["work.images_per_second"] for record in recorded if "work.images_per_second" in record]
    line = found["worker_images"]["lines"]["worker 0"]
    assert set(found["worker_images"]["lines"]) == {"worker 0", "worker 1"}
    assert [value for value in line if value is not None][-1] == pytest.approx(speeds[-1], rel=1e-3)
    of_lines = [chart for name, chart in found.items() if name != "shares"]
    assert all(len(one) == len(chart["step"]) for chart in of_lines for one in chart["lines"].values())
    assert data(console, f"/jobs/{training.id}/machines?first=1e9")[2] == {}
    console.go(f"/jobs/{training.id}")
    console.until("!document.getElementById('chart-memory').closest('figure').hidden")
    console.until("document.querySelectorAll('#chart-memory canvas').length === 1")
    console.until("document.getElementById('chart-memory').getAttribute('aria-label').includes('worker 0')")


def test_shares_of_time_are_drawn_of_the_worker_that_is_chosen(console: Person, training: Job) -> None:
    found = data(console, f"/jobs/{training.id}/machines")[2]["shares"]["workers"]
    assert list(found) == ["worker 0", "worker 1"]
    for rank, worker in enumerate(found.values()):
        assert list(worker) == ["step", "input", "compute", "exchange", "validation", "checkpoint"]
        assert worker["step"] == sorted(set(worker["step"]))
        assert all(0 <= sum(each) <= 100.1 for each in zip(*list(worker.values())[1:], strict=True))
        recorded = read_series(RunFolder(Path(training.output or "")).monitoring / f"rank-{rank}.jsonl")
        last = [one["work.compute"] for one in recorded if one["work.step"] == recorded[-1]["work.step"]]
        assert 99.9 * min(last) <= worker["compute"][-1] <= 100.1 * max(last)  # of records at one place the mean
    page = console.go(f"/jobs/{training.id}")
    chart = page.locator("#chart-shares")
    page.locator("#chart-shares canvas").wait_for()
    assert painted(page, "#chart-shares canvas") > 1000
    words = f"input {shown(found['worker 1']['input'][-1])} %"
    page.get_by_label("Worker", exact=True).select_option("worker 1")
    console.until(lambda: f"time of worker 1 goes into: {words}" in (chart.get_attribute("aria-label") or ""))


def shown(value: float) -> str:
    """A number as the charts' words have it: four digits."""
    return (
        np.format_float_positional(float(f"{value:.4g}"), trim="-") if value >= 1e-3 or value == 0 else f"{value:.2e}"
    )


def test_power_and_energy_of_gpus_are_drawn_and_said(console: Person, training: Job) -> None:
    """By answers as NVML gives them, of a host that the training did not have."""
    monitoring = RunFolder(Path(training.output or "")).monitoring
    recorded = read_series(monitoring / "rank-0.jsonl")
    file, nvml = monitoring / "host-gpus.jsonl", FakeNvml()
    reader, series = GpuReader(nvml, {}), SeriesFile(file)
    try:
        for record in (recorded[0], recorded[-1]):
            series.append({"time": record["time"], "seconds": 1.0, **reader.read()})
            nvml.millijoules += 9_000_000
        drawn = data(console, f"/jobs/{training.id}/machines?most=299")[2]  # no answer that is kept
        assert drawn["gpu_power"]["lines"] == {"gpus, GPU 0": [342.52, 342.52]}
        assert drawn["gpu_energy"]["lines"] == {"gpus, GPU 0": [0, 2.5]}
        assert drawn["gpu_energy"]["told"] == "The 2 GPUs used 2.5 Wh in this run, as 1 of them tells."
        page = console.go(f"/jobs/{training.id}")
        for name in ("gpu_power", "gpu_energy"):
            page.locator(f"#chart-{name} canvas").wait_for()
        assert page.locator("#chart-gpu_power").get_attribute("aria-label") == "GPU power (W): gpus, GPU 0 342.5"
        page.get_by_text("The 2 GPUs used 2.5 Wh in this run").wait_for()
    finally:
        file.unlink()


def test_a_log_is_read_from_where_one_was(console: Person, training: Job, jobs: EngineClient) -> None:
    whole = jobs.log(training.id).text
    first = data(console, f"/jobs/{training.id}/log")[2]
    assert first["text"] == whole and first["is_last"] is True
    assert data(console, f"/jobs/{training.id}/log?offset={first['offset']}")[2]["text"] == ""


def test_what_cannot_be_asked(person: Callable[..., Person], training: Job) -> None:
    vera = person("vera")
    for path, status in (
        ("/jobs/99999/curves", 404),
        (f"/jobs/{training.id}/curves?most=x", 422),
        (f"/jobs/{training.id}/curves?most=100000", 422),
        (f"/jobs/{training.id}/log?offset=-1", 422),
        ("/jobs/99999/log", 404),
    ):
        assert data(vera, path)[0] == status, path


def test_a_run_from_its_start_to_its_resumption(
    console: Person, jobs: EngineClient, train: Callable[..., Job], dataset: Path
) -> None:
    """Watched, asked for a checkpoint and another rate, stopped early, gone on with, cancelled."""
    job = train("course", **{"training.epochs": 3000})
    page = console.go(f"/jobs/{job.id}")
    page.get_by_text("It has said nothing yet.").or_(page.get_by_text("training:")).first.wait_for()
    dice = page.locator("#chart-dice")
    console.until(lambda: "after epoch" in (dice.get_attribute("aria-label") or ""))
    page.locator("#chart-loss canvas").wait_for()
    before = page.locator("#chart-loss").get_attribute("aria-label")
    console.until(lambda: page.locator("#chart-loss").get_attribute("aria-label") != before)
    assert painted(page, "#chart-loss canvas") > 100

    page.get_by_role("button", name="Checkpoint now").click()
    page.get_by_text("Asked for a checkpoint").wait_for()
    events = RunFolder(Path(job.output or "")).events
    served = lambda: [one for one in read_events(events) if isinstance(one, RequestServed)]  # noqa: E731
    console.until(lambda: served() and served()[0].request == "checkpoint")
    assert served()[0].reason == "admin asked"
    page.get_by_role("button", name="Trace 5 steps").click()
    page.get_by_text("Asked for a trace of the next 5 steps").wait_for()
    console.until(lambda: any(isinstance(one, StepsProfiled) for one in read_events(events)))
    page.get_by_role("textbox", name="Learning rate").fill("0,0002")
    page.get_by_role("button", name="Change the learning rate").click()
    page.get_by_text("Asked for the learning rate 0.0002").wait_for()
    console.until(lambda: served()[-1].learning_rate == pytest.approx(0.0002))

    page.get_by_label("Search the log").fill("epoch 2:")
    page.get_by_text(re.compile(r"1 of \d+ lines hold")).wait_for()
    assert page.locator("#log-lines").inner_text().startswith("epoch 2: loss")

    console.confirm("Stop early")
    page.locator("#job .heading .state", has_text="stopped early").wait_for()
    checkpoint = page.get_by_text(re.compile(r"Checkpoint step-\d+\.npz holds step \d+"))
    checkpoint.wait_for()
    name = re.search(r"step-\d+\.npz", checkpoint.inner_text())
    assert name is not None and (RunFolder(Path(job.output or "")).checkpoints / name[0]).exists()

    page.get_by_role("button", name="Resume").click()
    page.locator("#job .heading .state", has_text="running").wait_for()
    stopped_at = int(re.findall(r"\d+", name[0])[0])
    console.until(
        lambda: RunCurves(Path(job.output or ""), jobs_curves(console, job)).view(most=4).last_step > stopped_at
    )
    console.confirm("Cancel")
    page.locator("#job .heading .state", has_text="cancelled").wait_for()
    page.get_by_label("Search the log").fill("")
    console.until(lambda: page.locator("#log-lines").inner_text().strip() == jobs.log(job.id, 2).text.strip())
    assert console.axe() == []


def jobs_curves(console: Person, job: Job) -> Path:
    return console.served.folder / "work" / "jobs" / str(job.id) / "curves"


def painted(page: Page, canvas: str) -> int:
    """Count the points of a canvas that are not clear."""
    found: int = page.evaluate(
        """(name) => { const one = document.querySelector(name); const drawing = one.getContext("2d");
        const { data } = drawing.getImageData(0, 0, one.width, one.height);
        return data.filter((value, at) => at % 4 === 3 && value).length }""",
        canvas,
    )
    return found


def test_a_closer_look_at_a_stretch(console: Person, training: Job) -> None:
    asked: list[str] = []
    console.page.on("request", lambda request: asked.append(request.url) if "/curves?" in request.url else None)
    page = console.go(f"/jobs/{training.id}")
    box = page.locator("#chart-loss .u-over")
    box.wait_for()
    place = box.bounding_box()
    assert place is not None
    page.mouse.move(place["x"] + place["width"] * 0.2, place["y"] + 40)
    page.mouse.down()
    page.mouse.move(place["x"] + place["width"] * 0.6, place["y"] + 60, steps=5)
    page.mouse.up()
    page.get_by_text(re.compile(r"Steps \d+ to \d+\.")).wait_for()
    assert "first=" in asked[-1] and "last=" in asked[-1]
    page.get_by_role("button", name="Show the whole run").click()
    page.get_by_text("Drag over a stretch").wait_for()


def test_sample_predictions_come_and_are_looked_at(
    person: Callable[..., Person], jobs: EngineClient, train: Callable[..., Job], request: pytest.FixtureRequest
) -> None:
    """They follow a training that goes on, until an epoch is chosen; by keyboard too, in both themes, on a phone."""
    vera, job = person("vera"), train("watched", **{"training.epochs": 3000, "training.sample_predictions": 2})
    page = vera.go(f"/jobs/{job.id}")
    samples = page.locator("#samples")
    samples.get_by_text("They come with the end of an epoch.").wait_for()
    slider, place = samples.get_by_label("Epoch"), samples.locator("#samples-place")
    slider.wait_for()
    first = place.inner_text()
    vera.until(lambda: place.inner_text() != first)
    slider.press("Home")
    assert re.match(r"1, validation Dice \d\.\d{3}", place.inner_text())
    prediction = samples.get_by_role("img", name="Slice 1 of 2: prediction after epoch 1", exact=True)
    vera.until(lambda: prediction.evaluate("image => image.complete && image.naturalWidth"))
    kept = slider.get_attribute("max")
    vera.until(lambda: slider.get_attribute("max") != kept)
    assert place.inner_text().startswith("1,")  # what was chosen stays
    samples.get_by_role("button", name="Latest").click()
    jobs.stop(job.id)
    page.locator("#job .heading .state", has_text="stopped early").wait_for()
    epochs = SampleFolder(RunFolder(Path(job.output or "")).samples).epochs()
    vera.until(lambda: place.inner_text().startswith(f"{epochs[-1]},"))
    images = samples.get_by_role("img")
    assert images.count() == 2 * 3
    vera.until(lambda: all(one.evaluate("image => image.complete && image.naturalWidth") for one in images.all()))
    names = [one.get_attribute("alt") for one in images.all()]
    assert names[3:] == [
        f"Slice 2 of 2: {one}" for one in ("scan", "reference", f"prediction after epoch {epochs[-1]}")
    ]
    samples.get_by_role("button", name="Best").click()
    assert place.inner_text().endswith(", the best")
    for theme, size in ((theme, size) for theme in ("light", "dark") for size in (SCREEN, PHONE)):
        page.emulate_media(color_scheme=theme, reduced_motion="reduce")
        page.set_viewport_size(size)
        assert [*vera.axe(), *vera.too_wide()] == [], (theme, size)
        if folder := request.config.getoption("--screenshots"):
            samples.scroll_into_view_if_needed()
            samples.screenshot(path=Path(folder, f"samples-{theme}-{size['width']}.png"))
    vera.forgive("404")  # a picture of an epoch that was thinned out meanwhile


def test_why_there_are_no_sample_predictions_and_those_of_several_channels(
    console: Person, train: Callable[..., Job], jobs: EngineClient
) -> None:
    job = train("unseen", workers=1, **{"training.epochs": 1, "training.sample_predictions": 0})
    page = console.go(f"/jobs/{job.id}")
    page.locator("#samples").get_by_text("training.sample_predictions is 0").wait_for()
    assert not page.get_by_label("Epoch").is_visible()
    ended(jobs, job)
    one = SampleSlice(case_id="a case", number=1, of=2, pixel_mm=(1.0, 1.0))
    description = SampleDescription(labels={"background": 0, "organ": 1}, channels=("t1", "t2"), slices=(one,))
    scan, label_map = np.zeros((8, 8, 2), np.uint8), np.zeros((8, 8), np.uint8)
    samples = SampleFolder(RunFolder(Path(job.output or "")).samples)
    samples.begin(SampleSlices(description, (scan,), (label_map,)), 0)
    samples.write_epoch(1, [label_map], best=None)
    page.get_by_label("Channel", exact=True).select_option("t2")  # they come without a reload
    console.until("[...document.querySelectorAll('#samples img')].every(one => one.complete && one.naturalWidth)")
    addresses = [image.get_attribute("src") or "" for image in page.locator("#samples img").all()]
    assert len(addresses) == 3 and all("channel=1" in address for address in addresses)
    assert console.axe() == []


def test_what_a_training_has_made_is_taken_away(console: Person, training: Job) -> None:
    page = console.go(f"/jobs/{training.id}")
    run = RunFolder(Path(training.output or ""))
    for name in ("model.keras", "model.json", "config.yaml"):
        with page.expect_download() as download:
            page.get_by_role("link", name=name, exact=True).click()
        assert download.value.suggested_filename == f"job-{training.id}-{name}"
        assert Path(download.value.path()).read_bytes() == (run.path / name).read_bytes()
    events = read_events(run.events)
    with page.expect_download() as download:
        page.get_by_role("link", name="steps.csv").click()
    rows = list(csv.DictReader(Path(download.value.path()).read_text().splitlines()))
    steps = [event for event in events if isinstance(event, StepTaken)]
    assert [int(row["step"]) for row in rows] == [event.step for event in steps]
    assert [float(row["loss"]) for row in rows] == [event.loss for event in steps]
    with page.expect_download() as download:
        page.get_by_role("link", name="epochs.csv").click()
    rows = list(csv.DictReader(Path(download.value.path()).read_text().splitlines()))
    epochs = [event for event in events if isinstance(event, EpochEnded)]
    assert [float(row["validation_dice"]) for row in rows] == [event.validation_dice for event in epochs]
    page.get_by_text("Configuration", exact=True).click()
    page.get_by_text("base_filters: 4").first.wait_for()
    for name in ("exit.json", "..%2Fjob.json", "checkpoints", "config.yaml%00"):
        status = console.context.request.get(f"{console.served.address}/jobs/{training.id}/files/{name}").status
        assert status == 404, name


def test_a_link_is_not_followed(console: Person, train: Callable[..., Job], jobs: EngineClient) -> None:
    job = ended(jobs, train("linked", workers=1, **{"training.epochs": 1}))
    card = Path(job.output or "", "model.json")
    card.unlink()
    card.symlink_to("/etc/hostname")
    answer = console.context.request.get(f"{console.served.address}/jobs/{job.id}/files/model.json")
    assert answer.status == 404


def test_a_network_predicts_and_is_judged(console: Person, training: Job, jobs: EngineClient) -> None:
    page = console.go(f"/jobs/{training.id}")
    page.get_by_role("button", name="Evaluate").click()
    page.get_by_role("heading", name="ended: evaluation").wait_for()
    page.locator("#job .heading .state", has_text="completed").wait_for()
    page.get_by_role("link", name="cases.csv").wait_for()
    with console.context.expect_page() as opened:
        page.get_by_role("link", name="Report").click(modifiers=["ControlOrMeta"])
    report = opened.value
    report.locator("h1").first.wait_for()
    assert "sandbox" in (report.request.get(report.url).headers["content-security-policy"])


def test_a_training_that_diverges_says_so(console: Person, jobs: EngineClient, train: Callable[..., Job]) -> None:
    """Its processes stand still, and what they would have written is added: no training diverges at will."""
    job = train("diverges", workers=1, **{"training.epochs": 400})
    events = RunFolder(Path(job.output or "")).events
    page = console.go(f"/jobs/{job.id}")
    console.until(lambda: events.exists() and any(isinstance(event, EpochEnded) for event in read_events(events)))
    for process in processes_of(Path(jobs.show(job.id).folder) / "attempts" / "1"):
        if "r2d2.engine.supervisor" not in process.cmdline():
            process.suspend()
    assert page.locator(".notice", has_text="training.clip_norm=1").count() == 0
    last = [event for event in read_events(events) if isinstance(event, StepTaken)][-1]
    with events.open("a", encoding="utf-8") as stream:
        for more in range(1, 401):
            grown = last.model_copy(update={"step": last.step + more, "loss": 5.0 + more})
            stream.write(json.dumps({"event": "step", **grown.model_dump(mode="json")}) + "\n")
    page.locator(".notice", has_text="training.clip_norm=1").wait_for()
    page.locator(".notice[role=alert]", has_text="Since").wait_for()  # the engine's alert, in its place
    assert page.locator(".notice", has_text="training.clip_norm=1").count() == 1
    page.locator("#job .heading", has_text="1 alert").wait_for()
    assert console.axe() == [] and console.too_wide() == []
    page = console.go("/")
    page.locator(f"#job-{job.id} .notice[role=alert]", has_text="diverges").wait_for()
    assert page.locator(".figures div", has_text="alert").locator("dd").inner_text() == "1"
    assert console.axe() == [] and console.too_wide() == []


def test_the_folds_of_a_cross_validation_as_they_come(console: Person, served: Served, jobs: EngineClient) -> None:
    study = write_phantom_study(served.folder / "data" / "folded", cases=6, shape=(32, 40, 8))
    settings = {"source": str(study), "settings": ["preparation.folds=2"]}
    prepared = ended(jobs, jobs.submit(Submission(task="prepare", settings=settings), "admin"))
    words = [f"{key}={value}" for key, value in TINY.items()]
    asked = {"dataset": prepared.output, "workers": 1, "settings": words}
    job = jobs.submit(Submission(task="cross-validate", settings=asked, name="folds"), "admin")
    page = console.go(f"/jobs/{job.id}")
    page.get_by_text("The curves begin with the first run.").wait_for()
    legend, series = page.locator(".legend li"), page.locator("#chart-dice .u-legend .u-series")
    console.until(lambda: [text.strip() for text in legend.all_inner_texts()] == ["fold 0", "fold 1"])
    ended(jobs, job)
    console.until(lambda: page.locator("#curves-said").inner_text() == "")
    assert series.count() == 3, "that of the epochs, and one of each fold"
    console.until(lambda: painted(page, "#chart-dice canvas") > 0)
    table = page.get_by_role("region", name="folds", exact=True)
    table.get_by_text("mean").wait_for()
    figures = [row.locator("td").nth(3).inner_text() for row in table.locator("tbody tr").all()]
    assert sum(map(float, figures[:2])) / 2 == pytest.approx(float(figures[2]), abs=1e-3)
    assert console.axe() == [] and console.too_wide() == []
    page.get_by_role("button", name="Evaluate").click()
    page.get_by_role("heading", name="folds: evaluation").wait_for()
    page.locator("ol.chain li").nth(1).wait_for()
    page.locator("#job .heading .state", has_text="completed").wait_for()


def test_what_no_training_can_do(person: Callable[..., Person], training: Job) -> None:
    olga = person("olga")
    page = olga.go(f"/jobs/{training.id}")
    word = page.locator("input[name=csrf_token]").first.get_attribute("value")
    for path, form, status in (
        ("checkpoint", {}, 409),
        ("learning-rate", {"learning_rate": "1e-4"}, 409),
        ("learning-rate", {"learning_rate": "-1"}, 422),
        ("learning-rate", {"learning_rate": "fast"}, 422),
        ("stop", {}, 409),
    ):
        answer = olga.context.request.post(
            f"{olga.served.address}/jobs/{training.id}/{path}",
            form={"csrf_token": word or "", **form},
            headers={"Referer": f"{olga.served.address}/"},
        )
        assert answer.status == status, (path, form, answer.text()[:300])
