"""What a user is shown of the device that a session belongs to. Pure.

Both parts come from the client and may be anything, so they are cleaned and cut where they enter.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from enum import StrEnum

import msgspec

DEVICE_LIMIT = 256
"""Characters of a device's description that are kept."""
_V4_PREFIX, _V6_PREFIX = 24, 48


class Remember(StrEnum):
    """How much of a client is stored with its session."""

    FULL = "full"
    NETWORK = "network"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Client:
    """Where a session is used from.

    Attributes:
        device: what the client says that it is, such as a browser's `User-Agent`.
        address: its IP address, or the network of it.
    """

    device: str | None = field(default=None, repr=False)
    address: str | None = field(default=None, repr=False)


UNKNOWN = Client()


def kept(client: Client, how: Remember) -> Client | None:
    """What is stored of a client; None for nothing."""
    if how is Remember.NOTHING:
        return None
    found = Client(_device(client.device), _address(client.address, whole=how is Remember.FULL))
    return found if found != UNKNOWN else None


def write(client: Client | None) -> bytes:
    """The text that is stored."""
    return b"" if client is None else msgspec.json.encode([client.device, client.address])


def read(text: bytes) -> Client:
    """What `write` has written; no client for anything else."""
    if not text:
        return UNKNOWN
    try:
        device, address = msgspec.json.decode(text, type=tuple[str | None, str | None])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return UNKNOWN
    return Client(device, address)


def _device(text: str | None) -> str | None:
    if not isinstance(text, str):
        return None
    # A direction mark or line break would let a client draw over what stands beside it.
    shown = "".join(char if char.isprintable() else " " for char in text[: 4 * DEVICE_LIMIT])
    return " ".join(shown.split())[:DEVICE_LIMIT] or None


def _address(text: str | None, *, whole: bool) -> str | None:
    try:
        address = ipaddress.ip_address(text) if isinstance(text, str) else None
    except ValueError:
        return None
    if address is None:
        return None
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        elif address.scope_id is not None:
            return None
    if whole:
        return str(address)
    prefix = _V4_PREFIX if address.version == 4 else _V6_PREFIX
    return str(ipaddress.ip_network((address, prefix), strict=False))
