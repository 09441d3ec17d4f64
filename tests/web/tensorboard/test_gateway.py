"""The door to TensorBoard: who comes in, for how long, what does not get through; behind it a server that listens."""

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from werkzeug.test import Client, TestResponse

from r2d2.engine import JobQuery
from tests.web.conftest import PASSWORD, Site, csrf_of, post
from web.app import create_app
from web.serve_settings import RefusedError, ServeSettings, checked
from web.tensorboard.gateway import Gateway, by_port
from web.tensorboard.handover import SESSION_S, TOKEN_S, Handover
from web.tensorboard.run_links import RunLinks
from web.tensorboard.viewer import Viewer

PORT = 8018
ORIGIN = f"http://127.0.0.1:{PORT}"


class Listener(BaseHTTPRequestHandler):
    """Answers everything, and keeps what it was asked."""

    server: "ThreadingHTTPServer"

    def do_GET(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        self.server.heard.append((self.command, self.path, dict(self.headers), self.rfile.read(length)))  # type: ignore[attr-defined]
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Set-Cookie", "theirs=1")
        self.send_header("Content-Length", "2")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(b"{}")

    do_POST = do_HEAD = do_PUT = do_GET  # noqa: N815

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""


class Standing:
    """Where TensorBoard would be."""

    def __init__(self, address: str | None) -> None:
        self.at = address

    def address(self) -> str | None:
        return self.at


class Door:
    """The gateway of a site, its clock, and what came through it."""

    def __init__(self, site: Site, listener: ThreadingHTTPServer) -> None:
        self.now = 0.0
        self.heard: list[Any] = listener.heard  # type: ignore[attr-defined]
        self.site = site
        self.settings = site.settings.model_copy(update={"tensorboard_port": PORT})
        self.handover = Handover(site.accounts, lambda: self.now)
        self.viewer = Standing(f"http://127.0.0.1:{listener.server_port}/secret")
        links = RunLinks(site.folder / "links", site.engine)
        app = create_app(self.settings, site.engine, site.accounts, b"s" * 48, self.handover)
        self.site.app = app
        self.gateway = Gateway(self.settings, self.handover, links, self.viewer)  # type: ignore[arg-type]
        self.both = by_port(app, self.gateway, PORT)

    def client(self) -> Client:
        return Client(self.both)

    def ask(self, client: Client, path: str, method: str = "GET", **more: Any) -> TestResponse:
        return client.open(path, method=method, base_url=ORIGIN, **more)

    def inside(self, name: str = "anna") -> Client:
        client = self.client()
        answer = self.ask(client, f"/enter?token={self.handover.token(self.site.users[name])}")
        assert answer.status_code == 200, answer.text
        return client


@pytest.fixture(scope="module")
def listener() -> Iterator[ThreadingHTTPServer]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Listener) as made:
        threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield made
        made.shutdown()


@pytest.fixture
def door(site: Site, listener: ThreadingHTTPServer) -> Door:
    listener.heard = []  # type: ignore[attr-defined]
    return Door(site, listener)


def test_a_link_lets_its_user_in_once(door: Door) -> None:
    browser = door.site.client("anna")
    answer = browser.get("/tensorboard?job=7")
    assert answer.status_code == 302 and answer.headers["Referrer-Policy"] == "no-referrer"
    link = answer.headers["Location"].replace("http://localhost:8018", "")
    assert link.startswith("/enter?token=") and answer.headers["Location"].startswith("http://localhost:8018/")
    client = door.client()
    entered = door.ask(client, link)
    assert entered.status_code == 200 and "job-7" in entered.headers["Refresh"]
    cookie = entered.headers["Set-Cookie"]
    assert cookie.startswith(f"r2d2_tb_{PORT}=") and f"Max-Age={SESSION_S}" in cookie
    assert "HttpOnly" in cookie and "SameSite=Strict" in cookie and "Path=/" in cookie
    assert door.ask(client, "/data/runs").status_code == 200
    stranger = door.client()
    assert door.ask(stranger, link).status_code == 403
    assert door.ask(stranger, "/data/runs").status_code == 403
    assert len(door.heard) == 1


