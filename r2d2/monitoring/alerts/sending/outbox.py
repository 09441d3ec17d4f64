"""What is to be sent, written down until it was: a thread for each server, which nobody waits for.

A server that does not take a message is asked again after 5, 10, 20 ... 300 seconds, for an hour at most; then the
message counts as lost. A message is sent once: one whose answer did not arrive is sent again, under the same id.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from pydantic import BaseModel, Field, ValidationError

from r2d2.monitoring.alerts.sending.mail import send
from r2d2.monitoring.alerts.sending.message import Message, NotTakenError
from r2d2.monitoring.alerts.sending.settings import SendingSettings
from r2d2.monitoring.alerts.sending.webhook import post
from r2d2_base.errors import R2D2Error
from r2d2_base.files import read_json, write_json

__all__ = ["Delivered", "Outbox", "deliveries", "senders_of"]

FIRST_PAUSE_S, LONGEST_PAUSE_S = 5.0, 300.0
GIVE_UP_S = 3600.0
MOST_WAITING = 1000
IDS_KEPT = 1000
_log = logging.getLogger(__name__)

Send = Callable[[Message], None]


class Delivered(BaseModel):
    """What became of the messages for one server.

    Attributes:
        waiting: that it has not taken yet, the oldest first.
        ids: of the last ones that are done with.
        sent: how many it took.
        lost: how many it did not take in the end, or that found no room.
        fault: why it takes none at present; None: it does.
    """

    waiting: list[Message] = Field(default_factory=list)
    ids: list[str] = Field(default_factory=list)
    sent: int = 0
    lost: int = 0
    fault: str | None = None


class _Written(BaseModel):
    schema_version: int = 1
    servers: dict[str, Delivered] = Field(default_factory=dict)


def senders_of(settings: SendingSettings) -> dict[str, Send]:
    """Give what sends to each server, by a name that may be shown."""
    allowed = settings.private
    senders: dict[str, Send] = {}
    for number, webhook in enumerate(settings.webhooks, 1):
        senders[f"webhook {number} ({webhook.host})"] = partial(post, webhook, is_private_allowed=allowed)
    if settings.mail is not None:
        senders[f"mail ({settings.mail.server})"] = partial(send, settings.mail, is_private_allowed=allowed)
    return senders


def deliveries(path: Path) -> Mapping[str, Delivered]:
    """Read what became of messages, by server; nothing where the file is missing or damaged.

    Args:
        path: of the outbox.
    """
    try:
        return _Written.model_validate(read_json(path)).servers
    except (OSError, ValueError, ValidationError):
        return {}


class Outbox:
    """Messages on their way.

    Args:
        path: the file in which they are kept; it may be missing.
        senders: of each server, by its name; what waits for others is dropped.
        first_pause_s, give_up_s: see the constants.
    """

    def __init__(
        self,
        path: Path,
        senders: Mapping[str, Send],
        first_pause_s: float = FIRST_PAUSE_S,
        give_up_s: float = GIVE_UP_S,
    ) -> None:
        self._path, self._senders = path, dict(senders)
        self._first_pause_s, self._give_up_s = first_pause_s, give_up_s
        known = deliveries(path)
        self._servers = {name: known.get(name, Delivered()) for name in senders}
        self._changed = threading.Condition()
        self._is_over = False

    def add(self, message: Message) -> None:
        """Have a message sent to all servers; one that is known already is not."""
        with self._changed:
            for server in self._servers.values():
                if message.id in server.ids or any(one.id == message.id for one in server.waiting):
                    continue
                if len(server.waiting) >= MOST_WAITING:
                    server.lost += 1
                    continue
                server.waiting.append(message)
            self._write()
            self._changed.notify_all()

    @contextmanager
    def sending(self) -> Iterator[None]:
        """Send while the block lasts; what waits then is sent the next time."""
        threads = [
            threading.Thread(target=self._serve, args=(name,), name=f"r2d2-alerts-{name}", daemon=True)
            for name in self._senders
        ]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            with self._changed:
                self._is_over = True
                self._changed.notify_all()

    def _serve(self, name: str) -> None:
        server = self._servers[name]
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._is_over or server.waiting)
                if self._is_over:
                    return
                message = server.waiting[0]
            self._deliver(name, server, message)

    def _deliver(self, name: str, server: Delivered, message: Message) -> None:
        """Send a message, again and again if need be."""
        end, pause_s, is_sent = time.monotonic() + self._give_up_s, self._first_pause_s, False
        while not is_sent:
            fault, is_final = self._fault(name, message)
            is_sent = fault is None
            with self._changed:
                server.fault = fault
                if fault is not None and not is_final and time.monotonic() + pause_s < end:
                    self._write()
                    if self._changed.wait_for(lambda: self._is_over, pause_s):
                        return
                    pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
                    continue
                if fault is not None:
                    _log.warning("alert %s is lost: %s does not take it (%s)", message.id, name, fault)
                server.waiting.pop(0)
                server.ids = [*server.ids, message.id][-IDS_KEPT:]
                server.sent += is_sent
                server.lost += not is_sent
                self._write()
                return

    def _fault(self, name: str, message: Message) -> tuple[str | None, bool]:
        try:
            self._senders[name](message)
        except NotTakenError as error:
            return str(error), error.is_final
        except Exception as error:  # whatever a server does; the others, and the engine, go on
            _log.exception("an alert could not be sent to %s", name)
            return type(error).__name__, False
        return None, False

    def _write(self) -> None:
        """Write down how far it is; on a full disk the memory counts."""
        try:
            write_json(self._path, _Written(servers=self._servers).model_dump(mode="json"), is_durable=True)
        except (OSError, R2D2Error) as error:
            _log.warning("what is to be sent of alerts cannot be written down (%s)", error)
