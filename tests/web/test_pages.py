"""The pages: who may see and do what, forms that others cannot send, nothing from outside that a browser would obey."""

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from flask.testing import FlaskClient

from r2d2.engine import Submission
from r2d2.engine.folder import FINAL
from tests.web.conftest import PASSWORD, ROLES, Site, csrf_of, post
from tests.web.serving import until
from web.permissions import Permission, needed_by
from web.security import CONTENT_SECURITY_POLICY, limiter

SCRIPT = "<script>alert(1)</script>"

PERMISSIONS = {
    "assets": "nobody in particular",
    "metrics": "nobody in particular",  # it looks itself: tests/web/test_metrics.py
    "session.login": "nobody in particular",
    "session.check_login": "nobody in particular",
    "session.health": "nobody in particular",
    "session.document": "nobody in particular",
    "session.logout": "any user",
    "datasets.index": "viewer",
    "datasets.list_part": "viewer",
    "datasets.browse": "viewer",
    "datasets.inspect": "viewer",
    "datasets.inspect_part": "viewer",
    "datasets.start_inspection": "operator",
    "datasets.cancel_inspection": "operator",
    "datasets.prepare": "operator",
    "datasets.submit_preparation": "operator",
    "datasets.check_preparation": "operator",
    "datasets.show": "viewer",
    "datasets.report": "viewer",
    "viewer.cases": "viewer",
    "viewer.show": "viewer",
    "viewer.volume": "viewer",
    "viewer.info": "viewer",
    "viewer.slice_picture": "viewer",
    "viewer.labels_picture": "viewer",
    "viewer.volume_file": "viewer",
    "viewer.thumbnail_picture": "viewer",
    "overview.index": "viewer",
    "overview.index_part": "viewer",
    "overview.example": "operator",
    "runs.index": "viewer",
    "runs.list_part": "viewer",
    "runs.show": "viewer",
    "runs.show_part": "viewer",
    "runs.details_part": "viewer",
    "runs.curves": "viewer",
    "runs.machines": "viewer",
    "runs.folds": "viewer",
    "runs.download": "viewer",
    "runs.report": "viewer",
    "runs.steps": "viewer",
    "runs.epochs": "viewer",
    "runs.samples": "viewer",
    "runs.sample": "viewer",
    "runs.log": "viewer",
    "runs.stop": "operator",
    "runs.cancel": "operator",
    "runs.cancel_followers": "operator",
    "runs.resume": "operator",
    "runs.checkpoint": "operator",
    "runs.profile": "operator",
    "runs.learning_rate": "operator",
    "runs.predict": "operator",
    "runs.evaluate": "operator",
    "trainings.new": "operator",
    "trainings.begin": "operator",
    "trainings.check": "operator",
    "trainings.settings": "operator",
    "zoo.index": "viewer",
    "zoo.card": "viewer",
    "zoo.picture": "viewer",
    "zoo.pull": "operator",
    "zoo.remove": "administrator",
    "zoo.ask": "operator",
    "zoo.add_remote": "administrator",
    "zoo.forget_remote": "administrator",
    "zoo.predict": "operator",
    "zoo.begin_prediction": "operator",
    "zoo.new_upload": "operator",
    "zoo.upload_file": "operator",
    "zoo.drop_upload": "operator",
    "zoo.prediction": "viewer",
    "zoo.prediction_part": "viewer",
    "zoo.label_map": "viewer",
    "zoo.publish": "operator",
    "zoo.publish_part": "operator",
    "zoo.begin_publishing": "operator",
    "settings.account": "any user",
    "settings.change_password": "any user",
    "settings.make_token": "any user",
    "settings.revoke_token": "any user",
    "settings.users": "administrator",
    "settings.add_user": "administrator",
    "settings.change_user": "administrator",
    "settings.new_password": "administrator",
    "settings.audit": "administrator",
    "settings.reference": "viewer",
    "settings.protection": "viewer",
    "settings.show_roots": "viewer",
    "settings.change_root": "administrator",
    "compare.index": "viewer",
    "compare.show_results": "viewer",
    "api.me": "viewer",
    "api.list_jobs": "viewer",
    "api.show_job": "viewer",
    "api.read_log": "viewer",
    "api.read_metrics": "viewer",
    "api.submit_job": "operator",
    "api.change_job": "operator",
    "api.stop_job": "operator",
    "api.cancel_job": "operator",
    "api.resume_job": "operator",
}
"""All routes there are, and what each needs: whoever adds one decides here too."""


