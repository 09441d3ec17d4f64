"""An alert as JSON, posted to a server; no redirect is followed, no proxy asked, and no answer read but its status."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import ssl
import time
from urllib.parse import urlsplit

from r2d2.monitoring.alerts.sending.connection import connected
from r2d2.monitoring.alerts.sending.message import Message, NotTakenError
from r2d2.monitoring.alerts.sending.settings import Webhook

__all__ = ["post", "signature"]

TIMEOUT_S = 10.0
_PASSING = (408, 425, 429)


def post(webhook: Webhook, message: Message, *, is_private_allowed: bool) -> None:
    """Send a message.

    Args:
        webhook: where to.
        message: what is sent.
        is_private_allowed: see `connected`.

    Raises:
        NotTakenError: it was not taken.
    """
    body = message.model_dump_json().encode()
    stamp = str(int(time.time()))
    headers = {"Content-Type": "application/json", "User-Agent": "R2D2", "X-R2D2-Timestamp": stamp}
    if webhook.secret is not None:
        headers["X-R2D2-Signature"] = signature(webhook.secret.get_secret_value(), stamp, body)
    try:
        status = _status(webhook, body, headers, is_private_allowed)
    except (OSError, http.client.HTTPException) as error:
        raise NotTakenError(_words_of(error)) from None
    if not 200 <= status < 300:
        raise NotTakenError(f"it answers {status}", is_final=status < 500 and status not in _PASSING)


def signature(secret: str, stamp: str, body: bytes) -> str:
    """Sign a body with its time: HMAC with SHA-256 (RFC 2104) over ``TIME.BODY``.

    >>> signature("0123456789abcdef", "1", b"{}")[:15]
    'sha256=2af693cb'
    """
    return "sha256=" + hmac.new(secret.encode(), stamp.encode() + b"." + body, hashlib.sha256).hexdigest()


def _status(webhook: Webhook, body: bytes, headers: dict[str, str], is_private_allowed: bool) -> int:
    parts = urlsplit(webhook.url.get_secret_value())
    host, is_encrypted = parts.hostname or "", webhook.is_encrypted
    port = parts.port or (443 if is_encrypted else 80)
    link = http.client.HTTPConnection(host, parts.port, timeout=TIMEOUT_S)
    link.default_port = 443 if is_encrypted else 80  # so that the header Host has no port where the URL has none
    plain = connected(host, port, TIMEOUT_S, is_private_allowed=is_private_allowed)
    try:
        link.sock = ssl.create_default_context().wrap_socket(plain, server_hostname=host) if is_encrypted else plain
        link.request("POST", f"{parts.path or '/'}{'?' + parts.query if parts.query else ''}", body, headers)
        return link.getresponse().status
    finally:
        plain.close()
        link.close()


def _words_of(error: Exception) -> str:
    """Say why, without the address."""
    if isinstance(error, TimeoutError):
        return "it does not answer"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({error.verify_message})"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
