"""The REST API: what it gives, what it refuses, one shape of errors; a token and nothing else opens it."""

import json
import time
from typing import Any

import pytest

from tests.r2d2.engine import small_tasks
from tests.web.conftest import PASSWORD, Site
from web.accounts.store import open_accounts
from web.permissions import Permission, needed_by

PREFIX = "/api/v1"


def wanted(site: Site, **more: Any) -> dict[str, Any]:
    return {"task": small_tasks.NAME, "settings": {"journal": str(site.journal)}, **more}


def test_from_submission_to_end(site: Site) -> None:
    answer = site.api("POST", "/jobs", json=wanted(site, name="a name", tags=["mri"]))
    assert answer.status_code == 201, answer.text
    job = answer.json
    assert job is not None and job["by"] == "olga"
    assert answer.headers["Location"] == f"{PREFIX}/jobs/{job['id']}"
    while (shown := site.api("GET", f"/jobs/{job['id']}", "vera").json)["job"]["state"] != "completed":  # type: ignore[index]
        assert shown["job"]["state"] in ("queued", "starting", "running")
    assert shown["settings"]["journal"] == str(site.journal)
    assert site.api("GET", f"/jobs/{job['id']}/log", "vera").json == {
        "text": "<b>done</b>\n",
        "offset": 12,
        "attempt": 1,
        "is_last": True,
    }


def test_ended_by_hand(site: Site) -> None:
    job = site.submit("stays").id
    assert site.api("PATCH", f"/jobs/{job}", json={"tags": ["kept"], "priority": 3}).json["tags"] == ["kept"]  # type: ignore[index]
    assert site.api("POST", f"/jobs/{job}/cancel", json={"reason": "enough"}).status_code == 200
    assert site.api("POST", f"/jobs/{job}/cancel").status_code == 200  # no reason, no body
    assert site.api("POST", f"/jobs/{job}/resume").status_code in (200, 409)  # it may end first


def test_lists_are_filtered_sorted_and_paged(site: Site) -> None:
    ids = [site.submit(f"list {number}", tags=("listed",), priority=number % 2).id for number in range(5)]
    found = site.api("GET", "/jobs?tags=listed&sort=id&descending=false&limit=2&offset=1", "vera").json
    assert found is not None and [job["id"] for job in found["jobs"]] == ids[1:3] and found["total"] == 5
    assert site.api("GET", "/jobs?tags=listed&tags=other").json["total"] == 0  # type: ignore[index]
    assert site.api("GET", "/jobs?text=list%203").json["total"] == 1  # type: ignore[index]


def test_all_faults_at_their_keys(site: Site) -> None:
    settings = {"seconds": "long", "sec": 1, "journal": str(site.journal)}
    answer = site.api("POST", "/jobs", json=wanted(site) | {"settings": settings})
    assert answer.status_code == 422
    error = answer.json["error"]  # type: ignore[index]
    assert error["kind"] == "refused" and {fault["key"] for fault in error["faults"]} == {"seconds", "sec"}


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "kind"),
    [
        ("GET", "/jobs/999", None, 404, "unknown_job"),
        ("GET", "/jobs/0", None, 422, "refused"),
        ("GET", f"/jobs/{10**30}", None, 422, "refused"),
        ("GET", "/jobs/-1", None, 404, "not_found"),
        ("GET", "/jobs/..%2f..%2fetc%2fpasswd", None, 404, "not_found"),
        ("GET", "/jobs/1/log/../../web/secret", None, 404, "not_found"),
        ("GET", "/jobs?sort=settings;DROP", None, 422, "refused"),
        ("GET", "/jobs?nothing=1", None, 422, "refused"),
        ("GET", "/jobs?text=%00", None, 422, "refused"),
        ("GET", f"/jobs?offset={10**30}", None, 422, "refused"),
        ("DELETE", "/jobs", None, 405, "method"),
        ("POST", "/jobs", b"{", 400, "malformed"),
        ("POST", "/jobs", b"[" * 100_000, 400, "malformed"),
        ("POST", "/jobs", b'{"settings": ' + b'{"a":' * 60 + b"1" + b"}" * 61, 422, "refused"),
        ("POST", "/jobs", b"[]", 422, "refused"),
        ("POST", "/jobs", b'"{}"', 422, "refused"),
        ("POST", "/jobs", b"{}", 422, "refused"),
        ("POST", "/jobs", b'{"task": "train", "priority": 1e999}', 422, "refused"),
        ("POST", "/jobs", b'{"task": "train", "name": "\\ud800"}', 422, "refused"),
        ("POST", "/jobs", b'{"task": "train", "name": "\\u0000"}', 422, "refused"),
        ("POST", "/jobs", b'{"task": "train", "by": "root"}', 422, "refused"),
        ("POST", "/jobs", b'{"task": "os:system"}', 422, "refused"),
        ("POST", "/jobs", b'{"task": "train", "after": [99999]}', 422, "refused"),
        ("POST", "/jobs", b"x" * (2**20 + 1), 413, "too_large"),
    ],
)
def test_what_is_refused_has_one_shape(
    site: Site, method: str, path: str, body: bytes | None, status: int, kind: str
) -> None:
    answer = site.api(method, path, data=body, content_type="application/json" if body else None)
    assert (answer.status_code, answer.mimetype) == (status, "application/json"), answer.text
    assert set(answer.json) == {"error"}  # type: ignore[arg-type]
    error = answer.json["error"]  # type: ignore[index]
    assert set(error) == {"kind", "message", "faults", "exit_code"}
    assert error["kind"] == kind and error["message"]


def test_a_body_must_say_that_it_is_json(site: Site) -> None:
    answer = site.api("POST", "/jobs", data=json.dumps(wanted(site)), content_type="text/plain")
    assert answer.status_code == 415


