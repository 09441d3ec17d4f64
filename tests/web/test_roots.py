"""Folders that some users alone may see: their jobs are neither listed nor shown to others, nor are their files."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from werkzeug.exceptions import Forbidden, NotFound

from r2d2.engine import Jobs
from tests.r2d2.engine import small_tasks
from tests.web.conftest import ROLES, Site
from web.guarded_jobs import GuardedJobs
from web.people import Person
from web.roots import Roots


@pytest.fixture
def closed(site: Site) -> Iterator[str]:
    """The folder of data, closed to all but olga."""
    path = str(site.folder / "data")
    site.accounts.set_root(path, [site.users["olga"].id])
    yield path
    site.accounts.set_root(path, None)


def persons(site: Site) -> dict[str, Person]:
    return {name: Person(site.accounts.user(user.id)) for name, user in site.users.items()}


def test_a_job_is_shown_to_whoever_may_see_what_it_uses(site: Site, closed: str) -> None:
    job = site.submit("of the closed folder", tags=("secret",)).id
    assert site.engine.show(job).job.uses == (closed,)
    for name, may in (("vera", False), ("olga", True), ("anna", True)):
        browser, status = site.client(name), 200 if may else 403
        for path in (f"/jobs/{job}", f"/jobs/{job}/log"):
            assert site.api("GET", path, name).status_code == status, (name, path)
        assert browser.get(f"/jobs/{job}").status_code == status
        assert ("of the closed folder" in browser.get("/").text) is may
        for query in ("tags=secret", "text=closed", ""):
            found = site.api("GET", f"/jobs?{query}", name).json
            assert found is not None and (job in [one["id"] for one in found["jobs"]]) is may
            assert may or found["total"] == 0
    site.accounts.set_root(closed, None)
    assert site.api("GET", f"/jobs/{job}", "vera").status_code == 200


def test_nobody_ends_or_changes_what_they_may_not_see(site: Site, closed: str) -> None:
    job = site.submit("stays").id
    site.accounts.set_root(closed, [])
    for path in ("stop", "cancel", "resume"):
        answer = site.api("POST", f"/jobs/{job}/{path}", "olga")
        assert answer.status_code == 403, path
        assert "not shown to you" in answer.json["error"]["message"]  # type: ignore[index]
    assert site.api("PATCH", f"/jobs/{job}", "olga", json={"name": "x"}).status_code == 403
    assert site.engine.show(job).job.name == "stays"
    assert site.api("POST", f"/jobs/{job}/cancel", "anna").status_code == 200


def test_nobody_reads_by_a_job_what_they_may_not_see(site: Site, closed: str) -> None:
    made = site.submit("made").id
    site.accounts.set_root(closed, [])
    work = site.settings.work_root
    for journal in (f"{closed}/x", str(work / "jobs" / str(made) / "output" / "run")):
        wanted = {"task": small_tasks.NAME, "settings": {"journal": journal}}
        answer = site.api("POST", "/jobs", "olga", json=wanted)
        assert answer.status_code == 422, answer.text
    wanted = {"task": small_tasks.NAME, "settings": {"journal": str(work / "journal")}}
    assert site.api("POST", "/jobs", "olga", json=wanted).status_code == 201


def test_files_are_found_in_folders_that_are_shown(site: Site, tmp_path: Path) -> None:
    scans, inner = tmp_path / "scans", tmp_path / "scans" / "inner"
    inner.mkdir(parents=True)
    (inner / "a.nii").touch()
    (scans / "way_in").symlink_to(inner)
    (scans / "way_out").symlink_to(tmp_path)
    roots = Roots((scans, inner), tmp_path / "work", site.accounts)
    who = persons(site)
    assert roots.found(who["vera"], 1, "inner/a.nii") == inner / "a.nii"
    assert roots.found(who["vera"], 1, "way_in/a.nii") == inner / "a.nii"
    assert roots.found(who["vera"], 2, "") == inner
    for number, relative in ((1, "nothing"), (3, ""), (0, ""), (1, "a" * 300), (1, "\0")):
        with pytest.raises(NotFound):
            roots.found(who["anna"], number, relative)
    for relative in ("..", "way_out", "way_out/scans/../..", str(tmp_path), "../../etc/passwd"):
        with pytest.raises((Forbidden, NotFound)):
            roots.found(who["anna"], 1, relative)
    site.accounts.set_root(str(inner), [site.users["olga"].id])
    try:
        assert [root.number for root in roots.of(who["vera"])] == [1]
        assert [root.is_open for root in roots.of(who["olga"])] == [True, False]
        for number, relative in ((1, "inner/a.nii"), (1, "way_in/a.nii"), (2, "a.nii")):
            assert roots.found(who["olga"], number, relative) == inner / "a.nii"
            with pytest.raises((Forbidden, NotFound)):
                roots.found(who["vera"], number, relative)
        assert not roots.may_see(None, inner) and roots.may_see(None, scans)
        assert not roots.may_see(who["anna"], tmp_path / "work")
    finally:
        site.accounts.set_root(str(inner), None)


def test_every_role_may_be_left_out_but_administrators(site: Site, closed: str) -> None:
    site.accounts.set_root(closed, [])
    roots = Roots((Path(closed),), site.settings.work_root, site.accounts)
    seen = {name: len(roots.of(person)) for name, person in persons(site).items()}
    assert seen == {name: int(role == "administrator") for name, role in ROLES.items()}


def test_no_call_is_left_unguarded() -> None:
    """Whatever an engine may be asked for, `GuardedJobs` has an answer of its own."""
    calls = {name for name in vars(Jobs) if not name.startswith("_")}
    assert calls and calls <= set(vars(GuardedJobs))
