"""The index: its layout, where it may lie, ten thousand jobs, and what it refuses."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, text

from r2d2.engine import EngineSettings, Job, JobQuery, open_engine
from r2d2.engine.database import INDEX, open_database, take_steps
from r2d2.engine.errors import DatabaseError
from r2d2.engine.filesystem import network_file_system
from r2d2.engine.store import JobStore
from r2d2.engine.tables import HEAD, METADATA
from tests.postgresql import needs_postgresql, postgresql

MANY = 10_000
STATES = ("completed", "failed", "queued", "lost", "cancelled")


def job(number: int) -> Job:
    return Job(
        id=number,
        task="train" if number % 3 else "prepare",
        name=f"Study {number % 100:02d}",
        state=STATES[number % 5],  # type: ignore[arg-type]
        tags=("all", f"t{number % 7}") if number % 2 else (),
        priority=number % 4,
        after=(number - 1,) if number > 1 else (),
        submitted_at=1e9 + number,
        started_at=None if number % 2 else 1e9 + number,
    )


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JobStore]:
    store = JobStore(open_database(tmp_path_factory.mktemp("index")))
    store.put((job(number), str(number)) for number in range(1, MANY + 1))
    yield store
    store.close()


def test_pages_of_ten_thousand_jobs(many: JobStore) -> None:
    page, total = many.page(JobQuery(limit=100, offset=200))
    assert total == MANY
    assert [one.id for one in page] == list(range(MANY - 200, MANY - 300, -1))
    assert page[0] == job(MANY - 200)


@pytest.mark.parametrize(
    ("query", "is_in"),
    [
        (JobQuery(states=("failed", "lost")), lambda one: one.state in ("failed", "lost")),
        (JobQuery(tasks=("prepare",)), lambda one: one.task == "prepare"),
        (JobQuery(tags=("all", "t3")), lambda one: "t3" in one.tags),
        (JobQuery(text="study 07"), lambda one: one.name == "Study 07"),
        (JobQuery(text="%"), lambda one: False),
        (JobQuery(after=(7, 1234)), lambda one: one.id in (8, 1235)),
        (JobQuery(after=(7,), tags=("all",)), lambda one: False),
        (JobQuery(tags=("all",), states=("queued",), tasks=("train",)), None),
    ],
)
def test_filters(many: JobStore, query: JobQuery, is_in) -> None:  # type: ignore[no-untyped-def]
    if is_in is None:
        is_in = lambda one: "all" in one.tags and one.state == "queued" and one.task == "train"  # noqa: E731
    expected = [number for number in range(MANY, 0, -1) if is_in(job(number))]
    page, total = many.page(query)
    assert total == len(expected)
    assert [one.id for one in page] == expected[: query.limit]


def test_what_comes_after_a_job_among_others(many: JobStore) -> None:
    behind = job(MANY + 1).model_copy(update={"after": (12, 345, 6789)})
    many.put([(behind, "")])
    try:
        found = {before: [one.id for one in many.page(JobQuery(after=(before,)))[0]] for before in (12, 345, 6789, 1)}
        assert found == {12: [MANY + 1, 13], 345: [MANY + 1, 346], 6789: [MANY + 1, 6790], 1: [2]}
    finally:
        many.remove([MANY + 1])


@pytest.mark.parametrize("is_descending", [True, False])
def test_order_with_ties_and_with_what_is_unknown_last(many: JobStore, is_descending: bool) -> None:
    page, _ = many.page(JobQuery(sort="started_at", descending=is_descending, limit=1000, offset=MANY // 2 - 2))
    assert [one.started_at is None for one in page] == [False, False, *[True] * (len(page) - 2)]
    page, _ = many.page(JobQuery(sort="priority", descending=is_descending, limit=1000))
    keys = [(one.priority, one.id) for one in page]
    assert keys == sorted(keys, reverse=is_descending)


def test_what_waits_comes_by_priority_then_as_it_came(many: JobStore) -> None:
    waiting = many.waiting(200, 0)
    expected = sorted((number for number in range(1, MANY + 1) if number % 5 == 2), key=lambda n: (-(n % 4), n))
    assert [one.id for one in waiting] == expected[:200]
    assert many.waiting(200, 200)[0].id == expected[200]


def test_a_job_is_claimed_once(tmp_path: Path) -> None:
    store = JobStore(open_database(tmp_path))
    store.put([(job(2), "")])
    assert [store.claim(2, 1), store.claim(2, 1)] == [True, False]
    assert store.claim(2, 2) is False
    store.close()


def test_a_page_that_is_remembered_is_never_of_before(tmp_path: Path) -> None:
    store = JobStore(open_database(tmp_path))
    queued = JobQuery(states=("queued",))
    store.put([(job(2), "")])
    assert [one.id for one in store.page(queued)[0]] == [2]
    assert store.page(queued) is store.page(JobQuery(states=("queued",)))
    assert store.page(queued, ["data"]) is not store.page(queued)
    large = JobQuery(limit=1000)
    assert store.page(large) == store.page(large) and store.page(large) is not store.page(large)
    store.put([(job(7), "")])
    assert [one.id for one in store.page(queued)[0]] == [7, 2]
    store.claim(7, 1)
    assert [one.id for one in store.page(queued)[0]] == [2]
    store.remove([2])
    assert store.page(queued) == ((), 0)
    store.close()


@pytest.mark.parametrize("by_steps", [False, True])
def test_the_steps_lead_to_the_tables(tmp_path: Path, by_steps: bool) -> None:
    if by_steps:
        empty = create_engine(f"sqlite:///{tmp_path / INDEX.file_name}")
        take_steps(empty, INDEX)
        empty.dispose()
    database = open_database(tmp_path)
    with database.connect() as connection:
        found = compare_metadata(MigrationContext.configure(connection), METADATA)
        assert [one for one in found if "alembic_version" not in str(one)] == []
        assert connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one() == HEAD
        assert connection.execute(text("PRAGMA journal_mode")).scalar_one() == "wal"
    database.dispose()
    open_database(tmp_path).dispose()  # up to date: nothing is to be done


def test_an_index_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    open_database(tmp_path).dispose()
    with sqlite3.connect(tmp_path / "index.sqlite") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    with pytest.raises(DatabaseError, match=r"index\.sqlite is of a newer version of R2D2 \(9999; .*made anew"):
        open_database(tmp_path)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "index.sqlite").write_bytes(b"not a database, but long enough to be looked at" * 100)
    with pytest.raises(DatabaseError, match="cannot be used"):
        open_database(tmp_path)


@pytest.mark.parametrize("url", ["nonsense", "no+such://a/b"])
def test_what_is_no_url_is_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(DatabaseError, match="is no URL of a database, like postgresql"):
        open_database(tmp_path, url)


@pytest.mark.parametrize(
    "url", ["no+such://me:hidden@host/name", "mysql+asyncmy://me:hidden@host/name", "x//me:hidden@h"]
)
def test_no_message_holds_a_password(tmp_path: Path, url: str) -> None:
    with pytest.raises(DatabaseError) as caught:
        open_database(tmp_path, url)
    assert "***" in str(caught.value) and "hidden" not in str(caught.value)


def mounts(tmp_path: Path, *lines: str) -> Path:
    file = tmp_path / "mountinfo"
    file.write_text("".join(f"{line}\n" for line in lines))
    return file


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "fuse.sshfs", "lustre"])
def test_network_file_systems_are_known(tmp_path: Path, kind: str) -> None:
    inner = tmp_path / "with blank" / "jobs"
    inner.mkdir(parents=True)
    root = "22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw"
    shared = f"40 22 0:50 / {str(inner.parent).replace(' ', chr(92) + '040')} rw - {kind} server:/x rw"
    assert network_file_system(inner, mounts(tmp_path, root, shared)) == kind
    assert network_file_system(tmp_path, mounts(tmp_path, root, shared)) is None
    over = f"41 40 0:51 / {str(inner).replace(' ', chr(92) + '040')} rw - tmpfs tmpfs rw"
    assert network_file_system(inner, mounts(tmp_path, root, shared, over)) is None


def test_on_a_network_file_system_the_engine_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("r2d2.engine.filesystem._MOUNTS", mounts(tmp_path, "1 1 0:1 / / rw - nfs4 server:/ rw"))
    monkeypatch.setattr(
        "r2d2.engine.database.network_file_system",
        lambda path: network_file_system(path, tmp_path / "mountinfo"),
    )
    settings = EngineSettings(work_root=tmp_path / "work")
    with pytest.raises(DatabaseError, match=r"network file system \(nfs4\).*PostgreSQL"), open_engine(settings):
        pass


@pytest.mark.slow
@needs_postgresql
def test_postgresql_is_another_place_for_the_index(tmp_path: Path) -> None:
    with postgresql(tmp_path) as url:
        store = JobStore(open_database(tmp_path, url))
        store.put((job(number), str(number)) for number in range(1, 101))
        store.put([(job(2), "again")])
        page, total = store.page(JobQuery(tags=("all",), text="STUDY", sort="started_at"))
        assert (total, page[0]) == (50, job(99))
        assert [store.claim(2, 1), store.claim(2, 1)] == [True, False]
        store.close()
        JobStore(open_database(tmp_path, url)).close()