@pytest.fixture(scope="module")
def browsers(site: Site) -> dict[str, FlaskClient]:
    return {name: site.client(name) for name in ROLES}


def test_every_route_says_who_may(site: Site) -> None:
    endpoints = {rule.endpoint for rule in site.app.url_map.iter_rules()}
    found = {endpoint: needed_by(site.app.view_functions[endpoint]) for endpoint in endpoints}
    assert found == {endpoint: Permission(permission) for endpoint, permission in PERMISSIONS.items()}


def requests(site: Site) -> list[tuple[str, str, str]]:
    """Each page as (endpoint, method, path)."""
    found = []
    for rule in site.app.url_map.iter_rules():
        path = re.sub(r"<[^>]+>", "1", rule.rule)
        if not rule.endpoint.startswith(("api.", "assets")):
            found += [
                (rule.endpoint, method, path) for method in rule.methods or () if method not in ("HEAD", "OPTIONS")
            ]
    return found


def test_a_stranger_is_let_in_nowhere(site: Site) -> None:
    word = csrf_of(stranger := site.client(), "/login")
    for endpoint, method, path in requests(site):
        if PERMISSIONS[endpoint] == "nobody in particular":
            continue
        answer = stranger.open(path, method=method, data={"csrf_token": word} if method == "POST" else None)
        assert answer.status_code == (401 if method == "POST" else 302), path
        assert method == "POST" or answer.location == f"/login?next={quote(path)}"


def test_nobody_does_more_than_the_role_allows(site: Site, browsers: dict[str, FlaskClient]) -> None:
    ranks = ["viewer", "operator", "administrator"]
    for name, role in ROLES.items():
        word = csrf_of(browsers[name], "/account")
        for endpoint, method, path in requests(site):
            needed = PERMISSIONS[endpoint]
            if needed in ranks and ranks.index(needed) > ranks.index(role):
                answer = browsers[name].open(
                    path, method=method, data={"csrf_token": word} if method == "POST" else None
                )
                assert answer.status_code == 403, (name, path)


def test_no_form_without_its_word(site: Site, browsers: dict[str, FlaskClient]) -> None:
    other = csrf_of(site.client(), "/login")
    count = len(site.accounts.users()), len(site.accounts.tokens_of(site.users["anna"]))
    for endpoint, method, path in requests(site):
        if method == "POST" and endpoint not in ("session.logout", "session.check_login"):
            for data in ({}, {"csrf_token": "x"}, {"csrf_token": other}):
                answer = browsers["anna"].post(path, data=data)
                assert answer.status_code == 400, path
    assert count == (len(site.accounts.users()), len(site.accounts.tokens_of(site.users["anna"])))


def test_pages_show_jobs(site: Site, browsers: dict[str, FlaskClient]) -> None:
    job = site.submit("liver of the north", tags=("mri",)).id
    for query, is_there in (("", True), ("?tags=mri&text=north", True), ("?state=lost", False), ("?page=9", False)):
        assert (f'href="/jobs/{job}"' in browsers["vera"].get(f"/jobs{query}").text) is is_there
    for query in ("?state=none", "?page=0", "?page=x", f"?page={'9' * 40}", "?sort=x", "?text=%00"):
        assert browsers["vera"].get(f"/jobs{query}").status_code == 422
    page = browsers["vera"].get(f"/jobs/{job}").text
    assert "liver of the north" in page and "Cancel" not in page
    assert browsers["vera"].get("/jobs/99999").status_code == 404


