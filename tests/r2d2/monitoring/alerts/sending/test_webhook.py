"""Webhooks at real servers: what they get, what their answers mean, and where nothing is sent at all."""

import hashlib
import hmac
import json
import shutil
import socket
from pathlib import Path

import pytest
from pydantic import SecretStr

from r2d2.monitoring.alerts.sending import connection, webhook
from r2d2.monitoring.alerts.sending.connection import NotPublicError, connected
from r2d2.monitoring.alerts.sending.message import NotTakenError
from r2d2.monitoring.alerts.sending.settings import Webhook
from r2d2.monitoring.alerts.sending.webhook import post
from tests.influx_servers import OK, free_port, hang, misbehaving, status
from tests.r2d2.monitoring.alerts.sending.messages import certificate, message

SECRET = "0123456789abcdef-secret"


def hook(url: str, secret: str | None = None) -> Webhook:
    return Webhook(url=SecretStr(url), secret=None if secret is None else SecretStr(secret))


def test_a_server_gets_json_that_is_signed() -> None:
    with misbehaving(OK) as server:
        post(hook(f"{server.url}/hooks/a?b=c", SECRET), message(), is_private_allowed=True)
        post(hook(server.url), message(), is_private_allowed=True)
    first, second = server.asked
    assert first.path == "/hooks/a?b=c" and second.path == "/"
    body = "\n".join(first.lines).encode()
    assert json.loads(body) == {
        "schema_version": 1,
        "id": "7/silent-rank-1-1",
        "job": 7,
        "task": "train",
        "kind": "silent",
        "subject": "rank 1",
        "severity": "critical",
        "since": 1_796_000_000.0,
        "message": "Rank 1 is silent.",
        "advice": "Look at its host.",
        "link": "https://r2d2.example/jobs/7",
        "text": "R2D2 job 7 (train), critical: Rank 1 is silent. Look at its host.",
    }
    stamp = first.headers["X-R2D2-Timestamp"]
    signed = hmac.new(SECRET.encode(), f"{stamp}.".encode() + body, hashlib.sha256).hexdigest()
    assert first.headers["X-R2D2-Signature"] == f"sha256={signed}"
    assert "X-R2D2-Signature" not in second.headers and second.headers["Content-Type"] == "application/json"


@pytest.mark.parametrize(
    ("code", "is_final"),
    [(302, True), (400, True), (401, True), (404, True), (408, False), (429, False), (500, False), (503, False)],
)
def test_what_an_answer_means(code: int, is_final: bool) -> None:
    with misbehaving(OK) as other, misbehaving(status(code, Location=f"{other.url}/")) as server:
        with pytest.raises(NotTakenError, match=f"it answers {code}") as caught:
            post(hook(server.url), message(), is_private_allowed=True)
        assert caught.value.is_final is is_final
        assert len(server.asked) == 1 and other.asked == []  # no redirect is followed


def test_a_server_that_is_not_there_or_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"http://127.0.0.1:{free_port()}/secret-path"
    with pytest.raises(NotTakenError, match="refused") as caught:
        post(hook(url), message(), is_private_allowed=True)
    assert not caught.value.is_final and "secret-path" not in str(caught.value)
    monkeypatch.setattr(webhook, "TIMEOUT_S", 0.3)
    with misbehaving(hang) as server, pytest.raises(NotTakenError, match="it does not answer"):
        post(hook(server.url), message(), is_private_allowed=True)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_a_certificate_must_be_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = certificate(tmp_path)
    with misbehaving(OK, certificate=made) as server:
        with pytest.raises(NotTakenError, match="its certificate is not trusted"):
            post(hook(server.url), message(), is_private_allowed=True)
        assert server.asked == []
        monkeypatch.setenv("SSL_CERT_FILE", str(made[0]))
        post(hook(server.url.replace("127.0.0.1", "localhost")), message(), is_private_allowed=True)
        assert len(server.asked) == 1


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "0.0.0.0", "2130706433", "169.254.169.254"])
def test_nothing_is_sent_to_addresses_that_are_not_public(host: str) -> None:
    with misbehaving(OK) as server:
        url = server.url.replace("127.0.0.1", host)
        with pytest.raises(NotTakenError, match="no public address"):
            post(hook(url), message(), is_private_allowed=False)
        assert server.asked == []


def test_a_name_is_looked_up_once_so_that_it_cannot_change_its_mind(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that is public when it is looked at and private when it is connected to leads nowhere private."""
    asked: list[str] = []

    def answers(host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        asked.append(host)
        address = "192.0.2.1" if len(asked) > 1 else "8.8.8.8"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    reached: list[object] = []

    class Link(socket.socket):
        def connect(self, address: object) -> None:
            reached.append(address)

    monkeypatch.setattr(connection.socket, "getaddrinfo", answers)
    monkeypatch.setattr(connection.socket, "socket", Link)
    connected("rebinding.example", 443, 1.0, is_private_allowed=False).close()
    assert (asked, reached) == (["rebinding.example"], [("8.8.8.8", 443)])
    with pytest.raises(NotPublicError):
        connected("rebinding.example", 443, 1.0, is_private_allowed=False)
    assert len(reached) == 1
