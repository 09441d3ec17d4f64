"""The form of a training: all settings from the models, only what differs submitted, faults at their fields."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from imgmed import write_phantom_study
from r2d2.config import configure
from r2d2.engine import Job, JobQuery, Submission
from r2d2.errors import R2D2Error
from r2d2.setting_fields import setting_fields
from r2d2.tasks.basis import Basis, basis_of
from r2d2.tasks.preparation import PrepareSettings, prepare
from r2d2.viewing.finding import find_datasets
from tests.web.conftest import Site, csrf_of, post
from web.area import Console
from web.beside import Beside
from web.choices import dataset_choices, dataset_of
from web.followers import STEPS, queue_followers
from web.preview import yaml_text
from web.roots import Roots
from web.trainings.faults import Faults
from web.trainings.form import FIRST, TrainingForm, fields_shown
from web.uploads import Uploads

KNOWN = Basis(values={"network.architecture": "unet", "network.depth": 3, "training.epochs": 9, "training.seed": 0})


@pytest.fixture(scope="module")
def dataset(site: Site) -> Path:
    study = write_phantom_study(site.folder / "data" / "phantom", cases=6, shape=(32, 40, 8))
    return prepare(PrepareSettings(source=study, out=site.folder / "data" / "deep" / "liver", workers=1)).dataset.folder


def test_every_setting_of_a_training_has_its_field_once() -> None:
    keys = [one.key for one in fields_shown("unet", may_run_code=False)]
    assert len(set(keys)) == len(keys) and tuple(keys[: len(FIRST)]) == FIRST
    elsewhere = {"schema_version", "dataset", "run_dir", "hosts", "workers", "transfer.start_from"}
    stated = {one.key for one in setting_fields("unet") if not one.key.startswith("preparation.")}
    assert stated - set(keys) == {*elsewhere, "transfer.start_name"}
    choices = {may: fields_shown("unet", may_run_code=may)[0].choices for may in (True, False)}
    assert set(choices[True]) - set(choices[False]) == {"custom"} and "imported" not in choices[True]


def test_only_what_differs_is_said() -> None:
    def words(**typed: str) -> tuple[str, ...]:
        texts = {key.replace("__", "."): text for key, text in typed.items()}
        return TrainingForm(typed=texts).words(KNOWN, may_run_code=False)

    assert words() == ()
    assert words(training__epochs="9", network__depth="3", training__max_minutes="") == ()
    assert words(training__epochs="5") == ("training.epochs=5",)
    assert words(training__max_minutes="2.5") == ("training.max_minutes=2.5",)
    assert TrainingForm(typed={"training.max_minutes": ""}).words(
        Basis(values={**KNOWN.values, "training.max_minutes": 5.0}), may_run_code=False
    ) == ("training.max_minutes=null",)
    assert words(network__architecture="fcn", network__dropout="0.5") == ("network.architecture=fcn",)
    assert words(training__loss="3") == ("training.loss='3'",), "text stays text"
    assert TrainingForm(typed={"training.epochs": "", "training.seed": "4"}).words(Basis(), may_run_code=False) == (
        "training.seed=4",
    ), "an empty field is what will be proposed, where that is not known yet"


def test_the_words_are_the_settings_and_so_is_the_file() -> None:
    typed = {
        "training.epochs": "5",
        "training.class_weights": "[1, 2]",
        "training.loss": "cross_entropy",
        "network.architecture": "residual_unet",
        "network.deep_supervision": "false",
        "augmentation.zoom": "[0.8, 1.2]",
        "transfer.learning_rate_factors": "{encoder: 0.1}",
    }
    words = TrainingForm(typed=typed).words(KNOWN, may_run_code=False)
    by_words = configure({}, assignments=words)
    text = yaml_text(words)
    assert configure(yaml.safe_load(text)) == by_words
    assert by_words.training.class_weights == (1, 2) and by_words.training.epochs == 5
    assert set(yaml.safe_load(text)["training"]) == {"epochs", "class_weights", "loss"}


def test_faults_stand_at_their_fields() -> None:
    keys = [one.key for one in fields_shown("unet", may_run_code=True)]
    faults = Faults([*keys, "workers", "dataset"])
    with pytest.raises(R2D2Error) as caught:
        configure(
            {},
            assignments=[
                "training.epochs=0",
                "training.warmup_epochs=9",
                "training.loss_options={a: 1}",
                "training.schedule_milestones=[2]",
                "network.depth=deep",
                "augmentation.zoom=[2, 1]",
            ],
        )
    faults.add(caught.value)
    assert set(faults.at) >= {"training.epochs", "network.depth", "augmentation.zoom", "training.schedule_milestones"}
    assert faults.at["training.epochs"] == ["must be at least 1; received 0"] and faults.general == []
    with pytest.raises(R2D2Error) as caught:
        configure({}, assignments=["training.epochs=2", "training.warmup_epochs=9"])
    faults = Faults(keys)
    faults.add(caught.value)
    assert list(faults.at) == ["training.warmup_epochs"]


@pytest.mark.slow
def test_datasets_are_called_by_words_and_found_within_the_roots(site: Site, dataset: Path) -> None:
    roots = Roots(site.settings.data_roots, site.settings.work_root, site.accounts)
    console = Console(
        site.settings,
        site.engine,
        site.accounts,
        roots,
        Uploads(site.settings.work_root, 1),
        Beside(lambda folder: tuple(find_datasets(folder)), ()),
        site.app,
    )
    with site.app.app_context():
        words = {one.path: one.word for one in dataset_choices(console)}
    assert words[dataset] == "root:1:deep/liver" and words[None] == "phantom"
    assert dataset_of("root:1:deep/liver", console).path == dataset
    link = site.settings.data_roots[0] / "link"
    link.symlink_to(site.folder)
    try:
        outside = ("root:1:..", "root:1:../work", "root:1:link", "root:1:/etc", "root:2:x", "root:0:deep/liver")
        for word in ("", "job:99", str(dataset), *outside):
            with pytest.raises(R2D2Error):
                dataset_of(word, console)
    finally:
        link.unlink()


@pytest.mark.slow
def test_a_training_is_looked_at_and_launched(site: Site, dataset: Path) -> None:
    olga = site.client("olga")
    page = olga.get("/trainings/new?dataset=root:1:deep/liver").text
    basis = basis_of(dataset)
    assert f'data-basis="{basis.values["training.epochs"]}"' in page and "are seen in all" in page
    fields = {"dataset": "root:1:deep/liver", "workers": "1", "s.training.epochs": "0", "s.network.depth": "9"}
    token = csrf_of(olga, "/trainings/new")

    def told(**more: str) -> Any:
        return olga.post("/trainings/check", data={**fields, "csrf_token": token, **more}).json

    assert set(told()["faults"]) == {"training.epochs", "network.depth"}
    refused = post(olga, "/trainings/new", "/trainings/new", **fields)
    assert refused.status_code == 422 and 'aria-invalid="true"' in refused.text
    fields |= {"s.training.epochs": "1", "s.network.depth": "1", "name": "<i>mine</i>", "tags": "mri a"}
    assert list(told(workers="999")["faults"]) == ["workers"]
    assert "use at most" in told(workers="999")["faults"]["workers"][0]
    count, found = site.engine.list().total, told()
    assert found["faults"] == {} and found["general"] == [] and found["changed"] == ["training.epochs", "network.depth"]
    assert found["command"] == f"r2d2 train --dataset {dataset} --workers 1 training.epochs=1 network.depth=1"
    assert site.engine.list().total == count, "looking queues nothing"
    begun = post(olga, "/trainings/new", "/trainings/new", **fields, then_evaluate="yes")  # made by a prediction
    assert begun.status_code == 302
    job_id = int(begun.location.rpartition("/")[2])
    details = site.engine.show(job_id)
    job = details.job
    assert (job.task, job.name, job.tags, job.by) == ("train", "<i>mine</i>", ("a", "mri"), "olga")
    assert details.settings["settings"] == ["training.epochs=1", "network.depth=1"]
    chain = site.engine.list(JobQuery(text="<i>mine</i>", descending=False)).jobs
    follows = [("train", ()), ("predict", (job_id,)), ("evaluate", (job_id + 1,))]
    assert [(one.task, one.after) for one in chain] == follows
    assert site.engine.show(job_id + 1).settings["model"] == job.output
    assert site.engine.show(job_id + 2).settings["prediction"] == chain[1].output
    assert [one.name for one in chain] == ["<i>mine</i>", "<i>mine</i>: test cases", "<i>mine</i>: evaluation"]
    assert {one.tags for one in chain} == {("a", "mri")}
    copied = olga.get(f"/trainings/new?copy={job_id}").text
    assert "&lt;i&gt;mine&lt;/i&gt; again" in copied and "<i>mine" not in copied
    for address in ("?copy=0", "?copy=x", f"?copy={job_id + 1}", "?copy=99999"):
        assert olga.get(f"/trainings/new{address}").status_code in (404, 422)


@pytest.mark.slow
def test_the_form_is_there_before_the_engine_has_looked_at_it(site: Site, dataset: Path) -> None:
    """Opened without a wish, it is looked at by the page's script; else faults stand there at once."""
    client = site.client("olga")
    opened = client.get("/trainings/new").text
    assert " data-unchecked>" in opened and '<p id="sum">Not looked at yet.</p>' in opened
    wished = client.get("/trainings/new?dataset=phantom&workers=0").text
    assert "data-unchecked" not in wished and '<p id="sum">1 to be mended.</p>' in wished
    assert '<p id="sum">Nothing stands in the way.</p>' in client.get("/trainings/new?dataset=phantom").text


