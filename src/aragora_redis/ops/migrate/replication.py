"""A server's part in replication: what it says of it, and what it is told to be."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from ...address import Address
from ...clock import Clock
from ..access import Access, connected
from ..commands import limited, reason
from ..survey import kept_of
from ..waiting import until

LOOK_EVERY = 0.05
CONNECT_LIMIT = 10.0
"""Seconds that one has to reach whom it is to follow: it tries each second."""
NOBODY = Address("127.0.0.1", 1)
"""Whom a server replicates that only holds what it has: no Redis listens on that port."""
NEVER = "0"
"""A replica-priority with which no Sentinel promotes anybody."""

RedisSettings = Mapping[str, str]


class MoveError(Exception):
    """It cannot go on. The text says what became of the writes."""


@dataclass(frozen=True, slots=True)
class Server:
    """One of the two, and how to log in to it."""

    address: Address
    access: Access

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Redis]:
        """A connection, for as long as the context lasts."""
        async with connected(self.address, self.access) as client:
            yield client


Goal = tuple[str, int]
"""A history, by its id, and how much of it there is."""


@dataclass(frozen=True, slots=True)
class Role:
    """What a server says of its part in replication."""

    primary: bool
    follows: Address | None
    linked: bool
    offset: int
    """How much of the history it has."""
    left: int
    """Bytes of a first copy that are on their way to it."""
    size: int
    """Bytes of that copy, as far as they are known."""
    histories: tuple[str, ...] = ()
    """Ids of the one that it writes or replicates, and of the one before it that it has whole."""

    def has(self, goal: Goal) -> bool:
        """Whether it has all of that. An offset alone counts the bytes of any history."""
        history, offset = goal
        return history in self.histories and self.offset >= offset


async def role_of(server: Server) -> Role:
    """What a server says of its part.

    Raises:
        RedisError, OSError, TimeoutError: it does not say.
    """
    async with server.open() as client:
        info: Any = await limited(client.info("replication"))
    primary = info["role"] == "master"
    return Role(
        primary=primary,
        follows=None if primary else Address(str(info["master_host"]), int(info["master_port"])),
        linked=info.get("master_link_status") == "up",
        offset=int(info["master_repl_offset"] if primary else info["slave_repl_offset"]),
        left=max(int(info.get("master_sync_left_bytes", 0)), 0),
        size=max(int(info.get("master_sync_total_bytes", 0)), 0),
        histories=(str(info["master_replid"]), str(info["master_replid2"])),
    )


async def changed_by(follower: Server, leader: Server, *, promotable: bool = True) -> RedisSettings:
    """The settings of a server that following another one changes, as they are.

    Of a secret only whether there is one: this is written down.

    Raises:
        MoveError: it does not say.
    """
    former: dict[str, str] = {}
    try:
        async with follower.open() as client:
            for name, value in _needed(leader, promotable=promotable).items():
                found: Any = await limited(client.config_get(name))
                if found.get(name, value) != value:
                    former[name] = found[name]
    except (RedisError, OSError, TimeoutError) as error:
        raise MoveError(
            f"{follower.address} does not tell its settings: {reason(error)}"
        ) from error
    if "masterauth" in former:
        own = former["masterauth"] == follower.access.password
        former["masterauth"] = _own_of(follower.access) if own else kept_of(former["masterauth"])
    return former


def _own_of(access: Access) -> str:
    """What is written down of a masterauth that is the password with which we log in there."""
    return f"own:{access.username or ''}"


async def follow(
    follower: Server, leader: Server, *, promotable: bool = True, at: Address | None = None
) -> None:
    """Make one server a replica of another.

    Args:
        follower: who is to replicate.
        leader: whom.
        promotable: whether Sentinels may promote it.
        at: where it looks for the leader; None is where that is.

    Raises:
        MoveError: it refuses.
    """
    where = at or leader.address
    try:
        async with follower.open() as client:
            await _configure(client, _needed(leader, promotable=promotable))
            ask: Any = client.execute_command
            await limited(ask("REPLICAOF", where.host, where.port))
    except (RedisError, OSError, TimeoutError) as error:
        raise MoveError(
            f"{follower.address} cannot be made to follow {leader.address}: {reason(error)}"
        ) from error


async def attach(follower: Server, leader: Server, clock: Clock) -> None:
    """Make one server a replica of another, and see that it comes as far as to be answered.

    Raises:
        MoveError: it refuses, or does not come there; it has what it had.
    """

    async def answered() -> bool:
        with contextlib.suppress(RedisError, OSError, TimeoutError):
            async with follower.open() as client:
                ask: Any = client.execute_command
                said = await limited(ask("ROLE"))
                return said[0] == "slave" and said[3] in {"handshake", "sync", "connected"}
        return False

    await follow(follower, leader)
    if not await until(answered, CONNECT_LIMIT, clock=clock, every=LOOK_EVERY):
        over_tls = ", and trust the authority of its certificate (tls-ca-cert-file)"
        raise MoveError(
            f"{follower.address} does not reach {leader.address}: its log says why. It must be "
            "able to connect there" + (over_tls if leader.access.tls is not None else "")
        )


def _needed(leader: Server, *, promotable: bool) -> dict[str, str]:
    wanted = {
        "masteruser": leader.access.username or "",
        "masterauth": leader.access.password or "",
        "tls-replication": "yes" if leader.access.tls is not None else "no",
    }
    return wanted if promotable else wanted | {"replica-priority": NEVER}


async def stand_alone(server: Server) -> None:
    """Make a server a primary; it keeps what it has.

    Raises:
        RedisError, OSError, TimeoutError: it may not have been done.
    """
    async with server.open() as client:
        ask: Any = client.execute_command
        await limited(ask("REPLICAOF", "NO", "ONE"))


async def put_back(
    server: Server, settings: RedisSettings, secret: str | None
) -> tuple[bool, list[str]]:
    """Give a server the settings that it had.

    Args:
        server: which.
        settings: what `changed_by` said of it.
        secret: the masterauth that it had; None where nobody tells. Then it is known only if it
            was our own password, and we log in as the same user.

    Returns:
        Whether it took them, so that nothing is to be tried again, and what is left to be done by
        hand, each as a sentence.
    """
    wanted, left, taken = dict(settings), [], True
    if secret is None and wanted.get("masterauth") == _own_of(server.access):
        secret = server.access.password
    if wanted.get("masterauth"):
        del wanted["masterauth"]
        if secret is not None:
            wanted["masterauth"] = secret
        else:
            left.append(f"{server.address} had another masterauth, which is not known here: set it")
    try:
        async with server.open() as client:
            await _configure(client, wanted)
    except (RedisError, OSError, TimeoutError) as error:
        taken = False
        left.append(
            f"settings of {server.address} are not put back: {reason(error)}; run this again"
        )
    await remember(server)
    return taken, left


async def remember(server: Server) -> None:
    """Have a server start again as what it is now, where it has a file to write that to."""
    with contextlib.suppress(RedisError, OSError, TimeoutError):
        async with server.open() as client:
            ask: Any = client.execute_command
            await limited(ask("CONFIG", "REWRITE"))


async def secret_of(servers: Sequence[Server]) -> str | None:
    """What the first of these that has and tells one logs in to its primary with."""
    for server in servers:
        with contextlib.suppress(RedisError, OSError, TimeoutError):
            async with server.open() as client:
                found: Any = await limited(client.config_get("masterauth"))
                if found["masterauth"]:
                    return str(found["masterauth"])
    return None


async def follow_the_promoted(giver: Server, taker: Server) -> None:
    """Have who gave up the writes replicate who took them, now and when either starts again.

    One that is gone by now is found by the next command: what it had, the other has.
    """
    with contextlib.suppress(MoveError):
        await follow(giver, taker, promotable=False)
    for server in (giver, taker):
        await remember(server)


async def promote(taker: Server, *, instead_of: Server) -> None:
    """Have a server take the writes that another one gave up.

    Raises:
        MoveError: it may not have come about.
    """
    try:
        await stand_alone(taker)
    except (RedisError, OSError, TimeoutError) as error:
        raise MoveError(
            f"{instead_of.address} takes no writes any more, and {taker.address} may not yet: "
            f"{reason(error)}; run this again. Where {taker.address} is gone for good, REPLICAOF "
            f"NO ONE on {instead_of.address} has it take them again, with all that it was given"
        ) from error


async def _configure(client: Redis, wanted: RedisSettings) -> None:
    """Set what differs, if the server has it."""
    for name, value in wanted.items():
        found: Any = await limited(client.config_get(name))
        if name not in found or found[name] == value:
            continue
        try:
            await limited(client.config_set(name, value))
        except ResponseError as error:
            raise ResponseError(f"CONFIG SET {name}: {error}") from None
