"""Where jobs run: one interface, so that other places than this host can take its shape."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from r2d2.engine.folder import AttemptFolder

__all__ = ["Executor", "StartFault"]


@dataclass(frozen=True)
class StartFault:
    """A start that came to nothing.

    Attributes:
        reason: for the user.
    """

    reason: str


class Executor(Protocol):
    """A place where attempts run, each under a supervisor that has it from its claim to its end.

    The folder of an attempt is all that both sides share. An engine may be gone between any two calls and be another
    one at the next.
    """

    def start(self, attempt: AttemptFolder) -> None:
        """Have a supervisor started, and do not wait for it; where one was started before, the first has the attempt.

        Raises:
            OSError: it could not be started.
        """

    def fault(self, attempt: AttemptFolder) -> StartFault | None:
        """Say why a supervisor that this engine started ended without taking the attempt; None: nothing is known."""

    def is_alive(self, attempt: AttemptFolder) -> bool | None:
        """Tell whether the supervisor that has the attempt still lives; None where that cannot be told."""

    def is_of_this_start(self, attempt: AttemptFolder) -> bool:
        """Tell whether the machine of the attempt has not been started anew since; then another try may go well."""

    def end(self, attempt: AttemptFolder, seconds: float) -> bool:
        """End what a lost supervisor left behind, more firmly with time; True once no process is left.

        Args:
            attempt: whose supervisor is gone.
            seconds: since that was noticed first.
        """

    def tidy(self) -> None:
        """Take leave of what has ended; called now and then."""
