"""Alerts on pages and in the API, with what to do; and to administrators, what of them was not sent."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from r2d2.engine.alerting import OUTBOX_NAME
from r2d2.engine.folder import JobFolder
from r2d2.monitoring.alerts.alert import Alert
from r2d2.monitoring.alerts.sending.message import Message, NotTakenError
from r2d2.monitoring.alerts.sending.outbox import Outbox, deliveries
from tests.r2d2.monitoring.alerts.sending.messages import message
from tests.web.conftest import Site
from tests.web.serving import until

WRONG = "<b>Rank 1</b> is silent."


@pytest.fixture
def job(site: Site) -> Iterator[int]:
    """A job that stays at work, with an alert that lasts and one that is over."""
    queued = site.submit("stays")
    site.engine.look()
    lasts = Alert(id="silent-1", kind="silent", severity="critical", since=1e9, message=WRONG, advice="Look there.")
    over = Alert(id="disk-1", kind="disk", severity="warning", since=1e9, message="Full.", resolved_at=1e9 + 60)
    ended = over.model_copy(update={"id": "ended-1", "kind": "ended", "message": "The job has ended."})
    kept = {"schema_version": 1, "alerts": [one.model_dump() for one in (over, ended, lasts)]}
    folder = JobFolder(site.settings.work_root / "jobs" / str(queued.id))
    folder.alerts.write_text(json.dumps(kept))
    yield queued.id
    folder.attempt(1).end("cancelled")
    site.engine.look()


def test_what_is_wrong_is_shown_wherever_the_job_is(site: Site, job: int) -> None:
    client = site.client("vera")
    for address in (f"/jobs/{job}", f"/jobs/{job}/part", "/", "/overview/part"):
        page = client.get(address).get_data(as_text=True)
        notice = page[page.index('<div class="notice fault" role="alert">') :].partition("</div>")[0]
        assert "&lt;b&gt;Rank 1&lt;/b&gt; is silent." in notice and "Look there." in notice and "Since" in notice
        assert WRONG not in page and "Full." not in page.partition("<h2>Alerts</h2>")[0]
    assert "1 alert</span>" in client.get("/jobs").get_data(as_text=True)
    details = client.get(f"/jobs/{job}/details").get_data(as_text=True)
    assert "Full." in details and "<td>now</td>" in details and "The job has ended." not in details


def test_once_they_are_over_none_is_shown(site: Site, job: int) -> None:
    """What an engine that was killed has left open is not shown of a job that has ended."""
    JobFolder(site.settings.work_root / "jobs" / str(job)).attempt(1).end("failed")
    site.engine.look()
    for address in (f"/jobs/{job}/part", "/jobs/part"):
        page = site.client("vera").get(address).get_data(as_text=True)
        assert f"{job}" in page and "alert" not in page


def test_the_api_gives_those_that_are_open_and_all(site: Site, job: int) -> None:
    headers = {"Authorization": f"Bearer {site.tokens['vera']}"}
    shown = site.app.test_client().get(f"/api/v1/jobs/{job}", headers=headers).get_json()
    assert [one["id"] for one in shown["job"]["alerts"]] == ["silent-1"]
    assert [one["id"] for one in shown["alerts"]] == ["disk-1", "ended-1", "silent-1"]
    listed = site.app.test_client().get("/api/v1/jobs?limit=1", headers=headers).get_json()
    assert listed["jobs"][0]["alerts"] == shown["job"]["alerts"]


def test_what_could_not_be_sent_is_told_to_administrators(site: Site, job: int) -> None:
    path = Path(site.settings.work_root, OUTBOX_NAME)

    def refuse(one: Message) -> None:
        raise NotTakenError("it answers 404", is_final=True)

    outbox = Outbox(path, {"webhook 1 (hooks.example)": refuse, "mail (smtp.example)": lambda one: None})
    with outbox.sending():
        outbox.add(message())
        until(lambda: sum(one.lost + one.sent for one in deliveries(path).values()) == 2)
    told = "Alerts by webhook 1 (hooks.example): 0 sent, 0 waiting, 1 lost (it answers 404)."
    assert told in site.client("anna").get("/").get_data(as_text=True)
    assert "smtp.example" not in site.client("anna").get("/").get_data(as_text=True)
    assert "hooks.example" not in site.client("olga").get("/").get_data(as_text=True)
