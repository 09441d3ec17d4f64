"""The engine's socket and the commands that ask it: for its user alone, one shape of errors, one line for a mistake."""

import json
import os
import socket
import stat
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from r2d2.cli import app, main
from r2d2.engine import Change, EngineClient, JobQuery, Submission
from r2d2.engine.changes import CHANGES_NAME, Changes, read_changes
from r2d2.engine.errors import NotRunningError, RefusedError, UnknownJobError
from r2d2.engine.processes import kill
from r2d2.engine.server import serving
from r2d2_base.progress import StopRequest
from tests.r2d2.engine import small_tasks
from tests.r2d2.engine.conftest import Bench

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """An engine that works in a thread, behind its socket; the path of the folder is longer than an address may be."""
    folder = tmp_path_factory.mktemp("engine") / ("long" * 40)
    folder.mkdir()
    made = Bench(folder).open()
    end = StopRequest()
    worker = threading.Thread(target=made.engine.work, args=(end,))
    worker.start()
    with serving(made.engine):
        yield made
    end.make()
    made.engine.wake()
    worker.join()
    kill(made.left())
    made.close()


@pytest.fixture
def client(bench: Bench) -> EngineClient:
    return EngineClient(bench.settings.work_root)


def test_a_connection_that_is_kept_outlives_errors_and_the_engine(tmp_path: Path) -> None:
    bench = Bench(tmp_path).open()
    client = EngineClient(bench.settings.work_root, keeps_connections=True)
    try:
        with serving(bench.engine):
            job = client.submit(Submission(task=small_tasks.NAME, settings={"journal": str(bench.journal)}))
            assert [one.id for one in client.list().jobs] == [job.id]
            kept = client._kept.connection
            assert client.show(job.id).job.id == job.id and client._kept.connection is kept
            with pytest.raises(UnknownJobError):
                client.show(job.id + 1)
            assert client._kept.connection is kept
            assert client.list(JobQuery(states=("running",))).total == 0
        client._kept.connection._socket.shutdown(socket.SHUT_RDWR)  # as where the engine was killed
        with pytest.raises(NotRunningError):
            client.list()
        with serving(bench.engine):
            assert client.list().total == 1
            client._kept.connection._socket.shutdown(socket.SHUT_RDWR)
            assert client.list().total == 1
        client.close()
    finally:
        client.close()
        bench.close()


def test_what_is_asked_again_is_made_once_until_it_changes(tmp_path: Path) -> None:
    bench = Bench(tmp_path).open()
    client = EngineClient(bench.settings.work_root)
    try:
        with serving(bench.engine):
            job = client.submit(Submission(task=small_tasks.NAME, settings={"journal": str(bench.journal)}))
            first = client.list()
            assert client.list() is first and [one.name for one in first.jobs] == [job.name]
            client.change(job.id, Change(name="another"))
            assert [one.name for one in client.list().jobs] == ["another"]
    finally:
        bench.close()


def test_what_has_not_changed_is_not_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(tmp_path).open()
    client = EngineClient(bench.settings.work_root, keeps_connections=True)
    asked: list[str] = []

    def counted(call: str) -> None:
        ours = getattr(bench.engine, call)
        monkeypatch.setattr(bench.engine, call, lambda *all, **named: asked.append(call) or ours(*all, **named))

    def taken(of: EngineClient) -> list[str]:
        asked.clear()
        assert of.list().jobs[0] == of.show(job.id).job
        return list(asked)

    try:
        with serving(bench.engine):
            counted("list")
            counted("show")
            job = bench.submit(small_tasks.EARLY, seconds=600)
            assert taken(client) == ["list", "show"]
            assert taken(client) == []
            client.change(job.id, Change(name="another"))
            assert taken(client) == ["list", "show"] and client.list().jobs[0].name == "another"
            assert taken(EngineClient(bench.settings.work_root)) == ["list", "show"]  # each asks anew, as commands do
            (bench.settings.work_root / CHANGES_NAME).rename(tmp_path / "away")
            assert taken(client) == taken(client) == ["list", "show"]
            (tmp_path / "away").rename(bench.settings.work_root / CHANGES_NAME)
            assert taken(client) == []
            bench.until(lambda: bench.state(job.id) == "running")
            assert taken(client) == taken(client) == ["list", "show"]  # its folder changes, and the index does not
            client.cancel(job.id)
            bench.ended(job.id)
            assert taken(client) == ["list", "show"] and taken(client) == []
            client._kept.connection._socket.shutdown(socket.SHUT_RDWR)  # as where the engine was killed
            assert taken(client) == ["list"]  # to see whether it is there still
    finally:
        client.close()
        bench.close()
        kill(bench.left())


def test_another_engine_has_another_word(tmp_path: Path) -> None:
    words = []
    for _ in range(2):
        bench = Bench(tmp_path).open()
        words.append(read_changes(bench.settings.work_root))
        bench.close()
        assert read_changes(bench.settings.work_root) is None
    first, second = words
    assert first is not None and second is not None and first != second


def test_a_word_that_was_closed_writes_into_no_other_file(tmp_path: Path) -> None:
    changes = Changes(tmp_path)
    number = changes._file
    changes.close()
    other = os.open(tmp_path / "other", os.O_RDWR | os.O_CREAT)
    assert other == number  # as the system gives the lowest that is free
    changes.add()
    os.close(other)
    assert (tmp_path / "other").read_bytes() == b"" and read_changes(tmp_path) is None


