"""Which declared folders a job uses, itself or by what others made of them; and jobs that may not use some."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from r2d2.engine import JobQuery, Submission
from r2d2.engine.database import open_database
from r2d2.engine.errors import RefusedError
from r2d2.engine.folder import JobFolder
from r2d2.engine.store import JobStore
from r2d2_base.files import write_json
from tests.r2d2.engine import small_tasks
from tests.r2d2.engine.conftest import Bench


@pytest.fixture
def quiet(tmp_path: Path) -> Iterator[Bench]:
    """An engine that nobody has look at its jobs, with two folders of scans, one within the other."""
    (tmp_path / "open" / "closed").mkdir(parents=True)
    made = Bench(tmp_path, data_roots=(tmp_path / "open", tmp_path / "open" / "closed")).open()
    yield made
    made.close()


def submit(bench: Bench, journal: Path, without: tuple[Path, ...] = (), **settings: str) -> tuple[int, list[str]]:
    asked = Submission(task=small_tasks.NAME, settings={"journal": str(journal), **settings})
    job = bench.engine.submit(asked, "olga", [str(root) for root in without])
    return job.id, [Path(root).name for root in job.uses]


def test_what_a_job_uses(quiet: Bench) -> None:
    scans = quiet.folder / "open"
    own = quiet.settings.work_root / "journal"
    (scans / "link").symlink_to(scans / "closed")
    assert submit(quiet, own)[1] == []
    assert submit(quiet, scans / "x")[1] == ["open"]
    assert submit(quiet, scans / "closed" / "x")[1] == ["open", "closed"]
    assert submit(quiet, scans / "link" / "x")[1] == ["open", "closed"]
    assert submit(quiet, own, out=str(scans / "out"))[1] == ["open"]


def test_what_is_made_of_it(quiet: Bench) -> None:
    work = quiet.settings.work_root
    own = work / "journal"
    first, _ = submit(quiet, quiet.folder / "open" / "closed" / "x")
    output = work / "jobs" / str(first) / "output"
    second, uses = submit(quiet, output / "run", out="made/second")
    assert uses == ["open", "closed"]
    for journal in (work / "made" / "second", work / "made" / "second" / "model", work / "made"):
        assert submit(quiet, journal)[1] == ["open", "closed"]
    for journal in (work / "made" / "sec", work / "made" / "secondary", own):
        assert submit(quiet, journal)[1] == []
    (work / "way").symlink_to(work / "made")
    assert submit(quiet, work / "way" / "second")[1] == ["open", "closed"]
    assert quiet.engine.show(second).job.uses == quiet.engine.show(first).job.uses


def test_who_may_not_use_a_folder_neither_uses_what_was_made_of_it(quiet: Bench) -> None:
    scans, work = quiet.folder / "open", quiet.settings.work_root
    closed = (scans / "closed",)
    first, _ = submit(quiet, scans / "closed" / "x")
    (scans / "link").symlink_to(scans / "closed")
    for journal in (
        scans / "closed" / "x",
        scans / "link" / "x",
        work / "jobs" / str(first) / "output" / "run",
    ):
        with pytest.raises(RefusedError, match=r"olga may not use .*closed, nor what was made of it"):
            submit(quiet, journal, closed)
    job, uses = submit(quiet, scans / "x", closed)
    assert uses == ["open"]
    assert JobFolder(work / "jobs" / str(job)).read()["roots"] == [str(work), str(scans)]
    with pytest.raises(RefusedError, match="outside of the folders that jobs may use"):
        submit(quiet, scans / "x", (scans, scans / "closed"))


def test_a_configuration_file_hides_nothing(quiet: Bench) -> None:
    """Where it is read before its job begins, also of one that waits for others."""
    scans = quiet.folder / "open"
    (scans / "r2d2.yaml").write_text(f"transfer:\n  start_from: {scans / 'closed'}\n")
    first, _ = submit(quiet, quiet.settings.work_root / "journal")
    asked = Submission(
        task="train", settings={"dataset": str(scans / "soon"), "config": str(scans / "r2d2.yaml")}, after=(first,)
    )
    assert [Path(root).name for root in quiet.engine.submit(asked).uses] == ["open", "closed"]
    with pytest.raises(RefusedError, match="may not use"):
        quiet.engine.submit(asked, "olga", [str(scans / "closed")])


def test_lists_leave_out_what_uses_a_folder(quiet: Bench) -> None:
    scans = quiet.folder / "open"
    first, _ = submit(quiet, quiet.settings.work_root / "journal")
    second, _ = submit(quiet, scans / "x")
    submit(quiet, scans / "closed" / "x")
    found = quiet.engine.list(JobQuery(limit=1, descending=False), [str(scans / "closed")])
    assert ([job.id for job in found.jobs], found.total) == ([first], 2)
    assert [job.id for job in quiet.engine.list(None, [str(scans)]).jobs] == [first]
    assert quiet.engine.list().total == 3
    assert quiet.engine.rebuild().jobs == 3
    assert [job.id for job in quiet.engine.list(None, [str(scans / "closed")]).jobs] == [second, first]


def test_a_job_from_before_this_was_noted_may_use_all(quiet: Bench) -> None:
    job, _ = submit(quiet, quiet.settings.work_root / "journal")
    file = quiet.settings.work_root / "jobs" / str(job) / "job.json"
    content = JobFolder(file.parent).read()
    del content["uses"]
    write_json(file, content)
    quiet.engine.rebuild()
    assert set(map(str, quiet.settings.data_roots)) <= set(quiet.engine.show(job).job.uses)


def test_rows_keep_what_is_used(tmp_path: Path, quiet: Bench) -> None:
    job = quiet.engine.show(submit(quiet, quiet.folder / "open" / "x")[0]).job
    (tmp_path / "other").mkdir()
    store = JobStore(open_database(tmp_path / "other"))
    store.put([(job, ""), (job.model_copy(update={"id": 9, "uses": ()}), "")])
    assert store.get(job.id) == job
    assert store.used_by_makers([Path(str(job.output)) / "x"]) == set(job.uses)
    store.remove([job.id])
    assert store.page(JobQuery(), list(job.uses))[1] == 1
    store.close()