def test_what_is_refused_of_a_chain_leaves_nothing_of_it(site: Site, dataset: Path) -> None:
    first = site.submit("stays")
    waiting = site.submit("to come", after=(first.id,))
    training = waiting.model_copy(update={"output": str(site.folder / "data" / "deep")})
    with pytest.raises(R2D2Error, match="outside"):  # only the evaluation is
        queue_followers(OutsideAt(site.engine, "evaluate"), training, str(dataset), STEPS, "olga")  # type: ignore[arg-type]
    left = site.engine.list(JobQuery(text="to come: ")).jobs
    assert [(one.task, one.state) for one in left] == [("predict", "cancelled")]
    site.engine.cancel(first.id)


class OutsideAt:
    """An engine that gets the output of one task's job moved out of its folders."""

    def __init__(self, engine: Any, task: str) -> None:
        self.engine, self.task = engine, task

    def submit(self, submission: Submission, by: str) -> Job:
        if submission.task == self.task:
            out = {"out": str(self.engine.settings.work_root.parent / "outside")}
            submission = submission.model_copy(update={"settings": {**submission.settings, **out}})
        return self.engine.submit(submission, by)

    def cancel(self, job_id: int, reason: str, by: str) -> Job:
        return self.engine.cancel(job_id, reason, by)


