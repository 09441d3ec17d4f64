"""E-mail by a real server of SMTP: encrypted, with a log-in, refused."""

import contextlib
import email
import email.policy
import shutil
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword
from pydantic import ValidationError

from r2d2.monitoring.alerts.sending.mail import send
from r2d2.monitoring.alerts.sending.message import NotTakenError
from r2d2.monitoring.alerts.sending.settings import Mail
from tests.influx_servers import free_port
from tests.r2d2.monitoring.alerts.sending.messages import certificate, message

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
USER, PASSWORD = "r2d2", "correct horse"


class Inbox:
    """Takes messages, and says what it is told to of recipients and content."""

    def __init__(self) -> None:
        self.got: list[tuple[str, list[str], Any]] = []
        self.recipient = self.content = "250 OK"

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, _: Any) -> str:  # noqa: N802
        if self.recipient.startswith("2"):
            envelope.rcpt_tos.append(address)
        return self.recipient

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        if self.content.startswith("2"):
            content = email.message_from_bytes(envelope.content, policy=email.policy.default)
            self.got.append((envelope.mail_from, envelope.rcpt_tos, content))
        return self.content


def _allowed(server: Any, session: Any, envelope: Any, mechanism: str, told: Any) -> AuthResult:
    is_right = isinstance(told, LoginPassword) and (told.login, told.password) == (USER.encode(), PASSWORD.encode())
    return AuthResult(success=is_right, handled=False)


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return certificate(tmp_path_factory.mktemp("pem"))


@contextlib.contextmanager
def serving(security: str, pem: tuple[Path, Path]) -> Iterator[tuple[Inbox, dict[str, Any]]]:
    inbox, port = Inbox(), free_port()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*pem)
    more: dict[str, Any] = {"authenticator": _allowed}
    if security == "starttls":
        more |= {"tls_context": context, "require_starttls": True, "auth_required": True}
    elif security == "tls":
        more |= {"ssl_context": context, "auth_require_tls": False}
    controller = Controller(inbox, hostname="127.0.0.1", port=port, **more)
    controller.start()
    told = {"server": "localhost", "port": port, "security": security, "sender": "r2d2@hospital.example"}
    try:
        yield inbox, {**told, "to": ["imaging@hospital.example", "night@hospital.example"]}
    finally:
        controller.stop()


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_a_message_arrives_encrypted_and_with_a_log_in(
    security: str, pem: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(security, pem) as (inbox, told):
        server = Mail.model_validate({**told, "user": USER, "password": PASSWORD})
        with pytest.raises(NotTakenError, match="certificate"):
            send(server, message(), is_private_allowed=True)
        monkeypatch.setenv("SSL_CERT_FILE", str(pem[0]))
        send(server, message(), is_private_allowed=True)
        with pytest.raises(NotTakenError, match="it answers 535") as caught:
            wrong = Mail.model_validate({**told, "user": USER, "password": "wrong"})
            send(wrong, message(), is_private_allowed=True)
        assert caught.value.is_final
        with pytest.raises(NotTakenError, match="no public address"):
            send(server, message(), is_private_allowed=False)
    ((sender, recipients, content),) = inbox.got
    assert (sender, recipients) == ("r2d2@hospital.example", ["imaging@hospital.example", "night@hospital.example"])
    assert content["Subject"] == "[R2D2] critical: job 7, silent"
    assert content["Message-ID"] == "<7.silent-rank-1-1.1796000000@hospital.example>"
    text = content.get_content().replace("\r\n", "\n")
    assert text == "Job 7 (train): Rank 1 is silent.\n\nLook at its host.\n\nhttps://r2d2.example/jobs/7\n"


@pytest.mark.parametrize(
    ("where", "answer", "is_final"),
    [
        ("recipient", "550 no such mailbox", True),
        ("recipient", "450 come later", False),
        ("content", "552 too large", True),
        ("content", "451 come later", False),
    ],
)
def test_what_an_answer_means(where: str, answer: str, is_final: bool, pem: tuple[Path, Path]) -> None:
    with serving("none", pem) as (inbox, told):
        setattr(inbox, where, answer)
        with pytest.raises(NotTakenError) as caught:
            send(Mail.model_validate(told), message(), is_private_allowed=True)
    assert caught.value.is_final is is_final and inbox.got == []


def test_a_server_without_starttls_gets_nothing(pem: tuple[Path, Path]) -> None:
    with serving("none", pem) as (inbox, told), pytest.raises(NotTakenError, match="no STARTTLS"):
        send(Mail.model_validate({**told, "security": "starttls"}), message(), is_private_allowed=True)
    assert inbox.got == []


def test_a_password_is_never_sent_in_the_clear() -> None:
    told = {"server": "a", "security": "none", "sender": "a@b", "to": ["c@d"], "user": USER, "password": PASSWORD}
    with pytest.raises(ValidationError, match="can be overheard") as caught:
        Mail.model_validate(told)
    assert PASSWORD not in str(caught.value)
