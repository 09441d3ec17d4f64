"""The sender as a process of its own: what it costs who started it, and what it leaves."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import psutil
import pytest

from dist_training.record.run_folder import RunFolder
from r2d2.monitoring.companion import companion
from r2d2.monitoring.influx.ledger import read_ledger
from r2d2.monitoring.influx.replay import replay
from r2d2.monitoring.influx.target import ENDING_S, Target
from tests.companions import PATIENCE_S, held, of_module, wait_for
from tests.influx_servers import OK, Asked, hang, misbehaving, needs_victoria, status, victoria
from tests.r2d2.monitoring.influx.run_folders import BEGIN, add_records, add_steps, write_run

MODULE = "r2d2.monitoring.influx.sender"
TOKEN = "s3cret-token"


def asked_of(folder: RunFolder, url: str, token_file: Path | None = None) -> dict[str, object]:
    return {"run": str(folder.path), "target": Target(url, "o", "b", token_file).to_json(), "interval_s": 0.1}


def sender(
    folder: RunFolder, url: str, token_file: Path | None = None
) -> AbstractContextManager[subprocess.Popen[str]]:
    command = [sys.executable, "-P", "-m", MODULE, json.dumps(asked_of(folder, url, token_file))]
    return held(command, env={**os.environ, "OPENBLAS_NUM_THREADS": "1"})


def ended(process: subprocess.Popen[str]) -> tuple[float, str]:
    """Close what holds it; gives the seconds that it takes to end, and what it has said."""
    assert process.stdin is not None and process.stderr is not None
    process.stdin.close()
    begin = time.monotonic()
    process.wait(PATIENCE_S)
    assert process.returncode == 0
    return time.monotonic() - begin, process.stderr.read()


def sent(folder: RunFolder) -> int:
    ledger = read_ledger(folder)
    return 0 if ledger is None else ledger.sent


def test_a_run_is_sent_while_it_goes_on_and_to_its_end(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")
    token_file = tmp_path / "token"
    token_file.write_text(TOKEN)
    token_file.chmod(0o600)
    with misbehaving(OK) as server, sender(folder, server.url, token_file) as process:
        wait_for(lambda: sent(folder) == 143)
        for place in ("cmdline", "environ"):
            assert TOKEN.encode() not in Path(f"/proc/{process.pid}/{place}").read_bytes()
        add_steps(folder, 20, 5)
        wait_for(lambda: sent(folder) == 143 + 38)
        add_steps(folder, 25, 5)
        seconds, said = ended(process)
        assert sent(folder) == len(set(server.lines)) == len(server.lines) == 143 + 2 * 38
        assert {one.token for one in server.asked} == {f"Token {TOKEN}"}
    assert seconds < ENDING_S and said == ""


def drip(handler: BaseHTTPRequestHandler, asked: Asked) -> None:
    while not handler.server.told.is_closing.wait(0.2):  # type: ignore[attr-defined]
        handler.wfile.write(b"H")


def answer_without_end(handler: BaseHTTPRequestHandler, asked: Asked) -> None:
    handler.send_response(500)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    piece = b"100000\r\n" + b" " * 0x100000 + b"\r\n"
    while not handler.server.told.is_closing.is_set():  # type: ignore[attr-defined]
        handler.wfile.write(piece)


@pytest.mark.parametrize("fault", [hang, drip, answer_without_end])
def test_a_server_that_never_answers_holds_up_no_end(
    tmp_path: Path, fault: Callable[[BaseHTTPRequestHandler, Asked], None]
) -> None:
    folder = write_run(tmp_path / "run")
    with misbehaving(fault) as server, sender(folder, server.url) as process:
        wait_for(lambda: server.asked)
        seconds, said = ended(process)
    assert seconds < ENDING_S + 5, "seconds, of which the machine may take some itself"
    assert "82 records wait" in said
    ledger = read_ledger(folder)
    assert ledger is not None and ledger.fault is not None and not ledger.places


def test_a_server_that_is_not_there_holds_up_nothing_at_all(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")
    with misbehaving(OK) as server:
        pass
    with sender(folder, server.url) as process:
        wait_for(lambda: (ledger := read_ledger(folder)) and ledger.fault)
        seconds, said = ended(process)
    assert seconds < ENDING_S
    assert said.count("cannot be reached; the training goes on") == 1 and "'r2d2 monitor replay' sends them" in said


def test_it_is_told_once_that_a_server_is_away_and_that_it_is_back(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")
    answers = [status(429, Retry_After="0.1")] * 2 + [status(503, Retry_After="0.1")] * 2 + [OK]
    with misbehaving(*answers) as server, sender(folder, server.url) as process:
        wait_for(lambda: sent(folder) == 143)
        _, said = ended(process)
    assert [line.count("takes no points") for line in said.splitlines()] == [1, 0]
    assert "takes points again" in said and len(server.asked) == 5


def test_a_killed_sender_is_followed_by_one_that_goes_on(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")
    with misbehaving(OK) as server:
        with sender(folder, server.url) as process:
            wait_for(lambda: sent(folder) == 143)
            process.kill()
        add_steps(folder, 20, 5)
        with sender(folder, server.url) as process:
            wait_for(lambda: sent(folder) == 143 + 38)
            ended(process)
        assert len(server.lines) == len(set(server.lines)) == 143 + 38


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
def test_a_signal_to_the_whole_job_is_not_for_it(tmp_path: Path, number: signal.Signals) -> None:
    folder = write_run(tmp_path / "run")
    with misbehaving(OK) as server, sender(folder, server.url) as process:
        wait_for(lambda: sent(folder) == 143)
        process.send_signal(number)
        add_steps(folder, 20, 1)
        wait_for(lambda: sent(folder) == 153)


def test_a_run_that_is_being_sent_is_not_replayed(tmp_path: Path) -> None:
    from dist_training.errors import RunFolderError

    with misbehaving(OK) as server:
        folder = write_run(tmp_path / "run", influx_url=server.url)
        with sender(folder, server.url):
            wait_for(lambda: sent(folder) == 143)
            with pytest.raises(RunFolderError, match="is being sent by another process"):
                replay(folder.path)


def test_memory_stays_what_it_is_while_a_long_run_is_sent(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")
    with misbehaving(OK) as server, sender(folder, server.url) as process:
        wait_for(lambda: sent(folder) == 143)
        before = psutil.Process(process.pid).memory_full_info().uss
        server.answers[:] = [status(503, Retry_After="0.5"), OK]
        add_steps(folder, 20, 2900)
        wait_for(lambda: sent(folder) == 143 + 7 * 2900 + 3)
        after = psutil.Process(process.pid).memory_full_info().uss
        server.asked.clear()
    assert after - before < 32 * 2**20


def test_who_started_it_waits_seconds_at_most(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")
    with misbehaving(hang) as server:
        with companion(MODULE, asked_of(folder, server.url), ENDING_S + 1):
            (child,) = of_module(MODULE, psutil.Process())
            wait_for(lambda: server.asked)
            begin = time.monotonic()
        assert time.monotonic() - begin < ENDING_S + 5
    assert not child.is_running()


@needs_victoria
def test_a_server_that_goes_and_comes_back_misses_nothing(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", steps=5)
    with victoria(tmp_path / "data") as server, sender(folder, server.url) as process:
        wait_for(lambda: sent(folder) == 5 * 7 + 3)
        server.stop()
        add_records(folder, 5, 10)
        wait_for(lambda: (ledger := read_ledger(folder)) and ledger.fault)
        add_records(folder, 15, 10)
        server.start()
        wait_for(lambda: sent(folder) == 5 * 7 + 3 + 20 * 6)
        _, said = ended(process)
        times = {(name, *sorted(labels)): sorted(values) for (name, labels), values in server.series().items()}
    assert "takes points again" in said
    (loads,) = (values for (name, *_), values in times.items() if name == "host_cpu_percent")
    assert loads == [int(1000 * (BEGIN + at)) for at in range(25)]
    assert sum(name == "work_step" and len(values) == 25 for (name, *_), values in times.items()) == 2