@pytest.mark.parametrize("key", ["journal", "out"])
@pytest.mark.parametrize(
    "path", ["/etc/passwd", "../../etc", "{data}/link/x", "jobs/1/job.json", "web/secret", "{long}"]
)
def test_no_files_outside_of_the_declared_folders(site: Site, key: str, path: str) -> None:
    link = site.folder / "data" / "link"
    if not link.is_symlink():
        link.symlink_to("/etc")
    path = path.replace("{data}", str(site.folder / "data")).replace("{long}", "../" + "a" * 300)
    answer = site.api("POST", "/jobs", json=wanted(site) | {"settings": {"journal": str(site.journal), key: path}})
    assert answer.status_code == 422, answer.text
    assert "folders that jobs may use" in answer.json["error"]["message"] or "own" in answer.json["error"]["message"]  # type: ignore[index]


ROUTES = [
    ("GET", "/me"),
    ("GET", "/jobs"),
    ("POST", "/jobs"),
    ("GET", "/jobs/1"),
    ("PATCH", "/jobs/1"),
    ("GET", "/jobs/1/log"),
    ("GET", "/jobs/1/metrics"),
    ("POST", "/jobs/1/stop"),
    ("POST", "/jobs/1/cancel"),
    ("POST", "/jobs/1/resume"),
]


def test_these_are_all_routes(site: Site) -> None:
    rules = [rule for rule in site.app.url_map.iter_rules() if rule.rule.startswith("/api")]
    found = {
        (method, rule.rule) for rule in rules for method in (rule.methods or ()) if method not in ("HEAD", "OPTIONS")
    }
    assert found == {(method, PREFIX + path.replace("/1", "/<int:job_id>")) for method, path in ROUTES}


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_a_session_opens_none(site: Site, anna: Any, method: str, path: str) -> None:
    """Not even with the word of a form beside it."""
    answer = anna.open(PREFIX + path, method=method, json={} if method != "GET" else None)
    assert (answer.status_code, answer.json["error"]["kind"]) == (401, "unauthenticated")
    assert "Set-Cookie" not in answer.headers


@pytest.fixture(scope="module")
def anna(site: Site) -> Any:
    return site.client("anna")


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_roles_and_scopes(site: Site, method: str, path: str) -> None:
    """A viewer's token, and an operator's that only reads, change nothing."""
    reading = site.accounts.make_token(site.users["olga"], "reads", "read")[1]
    endpoint = next(
        rule.endpoint
        for rule in site.app.url_map.iter_rules()
        if rule.rule == PREFIX + path.replace("/1", "/<int:job_id>") and method in (rule.methods or ())
    )
    changes = method != "GET"
    assert needed_by(site.app.view_functions[endpoint]) is (Permission.OPERATE if changes else Permission.READ)
    for token in (site.tokens["vera"], reading):
        answer = site.api(method, path, token=token, json={} if changes else None)
        assert (answer.status_code == 403) == changes, answer.text


def test_a_token_that_is_taken_back_opens_nothing_more(site: Site) -> None:
    """At once, though it was used a moment ago; where another process takes it back, soon."""
    user = site.users["olga"]
    elsewhere = open_accounts(site.settings.work_root / "web")
    for accounts, patience in ((site.accounts, 0.0), (elsewhere, 5.0)):
        token, text = site.accounts.make_token(user, "used", "operate")
        assert site.api("GET", "/me", token=text).status_code == 200
        accounts.revoke_token(user, token.id)
        until = time.monotonic() + patience
        while (status := site.api("GET", "/me", token=text).status_code) == 200 and time.monotonic() < until:
            time.sleep(0.1)
        assert status == 401
    elsewhere.close()


def test_tokens_that_are_none(site: Site) -> None:
    token = site.tokens["olga"]
    head, _, secret = token.rpartition("_")
    user = site.users["olga"]
    revoked, text = site.accounts.make_token(user, "gone", "operate")
    site.accounts.revoke_token(user, revoked.id)
    expired = site.accounts.make_token(user, "old", "operate", days=-1)[1]
    changed = secret[:-1] + ("A" if secret[-1] != "A" else "B")
    others = [
        text,
        expired,
        f"{head}_{changed}",
        token + "A",
        token.upper(),
        "r2d2_1_",
        "r2d2_99999999999_" + secret,
        "é",
    ]
    for one in [*others, f"r2d2_{int(head.split('_')[1]) + 1}_{secret}"]:
        assert site.api("GET", "/me", token=one).status_code == 401, one
    for header in ("", "Basic b2xnYTp4", token, "Bearer"):
        answer = site.app.test_client().get(f"{PREFIX}/me", headers={"Authorization": header})
        assert answer.status_code == 401
    assert site.api("GET", "/me").json == {"name": "olga", "role": "operator", "scope": "operate"}


def test_who_may_no_longer_log_in_has_no_token_either(site: Site) -> None:
    user, _ = site.accounts.add_user("gone", "operator", PASSWORD)
    token = site.accounts.make_token(user, "t", "operate")[1]
    assert site.api("GET", "/me", token=token).status_code == 200
    site.accounts.set_role(user, "operator", is_active=False)
    assert site.api("GET", "/me", token=token).status_code == 401


def test_what_was_changed_is_in_the_audit_log(site: Site) -> None:
    job = site.submit("stays").id
    site.api("POST", f"/jobs/{job}/cancel")
    site.api("POST", f"/jobs/{job}/cancel", "vera")
    last = site.accounts.audit(2)
    assert [(one.who, one.action, one.target, one.status) for one in last] == [
        ("vera", "api.cancel_job", str(job), 403),
        ("olga", "api.cancel_job", str(job), 200),
    ]
    assert last[0].via.startswith("token ")
