"""What an error reply of Redis means for the operation that got it. Pure."""

from __future__ import annotations

import re

from ..address import Address
from ..errors import AragoraRedisError, RefusedError, UnexpectedReplyError

_REMEDIES = {
    "NOREPLICAS": "the primary has fewer good replicas than min-replicas-to-write; restore one",
    "OOM": "Redis is at maxmemory; raise it or free memory",
    "READONLY": "this node is a replica; the watcher is looking for the primary",
    "LOADING": "Redis is loading its data; try again shortly",
    "MASTERDOWN": "this replica has lost its primary; the watcher is looking for the new one",
    "MISCONF": "Redis cannot persist; check its disk and log",
    "BUSY": "a script is blocking Redis",
    "NOAUTH": "set ARAGORA_REDIS_PASSWORD",
    "WRONGPASS": "check ARAGORA_REDIS_USERNAME and ARAGORA_REDIS_PASSWORD",
    "NOPERM": "grant this user the command or key named in the message",
    "NOSCRIPT": "",
    "LATE": "the call reached Redis after its deadline",
    "CLUSTERDOWN": "a shard of the cluster has no primary",
    "TRYAGAIN": "",
}

RECONNECT = frozenset({"READONLY", "LOADING", "MASTERDOWN", "NOAUTH", "WRONGPASS", "NOSCRIPT"})
"""Codes after which the connection leads to the wrong node, or has lost its rights or scripts."""


_ANSWERED = "Redis answered with an error: "
_PLAIN_ERROR = f"{_ANSWERED}ERR "

_MICROS = re.compile(r"[0-9]{1,16}")

_INNER = re.compile(r"@user_script: ?\d+: -?(?P<inner>.*)", re.DOTALL)
"""Redis 6.2 tells where in a script a command was refused, before it tells why."""


_REDIRECT = re.compile(r"(?P<slot>[0-9]{1,5}) (?P<host>\S*):(?P<port>[0-9]{1,5})")


_UNKNOWN_HOST = "?"
"""What a server says that is to tell names and has not heard one yet."""


class RedirectError(RefusedError):
    """Another node of the cluster holds the slot (`MOVED`), or has it for this once (`ASK`).

    Attributes:
        address: which one; without a host where the server leaves that out or does not know it.
    """

    def __init__(self, code: str, text: str, slot: int, address: Address) -> None:
        super().__init__(
            code,
            f"another node holds the slot: {text}",
            remedy="no other node is asked unless ARAGORA_REDIS_CLUSTER_MODE=true is set",
        )
        self.slot = slot
        self.address = address


def without_arguments(text: str) -> str:
    """An error's text without the arguments that Redis quotes: a password may be among them."""
    return text.partition(", with args")[0]


def classify(text: str) -> AragoraRedisError:
    """Turn an error reply into the error its caller gets.

    The listed codes are given before a script has written anything, so the operation did not run.
    Any other error may have come in the middle of one.
    """
    inner = _INNER.match(text)
    text = without_arguments((inner["inner"] if inner else text).strip())
    code, _, rest = text.partition(" ")
    if code in ("MOVED", "ASK") and (found := _REDIRECT.match(rest)):
        host = found["host"].strip("[]")
        address = Address("" if host == _UNKNOWN_HOST else host, int(found["port"]))
        return RedirectError(code, text, int(found["slot"]), address)
    if code in _REMEDIES:
        return RefusedError(code, f"Redis refused the operation: {text}", remedy=_REMEDIES[code])
    return UnexpectedReplyError(
        f"{_ANSWERED}{code} {rest}", remedy="check the server's version and log"
    )


def reconnects(error: AragoraRedisError) -> str | None:
    """The code after which the connection is to be given up, or None."""
    if isinstance(error, RefusedError) and error.code in RECONNECT:
        return error.code
    return None


def unoffered(error: AragoraRedisError) -> bool:
    """Whether the server does not know the command, or keeps it from this user.

    Managed services rename commands away (`ERR unknown command`) or take the right (`NOPERM`); what
    has a code of its own, such as LOADING, is another matter.
    """
    if isinstance(error, RefusedError):
        return error.code == "NOPERM"
    return isinstance(error, UnexpectedReplyError) and error.message.startswith(_PLAIN_ERROR)


def late_by(text: str) -> int | None:
    """The server's clock, in Unix microseconds, that a `LATE` reply carries; else None."""
    code, _, rest = text.partition(" ")
    return int(rest) if code == "LATE" and _MICROS.fullmatch(rest) else None