def test_jobs_are_ended_by_a_form(site: Site, browsers: dict[str, FlaskClient]) -> None:
    job = site.submit("stays").id
    assert post(browsers["olga"], f"/jobs/{job}", f"/jobs/{job}/cancel", reason="enough").status_code == 302
    state = site.engine.show(job).job
    assert state.state in ("stopping", "cancelled") and state.reason == "enough"


def test_forms_hold_no_control_characters(site: Site, browsers: dict[str, FlaskClient]) -> None:
    """A terminal would obey them where it shows the reason, and PostgreSQL keeps no zero byte."""
    job = site.submit("ended").id
    for reason in ("\x1b[2J", "a\0b"):
        answer = post(browsers["olga"], f"/jobs/{job}", f"/jobs/{job}/cancel", reason=reason)
        assert answer.status_code == 422 and "control characters" in answer.text
    limiter.reset()
    assert post(site.client(), "/login", "/login", name="a\0b", password="x").status_code == 422
    assert post(browsers["olga"], "/account", "/account/tokens", label="two\r\nlines", scope="read").status_code == 200


def test_script_in_names_is_shown_and_not_run(site: Site, browsers: dict[str, FlaskClient]) -> None:
    job = site.submit(SCRIPT).id
    while site.engine.show(job).job.state not in FINAL:
        site.engine.look()
    for path in ("/", "/jobs", f"/jobs/{job}", f"/jobs?text={SCRIPT}"):
        page = browsers["olga"].get(path).text
        assert SCRIPT not in page and "&lt;script&gt;" in page
    said = browsers["olga"].get(f"/jobs/{job}/log")  # a script shows it, as text
    assert said.mimetype == "application/json" and said.json == {**said.json, "text": "<b>done</b>\n"}
    limiter.reset()
    refused = post(site.client(), "/login", "/login", name=SCRIPT, password="x")
    assert refused.status_code == 401 and SCRIPT not in refused.text
    made = post(browsers["olga"], "/account", "/account/tokens", label=SCRIPT, scope="read").text
    assert SCRIPT not in made and "&lt;script&gt;" in made


def test_links_in_the_folder_of_a_run_lead_nowhere(
    site: Site, browsers: dict[str, FlaskClient], tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text("word: of-another-folder")
    job = site.engine.submit(Submission(task="train", settings={}), "somebody")
    while site.engine.show(job.id).job.state not in FINAL:
        site.engine.look()
    run = Path(str(job.output))
    run.mkdir(parents=True)
    for name in ("config.yaml", "environment.json", "model.json"):
        (run / name).symlink_to(tmp_path / "secret")
        assert browsers["vera"].get(f"/jobs/{job.id}/files/{name}").status_code == 404
    for part in ("", "/details"):
        assert "of-another-folder" not in browsers["vera"].get(f"/jobs/{job.id}{part}").text
    (run / "config.yaml").unlink()
    (run / "config.yaml").write_text("word: of-the-run")
    assert "of-the-run" in browsers["vera"].get(f"/jobs/{job.id}/details").text


def test_headers_of_all_answers(site: Site, browsers: dict[str, FlaskClient]) -> None:
    stranger = site.client()
    style = re.search(r'href="(/assets/[^"]+style.css)"', stranger.get("/login").text)
    assert style is not None
    for client, path in (
        (stranger, "/login"),
        (stranger, "/"),
        (stranger, "/nowhere"),
        (stranger, style[1]),
        (browsers["anna"], "/users"),
        (stranger, "/api/v1/jobs"),
        (stranger, "/assets/x/../app.py"),
    ):
        answer = client.get(path)
        answer.close()
        headers = answer.headers
        assert headers["Content-Security-Policy"] == CONTENT_SECURITY_POLICY
        assert headers["X-Content-Type-Options"] == "nosniff" and headers["X-Frame-Options"] == "DENY"
        kept = "public, max-age=31536000, immutable" if path == style[1] else "no-store"
        assert headers.get("Cache-Control") == kept
    assert "unsafe" not in CONTENT_SECURITY_POLICY and "default-src 'none'" in CONTENT_SECURITY_POLICY
    for path in ("/", "/jobs", "/account", "/users", "/audit", "/reference"):
        page = browsers["anna"].get(path).text
        assert not re.search(r"<script(?! (defer )?src=\"/assets/)|<style| style=| on\w+=| hx-on", page), path


def test_nothing_but_its_files_is_static(site: Site) -> None:
    for path in ("../app.py", "..%2fapp.py", "%2e%2e/app.py", "etc/passwd", ".../app.py"):
        assert site.client().get(f"/assets/x/{path}").status_code == 404
    assert site.client().get("/assets/x/layout/base.html").status_code == 404


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "a@b", ""])
def test_other_host_names_are_refused(site: Site, host: str) -> None:
    for path in ("/login", "/api/v1/jobs", "/assets/x/layout/style.css"):
        assert site.client().get(path, headers={"Host": host}).status_code == 400, path
    assert site.client().get("/login", headers={"Host": "localhost:8017"}).status_code == 200