def test_a_token_and_a_cookie_end(door: Door) -> None:
    token = door.handover.token(door.site.users["anna"])
    door.now = TOKEN_S
    assert door.ask(door.client(), f"/enter?token={token}").status_code == 403
    client = door.inside()
    door.now += SESSION_S - 1
    assert door.ask(client, "/data/runs").status_code == 200
    door.now += 1
    assert door.ask(client, "/data/runs").status_code == 403


@pytest.mark.parametrize("end", ["log-out", "new password", "another role", "not active"])
def test_what_ends_the_session_of_the_console_ends_this_one(door: Door, end: str) -> None:
    accounts, name = door.site.accounts, f"tess-{end.replace(' ', '-')}"
    tess = door.site.users[name] = accounts.add_user(name, "administrator", PASSWORD)[0]
    client, unused = door.inside(name), door.handover.token(tess)
    if end == "log-out":
        assert post(door.site.client(name), "/account", "/logout").status_code == 302
    elif end == "new password":
        accounts.set_password(tess)
    else:
        role, is_active = ("operator", True) if end == "another role" else ("administrator", False)
        accounts.set_role(tess, role, is_active)
    assert door.ask(client, "/data/runs").status_code == 403
    assert door.ask(door.client(), f"/enter?token={unused}").status_code == 403
    assert door.heard == []


def test_only_who_may_see_all_jobs_comes_in(door: Door) -> None:
    for name in ("vera", "olga"):
        assert door.site.client(name).get("/tensorboard").status_code == 403
        token = door.handover.token(door.site.users[name])
        assert door.ask(door.client(), f"/enter?token={token}").status_code == 403


def test_no_cookie_password_or_origin_reaches_tensorboard(door: Door) -> None:
    client = door.inside()
    client.set_cookie(f"r2d2_{door.settings.port}", "the console's session", domain="127.0.0.1")
    headers = {
        "Authorization": "Bearer r2d2_1_secret",
        "Referer": "http://127.0.0.1:8017/jobs/1",
        "X-Forwarded-For": "10.0.0.1",
        "Accept": "application/json",
    }
    answer = door.ask(client, "/data/plugin/scalars/tags?a=b%20c", headers=headers)
    assert answer.status_code == 200 and "Set-Cookie" not in answer.headers
    ((method, path, sent, _),) = door.heard
    assert (method, path) == ("GET", "/secret/data/plugin/scalars/tags?a=b%20c")
    assert {name.lower() for name in sent} <= {"host", "accept", "accept-encoding", "user-agent"}
    assert sent["Accept"] == "application/json"
    policies = answer.headers.getlist("Content-Security-Policy")
    assert any("frame-ancestors 'none'" in one for one in policies)
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_curves_are_asked_for_by_post_from_its_own_page_alone(door: Door) -> None:
    client, path = door.inside(), "/experiment/defaultExperimentId/data/plugin/timeseries/timeSeries"
    body = {"requests": "[]"}
    assert door.ask(client, path, "POST", data=body, headers={"Origin": ORIGIN}).status_code == 200
    assert door.heard[-1][0] == "POST" and b"requests=" in door.heard[-1][3]
    for origin in ({}, {"Origin": "http://127.0.0.1:8017"}, {"Origin": "null"}):
        assert door.ask(client, path, "POST", data=body, headers=origin).status_code == 403
    large = {"requests": "x" * (1 << 20)}
    assert door.ask(client, path, "POST", data=large, headers={"Origin": ORIGIN}).status_code == 413
    assert len(door.heard) == 1


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/data/runs", 405),
        ("POST", "/enter", 405),
        ("PUT", "/data/plugin/timeseries/timeSeries", 405),
        ("DELETE", "/", 405),
        ("GET", "/data/plugin/projector/runs", 404),
        ("GET", "/data/plugin/profile/capture_profile?service_addr=10.0.0.1:8466", 404),
        ("GET", "/data/plugin/profile/capture_profile/?service_addr=10.0.0.1:8466", 404),
        ("GET", "/experiment/defaultExperimentId/data/plugin/projector/runs", 404),
        ("GET", "/experiment//data/plugin/profile/capture_profile/", 404),
        ("GET", "/data//plugin/projector/runs", 404),
        ("POST", "/experiment/defaultExperimentId/data/runs", 405),
        ("GET", "/data/plugin/", 404),
        ("GET", "/data/../../elsewhere", 404),
    ],
)
def test_what_changes_or_reaches_further_is_refused(door: Door, method: str, path: str, status: int) -> None:
    assert door.ask(door.inside(), path, method, headers={"Origin": ORIGIN}).status_code == status
    assert door.heard == []


