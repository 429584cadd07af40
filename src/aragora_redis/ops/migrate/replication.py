"""Move writes from one server to another that replicates it, and lose nothing.

Whoever gives up the writes is made a replica before the other is promoted: a run that is killed in
between leaves nobody who takes writes, and never two. It is a replica of nobody at first, and of
the other one once that has been promoted: one that was killed meanwhile, and comes back as a
primary that lacks the last writes, would take them away from it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from ...address import Address
from ...clock import Clock
from ..access import Access, connected
from ..commands import limited, reason, to_the_end
from ..survey import kept_of
from ..waiting import until

SHORT_PAUSE, LONG_PAUSE = 6.0, 30.0
"""Seconds for which writes are held: until the other has everything, and from then on."""
DRAIN_LIMIT = 4.0
LOOK_EVERY = 0.05
CONNECT_LIMIT = 10.0
"""Seconds that one has to reach whom it is to follow: it tries each second."""
STALL = 60.0
"""Seconds without a byte after which a copy is not waited for any more."""
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


@dataclass(frozen=True, slots=True)
class Copied:
    """How far the first copy is."""

    what: str
    done: int
    total: int
    """0 where it is not known yet."""


OnCopied = Callable[[Copied], None]


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
        former["masterauth"] = kept_of(former["masterauth"])
    return former


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


async def put_back(server: Server, settings: RedisSettings, secret: str | None) -> list[str]:
    """Give a server the settings that it had.

    Args:
        server: which.
        settings: what `changed_by` said of it.
        secret: the masterauth that it had; None where that is not known.

    Returns:
        What is left to be done by hand, each as a sentence.
    """
    wanted, left = dict(settings), []
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
        left.append(
            f"settings of {server.address} are not put back: {reason(error)}; run this again"
        )
    await remember(server)
    return left


async def remember(server: Server) -> None:
    """Have a server start again as what it is now, where it has a file to write that to."""
    with contextlib.suppress(RedisError, OSError, TimeoutError):
        async with server.open() as client:
            ask: Any = client.execute_command
            await limited(ask("CONFIG", "REWRITE"))


async def secret_of(servers: Sequence[Server]) -> str | None:
    """What the first of these that says so logs in to its primary with."""
    for server in servers:
        with contextlib.suppress(RedisError, OSError, TimeoutError):
            async with server.open() as client:
                found: Any = await limited(client.config_get("masterauth"))
                return str(found["masterauth"])
    return None


async def wait_for_copy(
    follower: Server,
    leader: Server,
    fellows: Sequence[Server],
    clock: Clock,
    on_copied: OnCopied,
) -> None:
    """Wait until a server, and those that replicate it, have all that another one has.

    Raises:
        MoveError: it does not get on, or takes writes itself.
    """
    progress = _Progress(clock)
    why = "no byte came"
    while True:
        try:
            goal = (await role_of(leader)).offset
            role = await role_of(follower)
            if role.primary:
                raise MoveError(
                    f"{follower.address} no longer follows {leader.address}: it was restarted or "
                    "promoted, and may have taken writes since"
                )
            if role.follows != leader.address:
                await follow(follower, leader)
            behind = [] if role.linked and role.offset >= goal else [(follower.address, role)]
            for fellow in fellows:
                said = await role_of(fellow)
                if not (said.linked and said.offset >= goal):
                    behind.append((fellow.address, said))
            if not behind:
                return
            on_copied(_copied(role, len(fellows) - len(behind), len(fellows)))
            progress.note(behind)
        except (RedisError, OSError, TimeoutError) as error:
            why = reason(error)
        if (stuck := progress.stuck()) is not None:
            raise MoveError(
                f"{stuck or follower.address} has not got on with what {leader.address} has for "
                f"{STALL:.0f} s: {why}; its log says more. It was left as it is"
            )
        await asyncio.sleep(LOOK_EVERY * 4)


class _Progress:
    """Notices who does not get on."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._heard = clock.monotonic()
        self._moved: dict[Address, tuple[object, float]] = {}

    def note(self, behind: Sequence[tuple[Address, Role]]) -> None:
        """These have not everything yet."""
        now = self._heard = self._clock.monotonic()
        before = self._moved
        self._moved = {}
        for address, role in behind:
            said, since = before.get(address, (None, now))
            self._moved[address] = (role, now if said != role else since)

    def stuck(self) -> Address | str | None:
        """Who has said the same for too long; empty where nobody says anything."""
        now = self._clock.monotonic()
        if now - self._heard > STALL:
            return ""
        return next((at for at, (_, since) in self._moved.items() if now - since > STALL), None)


