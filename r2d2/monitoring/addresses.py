"""Addresses of servers that a run's figures go to."""

from __future__ import annotations

import ipaddress
from urllib.parse import SplitResult, urlsplit

__all__ = ["address_fault", "is_overheard"]


def address_fault(url: str, name: str, example: str, secret: str) -> str | None:
    """Say what is wrong with an address; None: nothing is.

    Args:
        url: as it was typed.
        name: what the message calls it.
        example: one that works.
        secret: what to do with a name or a password.

    >>> address_fault("influx.example", "influx_url", "https://influx.example:8086", "put it into a file")
    "influx_url must be like https://influx.example:8086; received 'influx.example'"
    """
    parts = _split(url)
    if parts is None or parts.scheme not in ("http", "https") or not parts.hostname or not url.isprintable():
        return f"{name} must be like {example}; received {_without_user(url)!r}"
    if "@" in parts.netloc:
        return f"{name} must hold no name and no password; {secret}"
    if parts.query or parts.fragment or " " in url:
        return f"{name} must end with its port or path; received {url!r}"
    return None


def is_overheard(url: str) -> bool:
    """Tell whether what is sent there passes a network in clear text.

    >>> is_overheard("http://localhost:8086"), is_overheard("http://node1:8086"), is_overheard("https://node1")
    (False, True, False)
    """
    parts = urlsplit(url)
    return parts.scheme == "http" and not _is_loopback(parts.hostname or "")


def _split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises where it is none
    except ValueError:
        return None
    return parts


def _without_user(url: str) -> str:
    """Leave out what may be a password."""
    return url if "@" not in url else f"...@{url.rpartition('@')[2]}"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
