"""Ask every server of a deployment everything, and change nothing.

Who there is to be asked is not known beforehand: the Sentinels name others, and servers name those
that they replicate and that replicate them.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, TypeVar

from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from ..address import Address
from ..clock import Clock
from ..scripts.catalog import commands_used
from ..settings import names
from ..state.presence import presence_keys
from .access import Access, Failure, Fault, connected, failure
from .survey import SECRETS, NodeSurvey, SentinelSurvey, Survey, address_of, kept_of
from .targets import SentinelTarget, Target

T = TypeVar("T")

SERVERS = 64
"""How many are asked at most: whoever answers nonsense does not keep us busy."""
_LINK = {"ping", "role", "wait", "subscribe", "evalsha", "script|load", "xrange", "zscan"}
"""What is asked for by itself, beside what the scripts do."""
_NEVER = ("flushall", "shutdown", "config|set", "debug", "keys", "acl|setuser", "replicaof")


async def survey(
    target: Target, *, prefix: str, clock: Clock, deadline: float = 2.0, flush: bool = False
) -> Survey:
    """Ask all servers that can be found from a target.

    Args:
        target: where to begin.
        prefix: of this library's keys.
        clock: ours, for comparison.
        deadline: seconds that each server has for its answers.
        flush: have each Sentinel write its configuration, the one way to learn whether it can.
    """
    ask = _Asking(target.redis, prefix, clock, deadline)
    sentinels: dict[Address, SentinelSurvey | Failure] = {}
    if isinstance(target, SentinelTarget):
        sentinels = await _spread(
            target.sentinels,
            lambda at: ask.sentinel(at, target, flush=flush),
            lambda said: map(address_of, said.fellows) if isinstance(said, SentinelSurvey) else (),
        )
        seen = [each for each in sentinels.values() if isinstance(each, SentinelSurvey)]
        first = [at for each in seen for at in (each.named, *map(address_of, each.replicas))]
    else:
        first = [target.address]
    nodes = await _spread(first, ask.node, _neighbours if sentinels else lambda _: ())
    return Survey(
        master_name=target.master_name if isinstance(target, SentinelTarget) else None,
        sentinels=sentinels,
        nodes=nodes,
        now=clock.wall(),
    )


async def _spread(
    first: Iterable[Address],
    ask: Callable[[Address], Awaitable[T]],
    others: Callable[[T], Iterable[Address]],
) -> dict[Address, T]:
    """Ask the first, and whomever they name, until nobody new is named; in order of addresses."""
    found: dict[Address, T] = {}
    todo = list(dict.fromkeys(first))
    while todo and len(found) < SERVERS:
        answers = await asyncio.gather(*map(ask, todo))
        found.update(zip(todo, answers, strict=True))
        named = (at for answer in answers for at in others(answer))
        todo = [at for at in dict.fromkeys(named) if at not in found]
    return dict(sorted(found.items()))


def _neighbours(node: NodeSurvey | Failure) -> Iterable[Address]:
    if isinstance(node, Failure):
        return ()
    return (*([node.source] if node.source else []), *node.followers)


class _Asking:
    """Asks one server at a time."""

    def __init__(self, access: Access, prefix: str, clock: Clock, deadline: float) -> None:
        self._access = access
        self._rows = presence_keys(prefix)[1]
        self._key = f"{prefix}:doctor"
        self._clock = clock
        self._deadline = deadline

    async def sentinel(
        self, address: Address, target: SentinelTarget, *, flush: bool
    ) -> SentinelSurvey | Failure:
        name = target.master_name
        try:
            async with (
                asyncio.timeout(self._deadline),
                connected(address, target.sentinel) as client,
            ):
                master: Any = await client.sentinel_master(name)
                replicas: Any = await client.sentinel_slaves(name)
                fellows: Any = await client.sentinel_sentinels(name)
                host, port = await _sentinel(client, "GET-MASTER-ADDR-BY-NAME", name)
                return SentinelSurvey(
                    id=await _sentinel(client, "MYID"),
                    named=Address(str(host), int(port)),
                    master=master,
                    replicas=tuple(replicas),
                    fellows=tuple(fellows),
                    info=await client.info(),
                    unsaved=await _unsaved(client) if flush else None,
                )
        except ResponseError as error:
            if "No such master" in str(error):
                return Failure(Fault.UNKNOWN_MASTER, f"knows no master named {name!r}")
            return failure(error, target.sentinel, names.SENTINEL_PASSWORD, self._deadline)
        except (RedisError, OSError, ValueError, TypeError, KeyError) as error:
            return failure(error, target.sentinel, names.SENTINEL_PASSWORD, self._deadline)

    async def node(self, address: Address) -> NodeSurvey | Failure:
        access = self._access
        try:
            async with asyncio.timeout(self._deadline), connected(address, access) as client:
                began, wall = self._clock.monotonic(), self._clock.wall()
                seconds, micros = await client.time()
                took = self._clock.monotonic() - began
                info: Any = await client.info()
                config = await _config(client)
                user: str | None = await _allowed(client, "ACL WHOAMI")
                missing, excessive = await self._rights(client, user)
                return NodeSurvey(
                    role=str(info["role"]),
                    source=_source(info),
                    info=info,
                    config=_without_secrets(config),
                    masterauth_differs=_differs(config, access),
                    skew=seconds + micros / 1e6 - (wall + took / 2),
                    uncertainty=took / 2,
                    user=user,
                    missing=missing,
                    excessive=excessive,
                    rows=await _allowed(client, "HGETALL", self._rows) or {},
                    certificate_ends=await _certificate_ends(address, access),
                )
        except (RedisError, OSError, ValueError, TypeError, KeyError) as error:
            return failure(error, access, names.PASSWORD, self._deadline)

    async def _rights(self, client: Redis, user: str | None) -> tuple[tuple[str, ...], ...]:
        """What our user may not and should, and what it may and should not (`ACL DRYRUN`)."""
        if user is None:
            return (), ()
        needed = sorted(_LINK | commands_used())
        arity = await _arities(client, (*needed, *_NEVER))
        missing, excessive = [], []
        for command in arity:
            refused = await self._dry_run(client, user, command, arity[command])
            if refused is None:
                return (), ()
            if refused and command in needed:
                missing.append(command)
            elif not refused and command in _NEVER:
                excessive.append(command)
        return tuple(missing), tuple(excessive)

    async def _dry_run(self, client: Redis, user: str, command: str, arity: int) -> bool | None:
        """Whether a user may not run a command; None where that cannot be asked."""
        words = command.split("|")
        words += [self._key] * (abs(arity) - len(words))
        try:
            ask: Any = client.execute_command
            said = await ask("ACL", "DRYRUN", user, *words)
        except ResponseError:
            return None
        return "no permissions to run" in str(said)


async def _sentinel(client: Redis, *words: str) -> Any:
    ask: Any = client.execute_command
    return await ask(f"SENTINEL {words[0]}", *words[1:])


async def _unsaved(client: Redis) -> str | None:
    try:
        await _sentinel(client, "FLUSHCONFIG")
    except ResponseError as error:
        return str(error)
    return None


async def _allowed(client: Redis, *words: str | bytes) -> Any:
    """The answer, or None where it is refused."""
    ask: Any = client.execute_command
    try:
        return await ask(*words)
    except ResponseError:
        return None


async def _config(client: Redis) -> dict[str, str]:
    return dict(await _allowed(client, "CONFIG GET", "*") or {})


async def _arities(client: Redis, commands: Iterable[str]) -> dict[str, int]:
    found = await _allowed(client, "COMMAND INFO", *commands)
    if not found:
        return {}
    rows = found.values() if isinstance(found, Mapping) else found
    return {
        command: int(row["arity"] if isinstance(row, Mapping) else row[1])
        for command, row in zip(commands, rows, strict=False)
        if row
    }


def _without_secrets(config: Mapping[str, str]) -> dict[str, str]:
    return {name: kept_of(value) if name in SECRETS else value for name, value in config.items()}


def _differs(config: Mapping[str, str], access: Access) -> bool:
    given = config.get("masterauth")
    return bool(given) and access.password is not None and given != access.password


def _source(info: Mapping[str, Any]) -> Address | None:
    if info["role"] == "master":
        return None
    return Address(str(info["master_host"]), int(info["master_port"]))


async def _certificate_ends(address: Address, access: Access) -> float | None:
    if access.tls is None:
        return None
    _, writer = await asyncio.open_connection(*address, ssl=access.tls)
    try:
        certificate = writer.get_extra_info("peercert")
        return ssl.cert_time_to_seconds(certificate["notAfter"]) if certificate else None
    finally:
        writer.close()
        with contextlib.suppress(OSError, ssl.SSLError):
            await writer.wait_closed()