@pytest.mark.slow
def test_a_training_waits_for_a_dataset_that_is_still_to_be_prepared(site: Site, dataset: Path) -> None:
    olga, first = site.client("olga"), site.submit("stays")
    study = str(site.folder / "data" / "phantom")
    out = str(site.folder / "data" / "to-come")
    coming = site.engine.submit(
        Submission(task="prepare", settings={"source": study, "out": out}, name="coming", after=(first.id,)), "anna"
    )
    assert f"/trainings/new?dataset=job:{coming.id}" in olga.get("/datasets").text
    page = olga.get(f"/trainings/new?dataset=job:{coming.id}").text
    assert f"job {coming.id} has still to prepare this dataset" in page and "are checked when it begins" in page
    fields = {"dataset": f"job:{coming.id}", "workers": "1", "then_predict": "yes", "s.training.epochs": "1"}
    token = csrf_of(olga, "/trainings/new")
    told = olga.post("/trainings/check", data={**fields, "csrf_token": token}).json
    assert told is not None and told["faults"] == {} and len(told["lists"]["jobs"]) == 3 and out in told["command"]
    bad = olga.post("/trainings/check", data={**fields, "s.training.epochs": "0", "csrf_token": token}).json
    assert bad is not None and list(bad["faults"]) == ["training.epochs"], "what needs no dataset is checked now"
    begun = post(olga, "/trainings/new", "/trainings/new", **fields, name="waiting")
    job_id = int(begun.location.rpartition("/")[2])
    training, prediction = (site.engine.show(number).job for number in (job_id, job_id + 1))
    assert training.after == (coming.id,) and training.reason == f"waits for job {coming.id}"
    assert prediction.after == (job_id,) and site.engine.show(job_id).settings["dataset"] == out
    assert str(site.folder / "data") in training.uses, "who may not see the folder does not see the training"
    shown = olga.get(f"/jobs/{prediction.id}").text
    assert all(f'href="/jobs/{one.id}"' in shown for one in (first, coming, training)) and "begins once" not in shown
    assert f'waits for <a href="/jobs/{coming.id}">job {coming.id}</a>' in olga.get("/").text
    hidden, later = str(site.folder / "data"), {"task": "train", "after": (coming.id,)}
    for where, without in ((str(site.folder / "secret"), ()), (out, (hidden,)), (f"{coming.output}/x", (hidden,))):
        with pytest.raises(R2D2Error, match=r"outside|may not use"):
            site.engine.check(Submission(settings={"dataset": where}, **later), "olga", without)
    site.engine.cancel(coming.id, "no", "anna")
    shown = olga.get(f"/jobs/{prediction.id}").text
    assert f"Job {coming.id} is cancelled: what waits for it begins once it has succeeded" in shown
    assert "Cancel what waits for it" not in shown
    assert "Cancel what waits for it" in olga.get(f"/jobs/{coming.id}").text
    assert "Cancel what waits for it" not in site.client("vera").get(f"/jobs/{coming.id}").text
    assert post(olga, "/account", f"/jobs/{coming.id}/cancel-followers").status_code == 302
    assert {site.engine.show(number).job.state for number in (job_id, job_id + 1)} == {"cancelled"}
    assert site.engine.show(first.id).job.state != "cancelled", "what stands before it goes on"
    assert "begins once" not in olga.get(f"/jobs/{coming.id}").text
    assert olga.get(f"/trainings/new?dataset=job:{coming.id}").text.count("has prepared nothing") >= 1
