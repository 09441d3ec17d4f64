"""What becomes of points that a server does not take: none is lost that was not refused, and none waits for ever."""

import shutil
import socket
import subprocess
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from r2d2.monitoring.influx.delivery import MOST_POINTS, Delivery
from r2d2.monitoring.influx.ledger import Ledger, read_ledger
from r2d2.monitoring.influx.target import Target
from r2d2.monitoring.influx.words import told
from r2d2.monitoring.influx.writer import LONGEST_WAIT_S, NotTakenError
from tests.influx_servers import OK, Answer, Asked, Misbehaving, hang, misbehaving, status
from tests.r2d2.monitoring.influx.run_folders import add_records, add_steps, ledger_of, write_run

TIMEOUT_S = 0.5
TOKEN = "s3cret-token"
POINTS = 20 + 1 + 2 + 20 * 6
"""Of 20 steps: steps, an epoch, its labels with a Dice, and of each second a host, a GPU, two workers, two ranks."""


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    file = tmp_path / "token"
    file.write_text(TOKEN)
    file.chmod(0o600)
    return file


def delivery_to(run: Path, server: Misbehaving, token_file: Path | None = None, steps: int = 20) -> Delivery:
    folder = write_run(run, steps)
    target = Target(server.url, "lab", "mri", token_file)
    return Delivery(folder, target, ledger_of(folder, target), TIMEOUT_S)


def send_all(delivery: Delivery) -> Ledger:
    while delivery.send_next() is not None:
        continue
    return delivery.ledger


def cut_off(handler: BaseHTTPRequestHandler, asked: Asked) -> None:
    handler.connection.shutdown(socket.SHUT_RDWR)


def answer_nonsense(handler: BaseHTTPRequestHandler, asked: Asked) -> None:
    handler.wfile.write(b"\x00\xff" * 100)
    handler.close_connection = True


def answer_in_no_letters(handler: BaseHTTPRequestHandler, asked: Asked) -> None:
    handler.wfile.write(b"HTTP/1.1 500 no\r\nContent-Length: 2\r\n\r\n\xff\xfe")


def repeat_the_token(handler: BaseHTTPRequestHandler, asked: Asked) -> None:
    status(401, f'{{"message": "no such token: {asked.token}\\u0007{"x" * 5000}"}}')(handler, asked)


def test_all_is_sent_once_with_the_token_to_the_bucket(tmp_path: Path, token_file: Path) -> None:
    with misbehaving(OK) as server:
        delivery = delivery_to(tmp_path / "run", server, token_file)
        ledger = send_all(delivery)
        assert (ledger.sent, ledger.refused, ledger.united, ledger.fault) == (POINTS, 0, 0, None)
        assert len(server.lines) == len(set(server.lines)) == POINTS
        (asked,) = server.asked
        assert asked.path.startswith("/api/v2/write?") and asked.token == f"Token {TOKEN}"
        assert {"org=lab", "bucket=mri", "precision=us"} <= set(asked.path.partition("?")[2].split("&"))
        add_steps(delivery._folder, 20, 5)
        assert send_all(delivery).sent == POINTS + 5 + 1 + 2 + 5 * 6
        assert len(server.asked[1].lines) == 5 + 1 + 2 + 5 * 6


