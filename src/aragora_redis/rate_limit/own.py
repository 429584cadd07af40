"""The list of buckets whose subjects have a limit of their own: what is asked of Redis.

A bucket holds its subject's own limit, and is the only place that says whether there is one. To
find those buckets among all, each is listed under its policy before it gets its limit. So what is
listed may have none, which a look at the bucket tells, but whoever has one is listed. Only where a
failover in a Redis Cluster loses the tail of the list and not that of the bucket, it lacks one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from ..errors import UnexpectedReplyError
from ..operation import Fence, Kind, Lane, Operation
from ..scripts.catalog import load
from .gcra import Own
from .operations import micros
from .policy import Rate

DROPPED_AFTER: Final = 60.0
"""Seconds for which a bucket without a limit stays listed: it may be about to get one."""
_TOLD: Final = re.compile(rb"(\d+) (\d+)/(\d+)/(\d+) (.*)", re.DOTALL)


class Listed(NamedTuple):
    """A bucket on the list, where it stands there, and what was told of it."""

    key: bytes
    position: int
    told: bytes

    def given(self, own: Own) -> tuple[float | None, str | None]:
        """When its limit was given (Unix seconds), and by whom, as far as that is known.

        What was told of another limit than it has says nothing: that one was never given.
        """
        found = _TOLD.fullmatch(self.told)
        if found is None:
            return None, None
        since, *limit = (int(part) for part in found.groups()[:4])
        if limit != [own.tokens, own.period_us, own.burst]:
            return None, None
        return since / 1e6, found[5].decode("utf-8", "replace") or None


def listed(
    prefix: str, policy: str, key: bytes, rate: Rate, *, ttl: float | None, actor: str
) -> Operation[None]:
    """List a bucket that is about to get a limit of its own for `ttl` seconds; None for good."""
    # A bucket on another node of a cluster goes by another clock.
    kept = micros(None if ttl is None else ttl + DROPPED_AFTER)
    return Operation(
        kind=Kind.JOIN,
        keys=_keys(prefix, policy),
        args=(key, kept, f"{rate.count}/{rate.period_us}/{rate.burst} {actor}"),
        read=lambda _reply: None,
        script=load("own_listed"),
        fence=Fence.PROBE,
    )


def page(prefix: str, policy: str, after: int, most: int) -> Operation[list[Listed]]:
    """Read at most so many that stand behind a position, those that end first in front."""
    return Operation(
        kind=Kind.READ,
        keys=_keys(prefix, policy),
        args=(after, most),
        read=_read_page,
        script=load("own_page"),
        lane=Lane.BULK,
    )


def dropped(prefix: str, policy: str, keys: Sequence[bytes]) -> Operation[int]:
    """Take buckets off the list that have no limit of their own, unless listed just now."""
    return Operation(
        kind=Kind.CAS,
        keys=_keys(prefix, policy),
        args=(micros(DROPPED_AFTER), *keys),
        read=int,
        script=load("own_dropped"),
        lane=Lane.BULK,
    )


def _keys(prefix: str, policy: str) -> tuple[bytes, bytes]:
    base = f"{prefix}:l:{{own:{policy}}}".encode()
    return base + b":listed", base + b":told"


def _read_page(reply: Any) -> list[Listed]:
    if not isinstance(reply, list):
        raise UnexpectedReplyError(f"a list was answered with {type(reply).__name__}")
    return [Listed(bytes(key), int(position), bytes(told)) for key, position, told in reply]
