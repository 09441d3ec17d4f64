"""Whose process is at the other end of a connection within this host: what loopback alone does not tell."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

__all__ = ["owner_of_peer"]

_ESTABLISHED = "01"
_MAPPED = "0000000000000000FFFF0000" if sys.byteorder == "little" else "00000000000000000000FFFF"
"""Before the IPv4 address that a socket of IPv6 has connected to or from (RFC 4291, 2.5.5.2)."""


def owner_of_peer(peer: tuple[str, int], own: tuple[str, int], net: Path = Path("/proc/net")) -> int | None:
    """Look up which user opened the other end of a connection, in the kernel's tables of sockets (proc(5)).

    Args:
        peer: IPv4 address and port of the other end, as ``accept`` gives them.
        own: those of this end.
        net: the folder that holds the tables.

    Returns:
        The user's number. None where there is no such socket any more, or nobody holds it: the kernel then calls it
        root's.
    """
    there, here = _written(peer), _written(own)
    ends = {(there, here), (_MAPPED + there, _MAPPED + here)}
    for name in ("tcp", "tcp6"):
        try:
            lines = (net / name).read_text(encoding="ascii").splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            _, local, remote, state, _, _, _, owner, _, inode = line.split()[:10]
            if (local, remote) in ends and state == _ESTABLISHED and inode != "0":
                return int(owner)
    return None


def _written(address: tuple[str, int]) -> str:
    """Write address and port as the kernel does: the address as a number in the processor's order of bytes."""
    host, port = address
    return f"{int.from_bytes(socket.inet_aton(host), sys.byteorder):08X}:{port:04X}"