def test_the_cookie(site: Site) -> None:
    limiter.reset()
    client = site.client()
    before = client.get("/login").headers["Set-Cookie"]
    answer = post(client, "/login", "/login", name="vera", password=PASSWORD)
    cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie and "SameSite=Lax" in cookie and "Path=/" in cookie
    assert before.split(";")[0] != cookie.split(";")[0]
    name, _, value = cookie.split(";")[0].partition("=")
    for changed in (value[:-2] + "AA", value[::-1], "", "{}", "e30.e30.e30"):
        stranger = site.client()
        stranger.set_cookie(name, changed)
        assert stranger.get("/").location == "/login?next=/"


def test_log_out_ends_all_sessions(site: Site) -> None:
    site.accounts.add_user("otto", "viewer", PASSWORD)
    one, other = site.client("otto"), site.client("otto")
    assert post(one, "/", "/logout").status_code == 302
    assert one.get("/").status_code == other.get("/").status_code == 302
    assert site.client("otto").get("/").status_code == 200


def test_a_password_is_changed(site: Site) -> None:
    user, password = site.accounts.add_user("new", "viewer")
    limiter.reset()
    client = site.client()
    assert post(client, "/login", "/login", name="NEW ", password=password).status_code == 302
    for old, new, again in (
        ("x", "a good sentence", "a good sentence"),
        (password, "short", "short"),
        (password, "a good sentence", "another"),
        (password, "newnewnewnew", "newnewnewnew"),
    ):
        limiter.reset()
        assert post(client, "/account", "/account/password", old=old, new=new, again=again).status_code == 422
    limiter.reset()
    good = "a good sentence"
    assert post(client, "/account", "/account/password", old=password, new=good, again=good).status_code == 302
    assert client.get("/").status_code == 200
    assert site.accounts.check_password("new", password) is None
    assert site.accounts.check_password("new", good) == site.accounts.user(user.id)


def test_logins_are_limited(site: Site) -> None:
    limiter.reset()
    client = site.client()
    word = csrf_of(client, "/login")
    answers = [client.post("/login", data={"csrf_token": word, "name": f"user{i}", "password": "x"}) for i in range(11)]
    assert [answer.status_code for answer in answers] == [401] * 10 + [429]
    assert {answer.text.count("no such name with this password") for answer in answers[:10]} == {1}
    limiter.reset()


