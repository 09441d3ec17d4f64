"""An alert as an e-mail, by a server that takes it for others."""

from __future__ import annotations

import smtplib
import socket
import ssl
from email.message import EmailMessage
from email.utils import formatdate

from r2d2.monitoring.alerts.sending.connection import connected
from r2d2.monitoring.alerts.sending.message import Message, NotTakenError
from r2d2.monitoring.alerts.sending.settings import Mail

__all__ = ["mail", "send"]

TIMEOUT_S = 20.0


def send(server: Mail, message: Message, *, is_private_allowed: bool) -> None:
    """Send a message.

    Args:
        server: by which, and to whom.
        message: what is sent.
        is_private_allowed: see `connected`.

    Raises:
        NotTakenError: nobody gets it.
    """
    try:
        with _Session(server, is_private_allowed) as session:
            if server.security == "starttls":
                session.starttls(context=ssl.create_default_context())
            if server.user:
                session.login(server.user, server.password.get_secret_value())
            session.send_message(mail(server, message))
    except smtplib.SMTPResponseException as error:  # whose text may repeat what was sent
        raise NotTakenError(f"it answers {error.smtp_code}", is_final=error.smtp_code >= 500) from None
    except smtplib.SMTPRecipientsRefused as error:
        is_final = all(code >= 500 for code, _ in error.recipients.values())
        raise NotTakenError("it refuses all who are to get it", is_final=is_final) from None
    except smtplib.SMTPNotSupportedError:
        raise NotTakenError("it speaks no STARTTLS, or knows no log-in", is_final=True) from None
    except TimeoutError:
        raise NotTakenError("it does not answer") from None
    except OSError as error:  # an SMTPException is one
        raise NotTakenError(error.strerror or str(error) or type(error).__name__) from None


def mail(server: Mail, message: Message) -> EmailMessage:
    """Write the e-mail."""
    made = EmailMessage()
    made["Subject"] = f"[R2D2] {message.severity}: job {message.job}, {message.kind}"
    made["From"], made["To"] = server.sender, ", ".join(server.to)
    made["Date"] = formatdate(message.since)
    made["Message-ID"] = f"<{message.id.replace('/', '.')}.{int(message.since)}@{server.sender.partition('@')[2]}>"
    made["Auto-Submitted"] = "auto-generated"
    lines = [f"Job {message.job} ({message.task}): {message.message}", message.advice, message.link or ""]
    made.set_content("\n\n".join(line for line in lines if line) + "\n")
    return made


class _Session(smtplib.SMTP):
    """A session over a connection to an address that was looked at.

    Args:
        server: with whom.
        is_private_allowed: see `connected`.
    """

    def __init__(self, server: Mail, is_private_allowed: bool) -> None:
        self._server, self._is_private_allowed = server, is_private_allowed
        super().__init__(server.server, server.port, timeout=TIMEOUT_S)

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        plain = connected(host, port, timeout, is_private_allowed=self._is_private_allowed)
        if self._server.security != "tls":
            return plain
        return ssl.create_default_context().wrap_socket(plain, server_hostname=host)
