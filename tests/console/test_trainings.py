"""The form of a new training, as a person uses it: searched, looked at, mended, launched, copied."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from r2d2.engine import EngineClient, Job
from tests.console.conftest import ended
from tests.console.person import Person

pytestmark = pytest.mark.slow


def address(dataset: Path) -> str:
    return f"/trainings/new?dataset=root:1:{dataset.name}"


def field(console: Person, key: str) -> object:
    return console.page.locator(f'[name="s.{key}"]')


def test_faults_stand_at_their_fields_while_one_types(console: Person, dataset: Path) -> None:
    page = console.go(address(dataset))
    page.get_by_text("Nothing stands in the way.").wait_for()
    epochs = page.get_by_label("Epochs", exact=True)
    before = epochs.input_value()
    assert "are seen in all" in page.locator('[data-key="training.epochs"]').inner_text(), "it says why"
    epochs.fill("none at all")
    page.get_by_text("must be a whole number; received 'none at all'").wait_for()
    assert epochs.get_attribute("aria-invalid") == "true"
    page.get_by_text("1 to be mended.").wait_for()
    epochs.fill(before)
    page.get_by_text("Nothing stands in the way.").wait_for()
    assert page.locator("#yaml").inner_text().strip() == f"dataset: {dataset}", "what is proposed is no change"
    page.get_by_label("Workers").fill("500")
    page.get_by_text("more workers than training slices").wait_for()
    assert page.get_by_label("Workers").get_attribute("aria-invalid") == "true"


def test_the_preview_follows(console: Person, dataset: Path) -> None:
    page = console.go(address(dataset))
    page.get_by_label("Epochs", exact=True).fill("3")
    page.get_by_label("Architecture").select_option("residual_unet")
    blocks = page.locator('[name="s.network.blocks"]')
    blocks.wait_for(state="attached")
    assert page.get_by_label("Epochs", exact=True).input_value() == "3", "what was typed stays"
    console.until(lambda: "network.architecture=residual_unet" in page.locator("#command").inner_text())
    command = page.locator("#command").inner_text()
    assert command == (
        f"r2d2 train --dataset {dataset} --workers 1 network.architecture=residual_unet training.epochs=3"
    )
    assert page.locator("#yaml").inner_text().splitlines()[1:] == [
        "network:",
        "  architecture: residual_unet",
        "training:",
        "  epochs: 3",
    ]


def test_a_search_finds_settings_by_what_they_mean(console: Person, dataset: Path) -> None:
    page = console.go(address(dataset))
    search = page.get_by_label("Search")
    search.fill("checkpoint minutes")
    page.get_by_text("1 setting", exact=True).wait_for()
    assert page.locator('[name="s.training.checkpoint_every_minutes"]').is_visible()
    assert page.locator('[name="s.training.momentum"]').is_hidden()
    search.fill("no such thing")
    page.get_by_text("No setting has these words.").wait_for()
    search.fill("")
    page.locator('[data-section="augmentation"] summary').click()
    page.get_by_label("Preset").select_option("table1")
    console.until(lambda: page.locator('[name="s.augmentation.zoom"]').input_value() == "[0.8, 1.2]")
    page.get_by_text("3 changed").wait_for()


def test_a_training_of_two_workers_is_launched_and_copied(
    person: Callable[..., Person], jobs: EngineClient, dataset: Path
) -> None:
    olga = person("olga")
    page = olga.go(address(dataset))
    page.get_by_label("Workers").fill("2")
    page.get_by_label("Name", exact=True).fill("by the form")
    page.get_by_label("Tags").fill("mri")
    page.get_by_label("Epochs", exact=True).fill("1")
    page.get_by_label("Batch size per worker").fill("4")
    page.locator('[data-section="network"] summary').click()
    page.get_by_label("Base filters").fill("4")
    page.get_by_label("Depth").fill("2")
    page.get_by_label("Evaluate that prediction").check()
    assert page.get_by_label("Predict the test cases").is_checked(), "it is what is evaluated"
    console_says = page.locator("#jobs li")
    olga.until(lambda: console_says.count() == 3)
    olga.until(lambda: "r2d2 evaluate --prediction PREDICTION" in page.locator("#command").inner_text())
    page.get_by_text("Nothing stands in the way.").wait_for()
    page.get_by_role("button", name="Launch").click()
    page.get_by_role("heading", name="by the form").wait_for()
    job_id = int(page.url.rpartition("/")[2])
    job = jobs.show(job_id).job
    assert (job.task, job.workers, job.by, job.tags) == ("train", 2, "olga", ("mri",))
    for number in range(3):
        ended(jobs, jobs.show(job_id + number).job)
    evaluated = jobs.show(job_id + 2).job
    summary = json.loads((Path(evaluated.output or "") / "summary.json").read_text())
    assert summary
    page = olga.go(f"/trainings/new?copy={job_id}")
    assert page.get_by_label("Workers").input_value() == "2"
    assert page.get_by_label("Base filters").input_value() == "4"
    assert page.get_by_label("Dataset").input_value().startswith(("job:", "root:"))
    assert page.get_by_label("Name", exact=True).input_value() == "by the form again"


def test_from_scans_to_an_evaluation_without_waiting(
    person: Callable[..., Person], jobs: EngineClient, dataset: Path
) -> None:
    olga = person("olga")
    page = olga.go("/datasets/prepare/1?path=phantom")
    page.get_by_label("Name of the job").fill("phantoms")
    page.get_by_role("button", name="Prepare, then train").click()
    page.get_by_label("Name", exact=True).fill("at once")
    page.get_by_label("Epochs", exact=True).fill("1")
    page.locator('[data-section="network"] summary').click()
    page.get_by_label("Base filters").fill("4")
    page.get_by_label("Depth").fill("2")
    page.get_by_label("Predict the test cases").check()
    page.get_by_role("button", name="Launch").click()
    page.get_by_role("heading", name="at once").wait_for()
    chain = page.locator("ol.chain li")
    assert [line.split(" job ")[0].split(maxsplit=1)[1] for line in chain.all_inner_texts()] == [
        "phantoms",
        "at once",
        "at once: test cases",
    ]
    assert olga.axe() == [] and olga.too_wide() == []
    job_id = int(page.url.rpartition("/")[2])
    olga.until(lambda: chain.first.locator(".state").inner_text() == "completed")
    for number in (job_id, job_id + 1):
        ended(jobs, jobs.show(number).job)
    olga.until(lambda: chain.last.locator(".state").inner_text() == "completed")


def test_a_training_starts_from_a_network(console: Person, jobs: EngineClient, dataset: Path, training: Job) -> None:
    page = console.go(f"{address(dataset)}&start=run:{training.id}")
    assert page.get_by_label("Start from").input_value() == f"run:{training.id}"
    page.get_by_text("network's own settings are those of the network").wait_for()
    console.until(lambda: f"transfer.start_from={training.output}" in page.locator("#command").inner_text())
    page.get_by_label("Start from").select_option("zoo:nuclei-unet:1")
    page.get_by_text("takes 3 input channels").wait_for()


def test_a_viewer_launches_nothing(person: Callable[..., Person]) -> None:
    vera = person("vera")
    page = vera.go("/")
    assert page.get_by_role("link", name="New training").count() == 0
    answer = page.goto(f"{vera.served.address}/trainings/new")
    assert answer is not None and answer.status == 403
    vera.forgive("403")