def test_other_names_of_the_server_are_refused(door: Door) -> None:
    client = door.inside()
    answer = client.get("/data/runs", base_url=ORIGIN, headers={"Host": f"evil.example:{PORT}"})
    assert answer.status_code == 400 and door.heard == []


def test_the_console_is_not_on_its_port_and_it_is_not_on_the_consoles(door: Door) -> None:
    assert door.ask(door.client(), "/login").status_code == 403
    assert door.client().get("/login", base_url="http://127.0.0.1:8017").status_code == 200
    assert door.inside().get("/data/runs", base_url="http://127.0.0.1:8017").status_code == 404


def test_while_it_starts_a_page_says_so(door: Door) -> None:
    client, door.viewer.at = door.inside(), None
    answer = door.ask(client, "/?runFilter=a")
    assert "is starting" in answer.text and answer.headers["Refresh"] == "2; url=/?runFilter=a"
    assert door.ask(client, "/data/runs").status_code == 503


def test_where_it_is_not_served_there_is_no_link(tmp_path: Path) -> None:
    with ExitStack() as stack:
        site = Site(tmp_path, stack)
        anna = site.client("anna")
        assert anna.get("/tensorboard").status_code == 404
        assert "TensorBoard" not in anna.get("/").text
        assert csrf_of(anna, "/account")


def test_behind_a_proxy_it_needs_an_address(tmp_path: Path) -> None:
    behind = {"work_root": tmp_path, "proxies": ("127.0.0.1",), "tensorboard_port": PORT}
    with pytest.raises(RefusedError, match="--tensorboard-address"):
        checked(ServeSettings(**behind))
    settings = checked(ServeSettings(**behind, tensorboard_address="https://tb.example"))
    assert settings.tensorboard_origin("https", "r2d2.example") == "https://tb.example"
    assert "tb.example" in settings.tensorboard_hosts


def test_links_follow_the_trainings(door: Door, tmp_path: Path) -> None:
    class Listed:
        """An engine of a few jobs."""

        def list(self, query: JobQuery) -> Any:
            assert query.limit <= 200
            return type("Page", (), {"jobs": jobs})

    def job(number: int, task: str = "train", output: str | None = "out") -> Any:
        return type(
            "Job", (), {"id": number, "task": task, "output": None if output is None else f"/{output}-{number}"}
        )

    jobs = [job(1), job(2, "cross-validate"), job(3, output=None)]
    folder = tmp_path / "shown"
    RunLinks(folder, Listed()).renew()  # type: ignore[arg-type]
    assert {one.name: str(one.readlink()) for one in folder.iterdir()} == {
        "job-1": "/out-1/tensorboard",
        "job-2": "/out-2",
    }
    jobs = [job(2, "train"), job(4)]
    RunLinks(folder, Listed()).renew()  # type: ignore[arg-type]
    assert {one.name: str(one.readlink()) for one in folder.iterdir()} == {
        "job-2": "/out-2/tensorboard",
        "job-4": "/out-4/tensorboard",
    }


@pytest.mark.slow
def test_tensorboards_process_begins_when_asked_and_ends_when_idle(tmp_path: Path) -> None:
    viewer = Viewer(tmp_path, idle_s=1.0)
    assert viewer.address() is None
    process = viewer._process
    assert process is not None and str(tmp_path) not in Path(f"/proc/{process.pid}/cmdline").read_text()
    try:
        end = time.monotonic() + 300
        while (address := viewer.address()) is None:
            assert time.monotonic() < end and process.poll() is None
            time.sleep(0.1)
        assert address.startswith("http://127.0.0.1:")
        assert process.wait(300) == 0
        assert viewer.address() is None and viewer._process is not process  # and begins again
    finally:
        viewer.end()
