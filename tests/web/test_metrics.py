"""What Prometheus is told: the right numbers, no names, and only those who may hear them."""

import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from dist_training.record.states import State
from r2d2.engine import EngineClient
from tests.web.conftest import Site
from tests.web.serving import PATIENCE_S, serving, until
from web.app import create_app

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "monitoring.md"
PROMETHEUS, PROMTOOL = shutil.which("prometheus"), shutil.which("promtool")
needs_prometheus = pytest.mark.skipif(PROMETHEUS is None or PROMTOOL is None, reason="Prometheus is not installed")

Values = dict[tuple[str, frozenset[tuple[str, str]]], float]


def read(text: str) -> Values:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def scraped(site: Site, address: str = "127.0.0.1", **headers: str) -> Any:
    return site.app.test_client().get("/metrics", environ_base={"REMOTE_ADDR": address}, headers=headers)


def value(values: Values, name: str, **labels: str) -> float:
    return values[name, frozenset(labels.items())]


def test_jobs_queue_and_workers(site: Site) -> None:
    before = read(scraped(site).text)
    assert {dict(labels)["state"] for name, labels in before if name == "r2d2_jobs"} == set(get_args(State))
    ended, stays = site.submit("ends"), site.submit("stays")
    waits = site.submit("waits", after=(stays.id,))
    until(
        lambda: site.engine.show(ended.id).job.state == "completed" and site.engine.show(stays.id).job.state != "queued"
    )
    found = read(scraped(site).text)
    states = [site.engine.show(one.id).job.state for one in (ended, stays, waits)]
    for state in get_args(State):
        assert value(found, "r2d2_jobs", state=state) - value(before, "r2d2_jobs", state=state) == states.count(state)
    assert value(found, "r2d2_workers") - value(before, "r2d2_workers") == stays.workers
    assert 0 < value(found, "r2d2_queue_seconds") < PATIENCE_S
    assert value(found, "r2d2_max_jobs") == site.settings.max_jobs and ("r2d2_max_workers", frozenset()) not in found
    assert value(found, "r2d2_engine_up") == 1


def test_requests_are_counted_by_route_whatever_became_of_them(site: Site) -> None:
    def counted(values: Values, route: str, status: str, method: str = "GET") -> float:
        return values.get(
            ("r2d2_requests_total", frozenset({("method", method), ("route", route), ("status", status)})), 0
        )

    before, job = read(scraped(site).text), site.submit("a name").id
    assert site.api("GET", f"/jobs/{job}").status_code == 200
    assert site.api("GET", f"/jobs/{job}", token="none").status_code == 401
    assert site.app.test_client().get("/no/such/page").status_code == 404
    assert site.app.test_client().open("/health", method="WRONG").status_code == 405
    found = read(scraped(site).text)
    for route, status, method in (
        ("api.show_job", "200", "GET"),
        ("api.show_job", "401", "GET"),
        ("none", "404", "any"),
        ("none", "405", "any"),
    ):
        assert counted(found, route, status, method) - counted(before, route, status, method) == 1, (route, status)
    labels = {"method": "GET", "route": "api.show_job"}
    assert value(found, "r2d2_request_seconds_count", **labels) >= 2
    assert 0 < value(found, "r2d2_request_seconds_sum", **labels) < PATIENCE_S


def test_only_this_host_and_tokens_are_answered(site: Site) -> None:
    assert scraped(site).status_code == scraped(site, "::1").status_code == 200
    for refused in (
        scraped(site, "192.0.2.7"),
        scraped(site, "192.0.2.7", Authorization="Bearer none"),
        scraped(site, **{"X-Forwarded-For": "192.0.2.7"}),  # a proxy on this host that was not declared
        scraped(site, Forwarded="for=192.0.2.7"),
    ):
        assert refused.status_code == 401 and refused.headers["WWW-Authenticate"] == "Bearer"
        assert "r2d2_jobs" not in refused.text
    assert scraped(site, "192.0.2.7", Authorization=f"Bearer {site.tokens['vera']}").status_code == 200
    behind = site.settings.model_copy(update={"proxies": ("127.0.0.1",)})
    client = create_app(behind, site.engine, site.accounts, b"s" * 48).test_client()
    headers = {"X-Forwarded-Proto": "https"}
    assert client.get("/metrics", headers=headers).status_code == 401
    headers["Authorization"] = f"Bearer {site.tokens['vera']}"
    assert client.get("/metrics", headers=headers).status_code == 200


def test_no_names_are_told(site: Site) -> None:
    job = site.submit("Jane Doe", tags=("secret-tag",))
    until(lambda: site.engine.show(job.id).job.state == "completed")
    site.client("olga").get(f"/jobs/{job.id}")
    text = scraped(site).text
    for word in ("Jane", "secret-tag", "olga", str(site.folder), f"/{job.id}"):
        assert word not in text


def test_an_engine_that_is_away_is_told(site: Site, tmp_path: Path) -> None:
    app = create_app(site.settings, EngineClient(tmp_path), site.accounts, b"s" * 48)
    found = read(app.test_client().get("/metrics").text)
    assert value(found, "r2d2_engine_up") == 0
    assert not [name for name, _ in found if name == "r2d2_jobs"]


def test_every_figure_is_documented(site: Site) -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    for family in text_string_to_metric_families(scraped(site).text):
        if family.name.startswith("r2d2_") and not family.name.endswith("_created"):
            assert f"`{family.name}" in text, family.name


@contextmanager
def prometheus(folder: Path, target: str, token: Path) -> Iterator[str]:
    """Start a server that asks another again and again, as the docs have it; gives its address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    config = folder / "prometheus.yml"
    config.write_text(
        "global: {scrape_interval: 200ms, scrape_timeout: 200ms}\n"
        "scrape_configs:\n"
        "  - job_name: r2d2\n"
        f"    authorization: {{credentials_file: {token}}}\n"
        f"    static_configs: [{{targets: ['{target}']}}]\n"
    )
    process = subprocess.Popen(
        [
            str(PROMETHEUS),
            f"--config.file={config}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


@pytest.mark.slow
@needs_prometheus
def test_a_real_prometheus_follows_a_job(tmp_path: Path) -> None:
    (tmp_path / "served").mkdir()
    with serving(tmp_path / "served") as served:
        text = requests.get(f"{served.address}/metrics", timeout=PATIENCE_S).text
        checked = subprocess.run(
            [str(PROMTOOL), "check", "metrics"], input=text, capture_output=True, text=True, timeout=PATIENCE_S
        )
        assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")
        token = tmp_path / "token"
        token.write_text(served.token)
        with prometheus(tmp_path, served.address.removeprefix("http://"), token) as address:

            def asked(query: str) -> list[float]:
                try:
                    answer = requests.get(f"{address}/api/v1/query", params={"query": query}, timeout=PATIENCE_S)
                    return [float(one["value"][1]) for one in answer.json()["data"]["result"]]
                except (requests.ConnectionError, KeyError, ValueError):  # it begins
                    return []

            until(lambda: asked("up{job='r2d2'}") == [1.0])
            answer = served.api("POST", "/jobs", json={"task": "train", "name": "a name"})
            assert answer.status_code == 201, answer.text
            until(lambda: sum(asked("r2d2_jobs{state=~'starting|running'}")) == 1.0)
            served.api("POST", f"/jobs/{answer.json()['id']}/cancel").raise_for_status()
            until(lambda: asked("r2d2_jobs{state='cancelled'}") == [1.0])
            assert asked("r2d2_engine_up") == [1.0]
            assert asked("r2d2_requests_total{route='api.submit_job',status='201'}") == [1.0]
