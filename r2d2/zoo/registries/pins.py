"""Pins: what the index of a remote registry must be, or be signed by, for anything to be taken from there."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Callable

from r2d2.errors import ZooError

__all__ = ["LARGEST_SIGNATURE", "SIGNATURE", "check_pin", "parse_pin"]

SIGNATURE = "index.json.sig"
LARGEST_SIGNATURE = 1000
SHA256, ED25519 = "sha256:", "ed25519:"
KEY_BYTES, SIGNATURE_BYTES = 32, 64
DER_OF_KEY = bytes.fromhex("302a300506032b6570032100")
"""What stands before an Ed25519 key in the DER that OpenSSL writes (RFC 8410)."""


def parse_pin(text: str) -> str:
    """Read what a user gives as a pin; give it as it is kept.

    Args:
        text: sha256:HEX of index.json, HEX alone, or ed25519:BASE64 of a public key, raw or as OpenSSL writes it.

    Raises:
        ZooError: it is none of these.

    >>> parse_pin("AB" * 32) == "sha256:" + "ab" * 32
    True
    """
    word = text.strip()
    digits = word.removeprefix(SHA256).lower()
    if re.fullmatch("[0-9a-f]{64}", digits):
        return SHA256 + digits
    if word.startswith(ED25519):
        key = _decoded(word.removeprefix(ED25519)).removeprefix(DER_OF_KEY)
        if len(key) == KEY_BYTES:
            return ED25519 + base64.b64encode(key).decode()
    raise ZooError(
        f"{text!r:.80} is no pin; give sha256:HEX, the 64 digits of index.json's SHA-256, or ed25519:BASE64, a"
        " public key"
    )


def check_pin(pin: str, index: bytes, signature: Callable[[], bytes | None], again: str, origin: str) -> None:
    """Refuse an index that is not the one that is pinned, or is not signed by the key that is.

    Args:
        pin: as `parse_pin` gives it.
        index: the bytes of index.json.
        signature: reads the bytes of index.json.sig; None: there is none.
        again: the command that pins another index, but for the pin.
        origin: where the index is from, for messages.

    Raises:
        ZooError: says how to take the index all the same.
    """
    if pin.startswith(SHA256):
        found = SHA256 + hashlib.sha256(index).hexdigest()
        if found != pin:
            raise ZooError(f"{origin} is not the pinned one; if its keeper says that it changed: {again} --pin {found}")
        return
    from nacl.exceptions import BadSignatureError
    from nacl.signing import VerifyKey

    given = signature()
    if given is None:
        raise ZooError(f"{origin} is not signed ({SIGNATURE} is missing), and its registry is pinned to a key")
    signed = given if len(given) == SIGNATURE_BYTES else _decoded(given.decode("ascii", "replace"))
    try:
        VerifyKey(base64.b64decode(pin.removeprefix(ED25519))).verify(index, signed)
    except (BadSignatureError, ValueError, TypeError) as error:
        raise ZooError(
            f"{origin} is not signed by the pinned key ({SIGNATURE} is of another key or another index); ask its"
            f" keeper, and for a new key: {again} --pin ed25519:KEY"
        ) from error


def _decoded(text: str) -> bytes:
    """What base64 says; nothing where it is none."""
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        return b""