async def _has(server: Server, goal: int) -> bool:
    role = await role_of(server)
    return role.linked and role.offset >= goal


def _copied(role: Role, have: int, fellows: int) -> Copied:
    if not role.linked:
        return Copied("bytes of a first copy", max(role.size - role.left, 0), role.size)
    return Copied("replicas of the target that have it", have, fellows)


async def hand_over(
    giver: Server,
    taker: Server,
    fellows: Sequence[Server],
    clock: Clock,
    on_goal: Callable[[Goal], None],
) -> float:
    """Have the one that replicates the other take the writes, and the other replicate it.

    Args:
        giver: takes the writes until now.
        taker: is to take them.
        fellows: who replicates the taker, and must have everything as well.
        clock: for how long it takes.
        on_goal: told how much the giver has, before it gives the writes up.

    Returns:
        Seconds for which nobody took writes.

    Raises:
        MoveError: it says where writes are taken now.
    """
    began = clock.monotonic()
    async with giver.open() as client:
        try:
            await limited(client.client_pause(int(SHORT_PAUSE * 1000), all=False))
            role = await role_of(giver)
            await _caught_up((taker, *fellows), role.offset, clock, began)
            await limited(client.client_pause(int(LONG_PAUSE * 1000), all=False))
            on_goal((role.histories[0], role.offset))
        except BaseException as error:
            await to_the_end(_unpause(client))
            if isinstance(error, MoveError | RedisError | OSError | TimeoutError):
                raise MoveError(
                    f"{reason(error)}; {giver.address} goes on taking writes"
                ) from error
            raise
        # Cancelled now, nobody would take writes.
        return await to_the_end(_exchange(client, giver, taker, began, clock))


async def _exchange(
    client: Redis, giver: Server, taker: Server, began: float, clock: Clock
) -> float:
    try:
        await follow(giver, taker, promotable=False, at=NOBODY)
    except MoveError as error:
        await _unpause(client)
        unless = "it goes on taking writes, unless it was told after all: run this again"
        raise MoveError(f"{error}; {unless}") from error
    # Started again from now on it takes no writes either.
    await remember(giver)
    await promote(taker, instead_of=giver)
    took = clock.monotonic() - began
    await follow_the_promoted(giver, taker)
    # Held writes are refused by a replica, which is better than not knowing.
    await _unpause(client)
    return took


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


async def _caught_up(servers: Sequence[Server], goal: int, clock: Clock, began: float) -> None:
    """Wait until these have everything, while the writes that were held at `began` still are."""

    async def have_all() -> bool:
        with contextlib.suppress(RedisError, OSError, TimeoutError):
            return all([await _has(each, goal) for each in servers])
        return False

    if not await until(have_all, DRAIN_LIMIT, clock=clock, every=LOOK_EVERY / 5):
        raise MoveError(f"{servers[0].address} and its replicas did not catch up in time")
    if clock.monotonic() - began > SHORT_PAUSE - 1:
        raise MoveError("the pause was about to end before everything had arrived")


async def _unpause(client: Redis) -> None:
    with contextlib.suppress(RedisError, OSError, TimeoutError):
        await limited(client.client_unpause())


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
