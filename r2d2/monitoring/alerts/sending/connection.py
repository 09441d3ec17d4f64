"""A connection to an address that was looked at: a name is looked up once, and that is what is connected to."""

from __future__ import annotations

import ipaddress
import socket

__all__ = ["NotPublicError", "connected", "is_public"]

_TRANSLATED = ipaddress.ip_network("64:ff9b::/96")
"""IPv6 addresses that a translator makes IPv4 ones of (RFC 6052)."""


class NotPublicError(OSError):
    """A name that leads to addresses of this host or of a local network, where those are not allowed."""


def connected(host: str, port: int, timeout_s: float, *, is_private_allowed: bool) -> socket.socket:
    """Connect to a host.

    Args:
        host: name or address.
        port: there.
        timeout_s: seconds for each attempt, and then for each answer.
        is_private_allowed: whether it may have addresses that are not public.

    Raises:
        NotPublicError: it has none that may be used.
        OSError: it cannot be reached.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError as error:
        raise OSError("its name cannot be one") from error
    fault: OSError | None = None
    for family, kind, protocol, _, address in found:
        if not (is_private_allowed or is_public(str(address[0]))):
            continue
        link = socket.socket(family, kind, protocol)
        try:
            link.settimeout(timeout_s)
            link.connect(address)
            return link
        except OSError as error:
            link.close()
            fault = error
    if fault is None:
        raise NotPublicError("it has no public address; private: true in the file allows others")
    raise fault


def is_public(address: str) -> bool:
    """Tell whether an address is one of the Internet at large, also where IPv6 wraps one of IPv4.

    >>> [is_public(one) for one in ("8.8.8.8", "127.0.0.1", "10.1.2.3", "169.254.169.254", "::ffff:10.0.0.1")]
    [True, False, False, False, False]
    >>> [is_public(one) for one in ("2001:4860:4860::8888", "::1", "fe80::1%eth0", "64:ff9b::7f00:1", "224.0.0.1")]
    [True, False, False, False, False]
    """
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        wrapped = found.ipv4_mapped or found.sixtofour or (found.teredo[1] if found.teredo else None)
        if wrapped is None and found in _TRANSLATED:
            wrapped = ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)
        if wrapped is not None:
            return is_public(str(wrapped))
    return found.is_global and not found.is_multicast
