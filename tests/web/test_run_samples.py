"""Sample predictions at the routes of a training: what its page is told, pictures, and who gets neither."""

import io
from pathlib import Path

import numpy as np
import pytest
from flask.testing import FlaskClient
from PIL import Image

from dist_training.record.events import EpochEnded, EventLog, Running
from dist_training.record.run_folder import RunFolder
from dist_training.record.samples import SampleDescription, SampleFolder, SampleSlice, SampleSlices
from imgmed import prepare_dataset, write_phantom_study
from r2d2.engine import Submission
from r2d2.engine.folder import FINAL
from r2d2.monitoring.influx.target import Target
from tests.r2d2.monitoring.influx.run_folders import ledger_of
from tests.web.conftest import Site
from tests.web.serving import until

CASE = "secret_patient"


def finished(site: Site) -> tuple[int, RunFolder]:
    """A job of training whose run has left nothing."""
    dataset = site.folder / "data" / "liver"
    if not dataset.exists():
        prepare_dataset(write_phantom_study(site.folder / "phantom", cases=4, shape=(32, 32, 8)), dataset)
    settings = {"dataset": str(dataset)}
    job = site.engine.submit(Submission(task="train", settings=settings), "somebody")
    while site.engine.show(job.id).job.state not in FINAL:
        site.engine.look()
    return job.id, RunFolder(Path(str(job.output)))


def write(run: RunFolder) -> SampleFolder:
    """Three epochs of one slice, the second the best."""
    run.create()
    run.config.write_text("training: {sample_predictions: 1}")
    with_names = SampleSlice(case_id=CASE, number=4, of=9, pixel_mm=(1.0, 1.0))
    labels, scan = {"background": 0, "organ": 1}, np.full((4, 4, 1), 100, np.uint8)
    samples = SampleFolder(run.samples)
    description = SampleDescription(labels=labels, channels=("t1",), slices=(with_names,))
    samples.begin(SampleSlices(description, (scan,), (np.zeros((4, 4), np.uint8),)), 0)
    log = EventLog(run.events)
    log.record(
        Running(
            epochs=3,
            steps_per_epoch=1,
            training_slices=1,
            validation_slices=9,
            global_batch_size=1,
            parameters=1,
            resumed_at_step=0,
            extended_from_epochs=None,
            learning_rate=0.1,
            learning_rate_setting=0.1,
            slow_dtype=None,
        )
    )
    for epoch, dice in ((1, None), (2, 0.5), (3, 0.25)):
        samples.write_epoch(epoch, [np.full((4, 4), epoch % 2, np.uint8)], best=2)
        log.record(
            EpochEnded(
                epoch=epoch,
                step=epoch,
                loss=1.0,
                validation_dice=dice,
                validation_dice_per_label={},
                learning_rate=0.1,
                seconds=1.0,
                validation_seconds=1.0,
                images_per_second=1.0,
                is_best=epoch == 2,
            )
        )
    log.close()
    return samples


@pytest.fixture(scope="module")
def vera(site: Site) -> FlaskClient:
    return site.client("vera")


def test_what_the_page_is_told(site: Site, vera: FlaskClient) -> None:
    job, run = finished(site)
    before = vera.get(f"/jobs/{job}/samples").json
    assert before == {"note": "There are none: no epoch has ended.", "epochs": []}
    write(run)
    answer = vera.get(f"/jobs/{job}/samples")
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.json == {
        "note": "",
        "epochs": [{"epoch": 1, "dice": None}, {"epoch": 2, "dice": 0.5}, {"epoch": 3, "dice": 0.25}],
        "best": 2,
        "slices": [f"Slice 5 of 9 of {CASE}"],
        "channels": ["t1"],
        "labels": {"organ": "#56B4E9"},
    }
    again = vera.get(f"/jobs/{job}/samples", headers={"If-None-Match": answer.headers["ETag"]})
    assert again.status_code == 304
    page = vera.get(f"/jobs/{job}").text
    assert 'id="samples"' in page and CASE not in page
    run.samples.joinpath("slices.npz").write_bytes(b"PK")
    assert "damaged" in vera.get(f"/jobs/{job}/samples").json["note"]  # type: ignore[index]
    assert vera.get(f"/jobs/{job}/samples/0/scan.png").status_code == 404