@pytest.mark.parametrize(
    ("fault", "words", "wait_s"),
    [
        (status(401, '{"message": "unauthorized"}'), "401 .unauthorized", 60),
        (status(403), "403", 60),
        (status(404, '{"message": "bucket not found"}'), "bucket not found", 60),
        (status(429, Retry_After="7"), "429", 7),
        (status(429), "429", None),
        (status(503, Retry_After="999999999"), "503", LONGEST_WAIT_S),
        (status(503, Retry_After="nan"), "503", None),
        (status(500, "<html>"), "500", None),
        (status(408), "408", None),
        (hang, "does not answer", None),
        (cut_off, "Remote end closed|Connection", None),
        (answer_nonsense, "BadStatusLine|Protocol|bad", None),
        (answer_in_no_letters, "UnicodeDecodeError", None),
    ],
)
def test_what_a_server_does_not_take_now_it_takes_later(
    tmp_path: Path, fault: Answer, words: str, wait_s: float | None
) -> None:
    with misbehaving(fault, OK) as server:
        delivery = delivery_to(tmp_path / "run", server)
        with pytest.raises(NotTakenError, match=words) as caught:
            delivery.send_next()
        assert caught.value.wait_s == wait_s
        known = read_ledger(delivery._folder)
        assert known is not None and known.sent == 0 and not known.places and known.fault == str(caught.value)
        assert f"wait ({known.fault}); 'r2d2 monitor replay' sends them" in str(told(delivery._folder.path))
        ledger = send_all(delivery)
        assert (ledger.sent, ledger.refused, ledger.fault) == (POINTS, 0, None)
        assert sorted(server.asked[-1].lines) == sorted(server.asked[0].lines)


def test_a_date_to_try_again_at(tmp_path: Path) -> None:
    import time

    with misbehaving(status(503, Retry_After=formatdate(time.time() + 100, usegmt=True))) as server:
        with pytest.raises(NotTakenError) as caught:
            delivery_to(tmp_path / "run", server).send_next()
        assert caught.value.wait_s is not None and 60 < caught.value.wait_s <= 100


def test_nobody_listens(tmp_path: Path) -> None:
    with misbehaving(OK) as server:
        delivery = delivery_to(tmp_path / "run", server)
    with pytest.raises(NotTakenError, match="cannot be reached"):
        delivery.send_next()


def test_the_token_is_not_said_nor_written_whatever_a_server_repeats(tmp_path: Path, token_file: Path) -> None:
    with misbehaving(repeat_the_token) as server:
        delivery = delivery_to(tmp_path / "run", server, token_file)
        with pytest.raises(NotTakenError, match="no such token") as caught:
            delivery.send_next()
    assert TOKEN not in str(caught.value) and len(str(caught.value)) < 300 and str(caught.value).isprintable()
    for path in (tmp_path / "run").rglob("*"):
        assert path.is_dir() or TOKEN not in path.read_text()


def test_a_token_that_is_changed_is_read_anew(tmp_path: Path, token_file: Path) -> None:
    with misbehaving(status(401), OK) as server:
        delivery = delivery_to(tmp_path / "run", server, token_file)
        with pytest.raises(NotTakenError):
            delivery.send_next()
        token_file.write_text("another")
        send_all(delivery)
        assert [one.token for one in server.asked] == [f"Token {TOKEN}", "Token another"]
        token_file.chmod(0o644)
        delivery._writer.close()
        add_steps(delivery._folder, 20, 1)
        with pytest.raises(NotTakenError, match="chmod 600"):
            delivery.send_next()


