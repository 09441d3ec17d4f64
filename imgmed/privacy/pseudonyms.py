"""Pseudonyms: a keyed hash in the place of whatever names a patient.

Without the key nobody can try names out against the hashes; with it the same patient gets the same pseudonym in
every dataset. Source: HMAC, RFC 2104, with SHA-256.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import stat
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from imgmed.errors import PatientKeyError
from imgmed.privacy.redaction import Redaction
from r2d2_base.errors import OutputExistsError, R2D2Error
from r2d2_base.files import writing, written_beside

__all__ = ["Pseudonyms", "read_patient_key"]

KEY_BYTES = 32
DIGITS = 16  # of a pseudonym: 64 bits, so that a million patients share one with a chance of 3e-8


@dataclass(frozen=True)
class Pseudonyms:
    """Replaces names by pseudonyms; the key is not shown.

    >>> pseudonyms = Pseudonyms(b"k" * 32)
    >>> pseudonyms.of("DOE^JANE") == pseudonyms.of("DOE^JANE") != pseudonyms.of("DOE^JOHN")
    True
    """

    key: bytes = field(repr=False)

    def of(self, name: str) -> str:
        """Return the pseudonym of a patient: "p" and 16 hexadecimal digits."""
        return "p" + hmac.new(self.key, name.encode(), hashlib.sha256).hexdigest()[:DIGITS]

    def redaction(self, patient: str, identity: Iterable[str]) -> Redaction:
        """Return what puts the pseudonym of `patient` wherever a part of the identity stands in a text.

        Args:
            patient: as the source names the patient.
            identity: names, numbers and dates as DICOM writes them ("DOE^JANE", "19700131").

        >>> hidden = Pseudonyms(b"k" * 32).redaction("4711", ["DOE^JANE"]).apply("Doe_Jane/ct.dcm")
        >>> hidden == Pseudonyms(b"k" * 32).of("4711") + "/ct.dcm"
        True
        """
        return Redaction([identity], [self.of(patient)])


def read_patient_key(path: Path) -> bytes:
    """Return the key in `path`; a missing one is drawn and written first, readable by its owner alone.

    Args:
        path: outside of every dataset; its folder is made (mode 0700) where it is missing.

    Raises:
        PatientKeyError: not 32 bytes, or others may read it.
    """
    path = Path(path)
    try:
        with writing(path):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write_new_key(path)
        with path.open("rb") as stream:
            mode = stat.S_IMODE(os.fstat(stream.fileno()).st_mode)
            key = stream.read(KEY_BYTES + 1)
    except R2D2Error as error:
        raise PatientKeyError(f"the key that hides patients' names: {error}") from error
    except OSError as error:
        raise PatientKeyError(
            f"the key that hides patients' names cannot be read from {path} ({error.strerror}); name another file"
        ) from error
    if mode & 0o077:
        raise PatientKeyError(f"{path} may be read by others (mode {mode:04o}); run chmod 600 {path}")
    if len(key) != KEY_BYTES:
        raise PatientKeyError(
            f"{path} holds no key of {KEY_BYTES} bytes; put the right file back, or name another with which"
            " pseudonyms will be new"
        )
    return key


def _write_new_key(path: Path) -> None:
    """Write a key unless there is one; of two processes at once one wins, and no half-written key is seen."""
    if path.exists():
        return
    with suppress(OutputExistsError), written_beside(path, is_durable=True, may_replace=False) as (beside,):
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(secrets.token_bytes(KEY_BYTES))
