"""Whom a request comes from, behind proxies that say so. Pure, but for a word in the log.

`X-Forwarded-For`, or `Forwarded` where our proxies write that, is written by whoever likes to, so
it counts only from the right, and only as far as each entry was added by a proxy that is trusted.
The other of the two is not read: a proxy passes on what a client has put there.
"""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from ..errors import SettingsError
from ..settings.values import FORWARDED
from .forwarded import forwarded_for

_log = logging.getLogger(__name__)

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
UNIX = "unix"
"""Stands among trusted proxies for whoever connects to a Unix socket, which has no address."""
WORDS: Final = frozenset({UNIX, FORWARDED})
"""What may stand among trusted proxies and is no network."""
_IPV6_PREFIX = 64
"""Bits that one customer is given at least: addresses within it cost nothing."""
NO_ADDRESS = "ip:unknown"
"""Whom requests count for that come from no address; they are one subject, and never uncounted."""


@dataclass(frozen=True, slots=True)
class Proxies:
    """Our own proxies.

    Attributes:
        networks: where they are.
        unix: whether they connect to a Unix socket too.
        field: in which they say for whom they ask.
    """

    networks: tuple[Network, ...] = ()
    unix: bool = False
    field: Literal["X-Forwarded-For", "Forwarded"] = "X-Forwarded-For"


def proxies(texts: Iterable[str]) -> Proxies:
    """The proxies that are named so: networks such as `10.0.0.0/8` or `::1`, `unix`, `forwarded`.

    Raises:
        SettingsError: one is none.
    """
    named = tuple(texts)
    try:
        networks = (text for text in named if text not in WORDS)
        found = tuple(ipaddress.ip_network(text, strict=False) for text in networks)
    except ValueError as error:
        raise SettingsError(
            f"a trusted proxy is no network: {error}",
            remedy=f"write it like 10.0.0.0/8, or {UNIX} for one that connects to a Unix socket; "
            f"{FORWARDED} where all of them write that field",
        ) from None
    return Proxies(found, UNIX in named, "Forwarded" if FORWARDED in named else "X-Forwarded-For")


def client_address(peer: str | None, told: Sequence[str], trusted: Proxies) -> str | None:
    """The rightmost address that no trusted proxy has; None where there is none.

    Args:
        peer: who has connected; None or empty over a Unix socket.
        told: the values of the field that our proxies write, in their order.
        trusted: our own proxies.
    """
    if trusted.field == "Forwarded":
        entries = forwarded_for(told)
    else:
        entries = [entry.strip() for value in told for entry in value.split(",")]
    found = peer or None
    while is_trusted(found, trusted) and entries:
        entry = _without_port(entries.pop())
        if _parsed(entry) is None:
            break
        found = entry
    return found


def subject_of(address: str) -> str:
    """What a limit counts for an address: an IPv6 customer has a whole network."""
    parsed = _parsed(address)
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return f"ip:{parsed.ipv4_mapped}"
        network = ipaddress.ip_network((parsed, _IPV6_PREFIX), strict=False)
        return f"ip:{network}"
    return f"ip:{address}"


class AddressSubjects:
    """Whom requests count for, by where they come from; says once where that cannot be told.

    Args:
        trusted: our own proxies.
    """

    def __init__(self, trusted: Proxies) -> None:
        self._trusted = trusted
        self._told = False

    @property
    def field(self) -> str:
        """In which the proxies say for whom they ask."""
        return self._trusted.field

    def subject(self, peer: str | None, told: Sequence[str]) -> str:
        """The subject of a request, see `client_address`."""
        found = client_address(peer, told, self._trusted)
        if found is not None:
            return subject_of(found)
        if not self._told:
            self._told = True
            _log.warning(
                "requests come from no address, as over a Unix socket, so a limit by address "
                "counts all of them as one; by_address([%r]) trusts the %s of those who connect "
                "there",
                UNIX,
                self.field,
            )
        return NO_ADDRESS


def _without_port(entry: str) -> str:
    """The address of an entry such as `203.0.113.9:5678` or `[2001:db8::1]:443`, as Azure's are."""
    if entry.startswith("["):
        return entry[1:].partition("]")[0]
    host, _, port = entry.partition(":")
    return host if port.isdigit() else entry


def is_trusted(address: str | None, trusted: Proxies) -> bool:
    """Whether an address is one of our own proxies'; None is whoever has none."""
    if address is None:
        return trusted.unix
    parsed = _parsed(address)
    # A socket for both families writes IPv4 as ::ffff:10.0.0.1.
    forms = (parsed, getattr(parsed, "ipv4_mapped", None))
    return any(
        form in network for form in forms if form is not None for network in trusted.networks
    )


def _parsed(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(address)
    except ValueError:
        return None
