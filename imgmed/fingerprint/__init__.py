"""The fingerprint of a prepared dataset: what its cases are like, and what is odd."""

from imgmed.fingerprint.summary import (
    FILE_NAME,
    ChannelSummary,
    Distribution,
    Fingerprint,
    LabelSummary,
    build_fingerprint,
    read_fingerprint,
    write_fingerprint,
)

__all__ = [
    "FILE_NAME",
    "ChannelSummary",
    "Distribution",
    "Fingerprint",
    "LabelSummary",
    "build_fingerprint",
    "read_fingerprint",
    "write_fingerprint",
]
