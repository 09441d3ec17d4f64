"""Messages to send, and certificates of servers that get them."""

import subprocess
from pathlib import Path

from r2d2.monitoring.alerts.alert import Alert
from r2d2.monitoring.alerts.sending.message import Message, message_of


def message(job: int = 7, number: int = 1) -> Message:
    alert = Alert(
        id=f"silent-rank-1-{number}",
        kind="silent",
        subject="rank 1",
        severity="critical",
        since=1_796_000_000.0,
        message="Rank 1 is silent.",
        advice="Look at its host.",
    )
    return message_of(job, "train", alert, "https://r2d2.example/")


def certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate of this host, and its key."""
    made, key = folder / "certificate.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost", "-keyout", str(key), "-out", str(made)]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    return made, key