def test_no_other_server_is_told_the_token(tmp_path: Path, token_file: Path) -> None:
    with misbehaving(OK) as other, misbehaving(status(307, Location=f"{other.url}/api/v2/write")) as server:
        delivery = delivery_to(tmp_path / "run", server, token_file)
        with pytest.raises(NotTakenError, match="307"):
            delivery.send_next()
        assert len(server.asked) == 1 and not other.asked


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_a_server_that_is_not_who_it_says_gets_no_token(
    tmp_path: Path, token_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    with misbehaving(OK, certificate=(certificate, key)) as server:
        delivery = delivery_to(tmp_path / "run", server, token_file)
        with pytest.raises(NotTakenError, match="CERTIFICATE_VERIFY_FAILED"):
            delivery.send_next()
        assert not server.asked
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert send_all(delivery).sent == POINTS
        assert server.asked[0].token == f"Token {TOKEN}"


def test_an_idle_connection_that_was_closed_is_no_fault(tmp_path: Path) -> None:
    with misbehaving(OK, cut_off, OK) as server:
        delivery = delivery_to(tmp_path / "run", server)
        send_all(delivery)
        add_steps(delivery._folder, 20, 1)
        assert send_all(delivery).sent == POINTS + 10
        assert len(server.asked) == 3


def at_most(lines: int) -> Answer:
    def answer(handler: BaseHTTPRequestHandler, asked: Asked) -> None:
        taken = len(asked.lines) <= lines
        status(204 if taken else 413)(handler, asked)
        if not taken:
            asked.lines.clear()

    return answer


def test_what_is_too_large_is_divided(tmp_path: Path) -> None:
    with misbehaving(at_most(10)) as server:
        delivery = delivery_to(tmp_path / "run", server)
        assert send_all(delivery).sent == len(set(server.lines)) == len(server.lines) == POINTS
        count = len(server.asked)
        add_steps(delivery._folder, 20, 5)
        send_all(delivery)
        assert all(one.lines for one in server.asked[count:])  # it has learned what is not too large


def test_one_point_that_is_too_large_is_refused_and_counted(tmp_path: Path) -> None:
    with misbehaving(at_most(0)) as server:
        ledger = send_all(delivery_to(tmp_path / "run", server))
    assert (ledger.sent, ledger.refused) == (0, POINTS)
    assert f"refused {POINTS}" in str(told(tmp_path / "run"))


@pytest.mark.parametrize("code", [400, 422])
def test_what_is_refused_is_counted_and_holds_up_nothing(tmp_path: Path, code: int) -> None:
    with misbehaving(status(code, '{"message": "field type conflict"}'), OK) as server:
        delivery = delivery_to(tmp_path / "run", server)
        send_all(delivery)
        add_steps(delivery._folder, 20, 1)
        ledger = send_all(delivery)
    assert (ledger.sent, ledger.refused) == (10, POINTS)
    assert f"has 10 points of this run, and refused {POINTS}." in str(told(tmp_path / "run"))


def test_a_long_run_is_sent_in_pieces(tmp_path: Path) -> None:
    with misbehaving(OK) as server:
        delivery = delivery_to(tmp_path / "run", server, steps=2500)
        send_all(delivery)
        assert max(len(one.lines) for one in server.asked) < MOST_POINTS + 10
        assert len(server.lines) == len(set(server.lines)) == 7 * 2500 + 3


def test_what_was_thinned_before_it_was_sent_is_counted(tmp_path: Path) -> None:
    with misbehaving(OK) as server:
        delivery = delivery_to(tmp_path / "run", server, steps=1)
        folder = delivery._folder
        add_records(folder, 1, 39, most=40)
        send_all(delivery)
        assert delivery.ledger.united == 0
        before = len(server.lines)
        add_records(folder, 40, 10, most=40)  # the tenth is sent, all others were, before it was united with others
        send_all(delivery)
        assert delivery.ledger.united == 0 and len(server.lines) - before == 10 * 6
        assert len(set(server.lines)) == len(server.lines)
        add_records(folder, 50, 100, most=40)
        send_all(delivery)
        assert 0 < delivery.ledger.united < 100 and not delivery.waiting()
        assert "had been united with others before it took them" in str(told(folder.path))


def test_a_ledger_that_is_damaged_or_of_another_run_counts_for_nothing(tmp_path: Path) -> None:
    with misbehaving(OK) as server:
        delivery = delivery_to(tmp_path / "run", server)
        send_all(delivery)
        folder, target = delivery._folder, Target(server.url, "lab", "mri", job="4")
        assert ledger_of(folder, target).sent == POINTS
        assert ledger_of(folder, Target(server.url, "lab", "other")).sent == 0
        (folder.monitoring / "influx.json").write_text('{"schema_version": 1, "url"')
        fresh = ledger_of(folder, target)
        assert (fresh.sent, fresh.job) == (0, "4")
        assert fresh.run == delivery.ledger.run  # by which points that are sent twice are there once