def test_a_word_that_cannot_be_written_is_taken_away(tmp_path: Path) -> None:
    with closing(Changes(tmp_path)) as changes:
        before = read_changes(tmp_path)
        changes.add()
        assert read_changes(tmp_path) not in (before, None)
        os.dup2(os.open(tmp_path, os.O_RDONLY), changes._file)  # writing there fails from now on
        changes.add()
        assert read_changes(tmp_path) is None


def said(bench: Bench, *words: str) -> Result:
    root = ["--work-root", str(bench.settings.work_root)]
    return CliRunner().invoke(app, ["jobs", words[0], *root, *words[1:]], catch_exceptions=False)


def exchanged(bench: Bench, sent: bytes) -> dict[str, object]:
    """Send a line as any program can, and read the answer."""
    folder = os.open(bench.settings.work_root, os.O_RDONLY)
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(f"/proc/self/fd/{folder}/engine.sock")
        connection.sendall(sent)
        answer = connection.makefile("rb").readline()
    os.close(folder)
    read: dict[str, object] = json.loads(answer)
    return read


def test_only_its_user_may_use_the_socket(bench: Bench) -> None:
    mode = (bench.settings.work_root / "engine.sock").stat().st_mode
    assert stat.S_ISSOCK(mode) and stat.S_IMODE(mode) == 0o600


def test_from_submission_to_end(bench: Bench) -> None:
    words = [f"journal={bench.journal}", "word=cli", "seconds=0.5"]
    done = said(bench, "submit", small_tasks.NAME, *words, "--tag", "mri", "--name", "a name")
    assert done.exit_code == 0, done.output
    number = done.stdout.strip()
    followed = said(bench, "logs", "-f", number)
    assert followed.exit_code == 0
    assert "at work: cli" in followed.stdout
    assert f"job {number} is completed" in followed.stderr
    shown = said(bench, "show", number).stdout
    assert "a name" in shown and "result word: cli" in shown and "attempt 1: completed (submitted)" in shown
    listed = json.loads(said(bench, "list", "--tag", "mri", "--state", "completed", "--json").stdout)
    assert [str(job["id"]) for job in listed["jobs"]] == [number]
    assert listed["jobs"][0]["by"]
    assert "#mri" in said(bench, "list").stdout


def test_ended_by_hand(bench: Bench) -> None:
    words = [f"journal={bench.journal}", "word=hand", "seconds=600"]
    number = said(bench, "submit", small_tasks.EARLY, *words).stdout.strip()
    assert "changed" not in said(bench, "change", number, "--priority", "3", "--tag", "kept").stderr
    assert said(bench, "show", number).stdout.count("#kept") == 1
    said(bench, "cancel", number, "--reason", "enough")
    followed = said(bench, "logs", "-f", number)
    assert (followed.exit_code, followed.stderr) == (130, f"job {number} is cancelled (enough)\n")
    assert f"job {number} is queued" in said(bench, "resume", number).stderr
    said(bench, "stop", number)
    assert said(bench, "logs", "-f", number).exit_code in (0, 130)  # stopped early, or before it began


def test_the_index_is_made_anew_by_the_engine_that_runs(bench: Bench) -> None:
    count = bench.engine.list(JobQuery(limit=1)).total
    done = CliRunner().invoke(app, ["engine", "rebuild", "--work-root", str(bench.settings.work_root)])
    assert (done.exit_code, done.stderr) == (0, f"the index has {count} jobs\n")


def test_errors_keep_their_kind_and_their_faults(client: EngineClient) -> None:
    with pytest.raises(UnknownJobError, match="there is no job 777"):
        client.show(777)
    with pytest.raises(RefusedError) as caught:
        client.submit(Submission(task=small_tasks.NAME, settings={"seconds": "long", "sec": 1}))
    assert {key for key, _ in caught.value.faults} == {"journal", "seconds", "sec"}
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        (b"no json\n", "no line of JSON"),
        (b"[" * 100_000 + b"\n", "no line of JSON"),
        (b'"text"\n', "no such call"),
        (b'{"call": "__init__"}\n', "no such call"),
        (b'{"call": ["list"]}\n', "no such call"),
        (b'{"call": "show", "arguments": {"job_id": "../1"}}\n', "job_id: must be a whole number"),
        (b'{"call": "show", "arguments": {"job_id": 1, "path": "x"}}\n', "path: unknown key"),
        (b'{"call": "submit", "arguments": {"submission": {"task": "os:system"}}}\n', "not started with"),
        (b'{"call": "submit", "arguments": {"submission": {"task": "train", "by": "me"}}}\n', "submission.by: unknown"),
        (b'{"call": "list", "arguments": {"query": {"limit": 100000}}}\n', "limit: must be at most 1000"),
        (b'{"call": "list", "arguments": {"query": {"sort": "settings; DROP"}}}\n', "sort: must be 'id'"),
    ],
)
def test_requests_that_are_none_get_one_shape_of_answer(bench: Bench, sent: bytes, words: str) -> None:
    answer = exchanged(bench, sent)
    assert set(answer) == {"error"}
    error = answer["error"]
    assert isinstance(error, dict) and set(error) == {"kind", "message", "faults", "exit_code"}
    assert error["kind"] == "refused" and words in error["message"]


def test_where_no_engine_runs_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["r2d2", "jobs", "list", "--work-root", str(tmp_path / "none")])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    line = capsys.readouterr().err
    assert line.count("\n") == 1 and "start it with: r2d2 engine run --work-root" in line
    (tmp_path / "engine.sock").write_text("")
    with pytest.raises(NotRunningError):
        EngineClient(tmp_path).list()