def test_users_are_added_and_changed(site: Site, browsers: dict[str, FlaskClient]) -> None:
    anna = browsers["anna"]
    made = post(anna, "/users", "/users", name="paul", role="operator")
    found = re.search(r"<code>([^<]+)</code>", made.text)
    assert found is not None
    paul = site.accounts.check_password("paul", found[1])
    assert paul is not None and paul.role == "operator"
    for name, role in (("paul", "viewer"), ("Paul", "viewer"), ("../x", "viewer"), ("x", "root"), ("", "viewer")):
        assert post(anna, "/users", "/users", name=name, role=role).status_code == 422
    assert post(anna, "/users", f"/users/{paul.id}", role="viewer").status_code == 302
    assert site.accounts.check_password("paul", found[1]) is None  # may not log in now
    own = site.users["anna"].id
    assert post(anna, "/users", f"/users/{own}", role="viewer", active="yes").status_code == 422  # the last one
    assert post(anna, "/users", "/users/99999", role="viewer").status_code == 422
    audit = anna.get("/audit").text
    assert "change a user" in audit and "paul" in audit and found[1] not in audit


def test_tokens_are_shown_once_and_revoked(site: Site, browsers: dict[str, FlaskClient]) -> None:
    olga = browsers["olga"]
    made = post(olga, "/account", "/account/tokens", label="mine", scope="operate", days="30").text
    found = re.search(r"<code>(r2d2_(\d+)_[^<]+)</code>", made)
    assert found is not None
    text, number = found[1], found[2]
    assert site.api("GET", "/me", token=text).status_code == 200
    assert text not in olga.get("/account").text
    assert post(browsers["vera"], "/account", f"/account/tokens/{number}/revoke").status_code == 422  # not hers
    assert site.api("GET", "/me", token=text).status_code == 200
    assert post(olga, "/account", f"/account/tokens/{number}/revoke").status_code == 302
    assert site.api("GET", "/me", token=text).status_code == 401
    for days, scope in (("0", "read"), ("x", "read"), ("99999", "read"), ("", "administrator")):
        assert post(olga, "/account", "/account/tokens", label="x", scope=scope, days=days).status_code == 422


def test_no_secret_is_kept_as_it_is(site: Site) -> None:
    """Neither a password nor a token stands in the database, whose file is its user's alone."""
    file = site.settings.work_root / "web" / "web.sqlite"
    assert file.stat().st_mode & 0o777 == 0o600 and file.parent.stat().st_mode & 0o777 == 0o700
    kept = b"".join(path.read_bytes() for path in file.parent.iterdir())
    secrets = [PASSWORD, *(token.split("_", 2)[2] for token in site.tokens.values())]
    assert b"scrypt:" in kept
    assert not any(secret.encode() in kept for secret in secrets)


def test_bodies_are_bounded(site: Site, browsers: dict[str, FlaskClient]) -> None:
    answer = site.client().post("/login", data={"name": "x" * (2**20 + 10)})
    assert answer.status_code == 413


def test_a_fault_tells_nothing_of_the_inside(site: Site, browsers: dict[str, FlaskClient], caplog: Any) -> None:
    damaged = site.submit("damaged").id
    while site.engine.show(damaged).job.state not in FINAL:
        site.engine.look()
    (site.settings.work_root / "jobs" / str(damaged) / "job.json").write_text("{")
    for answer in (site.api("GET", f"/jobs/{damaged}"), browsers["vera"].get(f"/jobs/{damaged}")):
        assert answer.status_code == 500
        assert "its log says more" in answer.text and str(site.folder) not in answer.text


def test_results_are_told_in_words(site: Site, browsers: dict[str, FlaskClient]) -> None:
    job = site.submit()
    until(lambda: site.engine.show(job.id).job.state == "completed")
    outcome = site.settings.work_root / "jobs" / str(job.id) / "attempts" / "1" / "outcome.json"
    for left_out, said in (([], None), (["a has no voxels", "b is no scan"], "a has no voxels; b is no scan")):
        outcome.write_text(json.dumps({"result": {"cases": 40, "left_out": left_out, "word": "x"}}))
        text = browsers["vera"].get(f"/jobs/{job.id}/details").text
        assert "<dt>Cases</dt><dd>40</dd>" in text and "<dt>Word</dt><dd>x</dd>" in text
        assert ("Left out" in text) == (said is not None) and (said is None or f"<dd>{said}</dd>" in text)
