"""Where a registry lies: a folder, or an HTTP(S) address; both give the same bytes, checked alike."""

from __future__ import annotations

import errno
import hashlib
import ipaddress
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol
from urllib.parse import urlsplit

from r2d2.errors import ZooError
from r2d2.zoo.registries.index import FileFacts
from r2d2_base.files import writing, written_beside
from r2d2_base.progress import Watcher

__all__ = ["FolderPlace", "Place", "check_address", "is_address", "is_loopback"]

CHUNK = 1 << 18
SCHEMES = ("http", "https")

Told = Callable[[int], None]
"""Called with the number of bytes of a file that are there."""


class Place(Protocol):
    """What a registry's files are read from, by their paths below it."""

    @property
    def shown(self) -> str:
        """The folder or the address, for messages."""

    def read(self, path: str, limit: int) -> bytes | None:
        """Read a small file; None where there is none.

        Raises:
            ZooError: it has more than ``limit`` bytes, or cannot be had.
        """

    def fetch(self, path: str, facts: FileFacts, target: Path, parts: Path, told: Told) -> None:
        """Write a file, which appears when its size and SHA-256 are right.

        Args:
            path: of the file, below the registry.
            facts: what it must be.
            target: where it appears; its folder is made.
            parts: folder where a begun file may stay, for the next call to go on with.
            told: told how the file comes along.

        Raises:
            ZooError: it is another file than it should be, or cannot be had.
            NoSpaceError, NotWritableError: it cannot be written.
        """


def is_address(location: str) -> bool:
    """Tell an address from a path.

    >>> is_address("https://zoo.example.org/models"), is_address("/srv/zoo"), is_address("file:///srv/zoo")
    (True, False, True)
    """
    return "://" in location


def is_loopback(host: str | None) -> bool:
    """Tell whether a host, as an address has it, is this machine.

    >>> is_loopback("127.0.0.1"), is_loopback("::1"), is_loopback("localhost"), is_loopback("zoo.example.org")
    (True, True, True, False)
    """
    try:
        return host == "localhost" or ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False


def check_address(address: str, *, is_insecure: bool) -> None:
    """Refuse what nothing is fetched from.

    Raises:
        ZooError: another scheme than http and https; plain HTTP to another machine; a password in it.
    """
    try:
        parts = urlsplit(address)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise ZooError(f"{address} is no address ({error}); give one like https://zoo.example.org/models") from error
    if parts.scheme not in SCHEMES or not host:
        raise ZooError(f"{address}: a registry is a folder, or an address that begins with https:// or http://")
    if parts.username is not None or parts.query or parts.fragment:
        raise ZooError(
            f"{parts.scheme}://{host}{parts.path}: an address has no name, password, ? or # in it; what a server asks"
            " for can stand in ~/.netrc"
        )
    if parts.scheme == "http" and not is_loopback(host) and not is_insecure:
        raise ZooError(
            f"{address}: anyone on the way can change what plain HTTP brings; use https://, or --insecure with a --pin"
        )


@dataclass(frozen=True)
class FolderPlace:
    """A registry in a folder."""

    folder: Path
    watcher: Watcher

    @property
    def shown(self) -> str:
        """The folder."""
        return str(self.folder)

    def read(self, path: str, limit: int) -> bytes | None:
        """See `Place`."""
        try:
            with self._open(path) as stream:
                data = stream.read(limit + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _unreadable(self.folder / path, error) from error
        if len(data) > limit:
            raise ZooError(f"{self.folder / path} has more than {limit} bytes; it is not what it should be")
        return data

    def fetch(self, path: str, facts: FileFacts, target: Path, parts: Path, told: Told) -> None:
        """See `Place`."""
        digest, size = hashlib.sha256(), 0
        with writing(target):
            target.parent.mkdir(parents=True, exist_ok=True)
        try:
            stream = self._open(path)
        except OSError as error:
            raise _unreadable(self.folder / path, error) from error
        with stream, written_beside(target) as (beside,), beside.open("xb") as out:
            while chunk := stream.read(min(CHUNK, facts.size + 1 - size)):
                size += len(chunk)
                if size > facts.size:
                    break
                digest.update(chunk)
                out.write(chunk)
                told(size)
                self.watcher.check()
            if size != facts.size or digest.hexdigest() != facts.sha256:
                raise ZooError(f"{self.folder / path} is not the file that the index names; tell who keeps it")

    def _open(self, path: str) -> BinaryIO:
        """Open a file of the registry, and none that a link on its way leads to."""
        descriptor = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            *folders, name = path.split("/")
            for folder in folders:
                below = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=descriptor)
                os.close(descriptor)
                descriptor = below
            return os.fdopen(os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=descriptor), "rb")
        finally:
            os.close(descriptor)


def _unreadable(path: Path, error: OSError) -> ZooError:
    is_link = error.errno in (errno.ELOOP, errno.ENOTDIR)
    reason = "a link is in its way" if is_link else (error.strerror or str(error)).lower()
    return ZooError(f"{path} cannot be read ({reason}); tell who keeps the registry")