def test_what_was_sent_of_a_training_is_told(site: Site, vera: FlaskClient) -> None:
    job, run = finished(site)
    assert "InfluxDB" not in vera.get(f"/jobs/{job}").text
    write(run)
    run.monitoring.mkdir(exist_ok=True)
    ledger = ledger_of(run, Target("http://influx", "lab", "<b>"))
    ledger.sent, ledger.fault = 7, "<b>401</b>"
    ledger.write(run)
    said = "InfluxDB at http://influx has 7 points of this run. 4 records wait (&lt;b&gt;401"
    until(lambda: said in vera.get(f"/jobs/{job}").text)  # it is told beside the requests, a second late
    assert said in vera.get(f"/jobs/{job}/details").text


def test_pictures(site: Site, vera: FlaskClient) -> None:
    job, run = finished(site)
    write(run)
    found = {}
    for path in ("scan.png", "reference.png", "prediction.png?epoch=2", "prediction.png?epoch=3&channel=0"):
        answer = vera.get(f"/jobs/{job}/samples/0/{path}")
        assert (answer.status_code, answer.mimetype) == (200, "image/png")
        assert answer.headers["Cache-Control"] == "no-store"
        found[path] = np.asarray(Image.open(io.BytesIO(answer.data)))
    scan, *others = found.values()
    assert (scan == 100).all() and (others[0] == scan).all() and (others[1] == scan).all()  # without any label
    assert (others[2] != scan).any(axis=2).all()
    for path, status in (
        ("0/prediction.png?epoch=4", 404),
        ("1/scan.png", 404),
        ("0/scan.png?channel=1", 404),
        ("0/other.png", 404),
        ("0/prediction.png?epoch=0", 422),
        ("0/prediction.png?epoch=x", 422),
        ("0/scan.png?word=1", 422),
    ):
        assert vera.get(f"/jobs/{job}/samples/{path}").status_code == status, path
    assert vera.get("/jobs/99999/samples").status_code == 404
    other = site.submit("no training").id
    assert vera.get(f"/jobs/{other}/samples/0/scan.png").status_code == 404


def test_links_lead_nowhere(site: Site, vera: FlaskClient, tmp_path: Path) -> None:
    _, of_another = finished(site)
    samples = write(of_another)
    job, run = finished(site)
    run.create()
    run.samples.symlink_to(samples.path)
    assert vera.get(f"/jobs/{job}/samples").json["epochs"] == []  # type: ignore[index]
    assert vera.get(f"/jobs/{job}/samples/0/scan.png").status_code == 404
    run.samples.unlink()
    write(run)
    run.samples.joinpath("epoch-000002.npz").unlink()
    run.samples.joinpath("epoch-000002.npz").symlink_to(samples.epoch_file(2))
    assert vera.get(f"/jobs/{job}/samples/0/prediction.png?epoch=2").status_code == 404
    assert vera.get(f"/jobs/{job}/samples/0/prediction.png?epoch=3").status_code == 200


def test_a_hidden_folder_hides_them(site: Site, vera: FlaskClient) -> None:
    job, run = finished(site)
    write(run)
    paths = (f"/jobs/{job}/samples", f"/jobs/{job}/samples/0/scan.png", f"/jobs/{job}/samples/0/prediction.png")
    assert [vera.get(path).status_code for path in paths] == [200, 200, 200]
    site.accounts.set_root(str(site.folder / "data"), [])
    try:
        assert [vera.get(path).status_code for path in paths] == [403, 403, 403]
    finally:
        site.accounts.set_root(str(site.folder / "data"), None)
