"""Ask every server of a deployment everything, and change nothing.

Who there is to be asked is not known beforehand: the Sentinels name others, servers name those
that they replicate and that replicate them, and nodes of a cluster all of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, TypeVar

from redis.asyncio import Redis
from redis.exceptions import AuthenticationError, RedisError, ResponseError

from ..address import Address
from ..clock import Clock
from ..errors import UnexpectedReplyError
from ..scripts.catalog import commands_used
from ..settings import names
from ..settings.hosts import dialed
from ..state.presence import EXPIRY, presence_keys
from ..topology.nodes import read_nodes
from .access import Access, Failure, Fault, connected, failure
from .cluster_view import ClusterWord, listed, view_of
from .offered import Trial
from .questions import Questions
from .survey import SECRETS, NodeSurvey, SentinelSurvey, Survey, address_of, kept_of, readable
from .targets import ClusterTarget, SentinelTarget, StandaloneTarget, Target

T = TypeVar("T")

SERVERS = 1000
"""How many are asked at most, as a Redis Cluster may have that many: whoever answers nonsense does
not keep us busy."""
_NOBODY = "default"
"""The user of whoever names none."""
_LINK = {"ping", "role", "wait", "subscribe", "evalsha", "script|load", "xrange", "zscan"}
"""What is asked for by itself, beside what the scripts do."""
_CLUSTER = {"cluster|nodes", "asking"}
"""What is asked for beside that in a cluster."""
NO_CLUSTER = Failure(
    Fault.NO_CLUSTER,
    f"is no node of a Redis Cluster (cluster-enabled no); check {names.CLUSTER_NODES}, or set "
    "ARAGORA_REDIS_URL for a single Redis",
)
_NEVER = (
    "flushall", "shutdown", "config|set", "debug", "keys", "acl|setuser", "replicaof",
    "script|flush", "script|kill",
)  # fmt: skip


async def survey(
    target: Target,
    *,
    prefix: str,
    clock: Clock,
    deadline: float = 2.0,
    flush: bool = False,
    details: bool = True,
) -> Survey:
    """Ask all servers that can be found from a target.

    Args:
        target: where to begin.
        prefix: of this library's keys.
        clock: ours, for comparison.
        deadline: seconds that each server has for its answers.
        flush: have each Sentinel write its configuration, the one way to learn whether it can.
        details: ask as well what our user may (a hundred questions to each server), for our own
            instances, and for certificates.
    """
    clustered = isinstance(target, ClusterTarget)
    ask = _Asking(
        target.redis,
        prefix,
        clock,
        deadline,
        clustered=clustered,
        alone=isinstance(target, StandaloneTarget),
        details=details,
    )
    sentinels: dict[Address, SentinelSurvey | Failure] = {}
    if isinstance(target, SentinelTarget):
        sentinels = await _spread(
            target.sentinels,
            lambda at: ask.sentinel(at, target, flush=flush),
            lambda said: map(address_of, said.fellows) if isinstance(said, SentinelSurvey) else (),
        )
        seen = [each for each in sentinels.values() if isinstance(each, SentinelSurvey)]
        first = [at for each in seen for at in (each.named, *map(address_of, each.replicas))]
    elif isinstance(target, ClusterTarget):
        first = list(target.nodes)
    else:
        first = [target.address]
    nodes = await _spread(first, ask.node, _neighbours if sentinels or clustered else lambda _: ())
    if clustered:
        nodes = _once(nodes)
    words = {at: n.word for at, n in nodes.items() if isinstance(n, NodeSurvey) and n.word}
    return Survey(
        master_name=target.master_name if isinstance(target, SentinelTarget) else None,
        sentinels=sentinels,
        nodes=nodes,
        now=clock.wall(),
        cluster=view_of(words) if clustered else None,
    )


async def _spread(
    first: Iterable[Address],
    ask: Callable[[Address], Awaitable[T]],
    others: Callable[[T], Iterable[Address]],
) -> dict[Address, T]:
    """Ask the first, and whomever they name, until nobody new is named; in order of addresses."""
    found: dict[Address, T] = {}
    todo = list(dict.fromkeys(first))
    while todo := todo[: SERVERS - len(found)]:
        answers = await asyncio.gather(*map(ask, todo))
        found.update(zip(todo, answers, strict=True))
        named = (at for answer in answers for at in others(answer))
        todo = [at for at in dict.fromkeys(named) if at not in found]
    return dict(sorted(found.items()))


def _neighbours(node: NodeSurvey | Failure) -> Iterable[Address]:
    if isinstance(node, Failure):
        return ()
    if node.word is not None:
        # Addresses in INFO may be those of sockets; what nodes announce is what clients go by.
        return sorted(listed(node.word.statement))
    return (*([node.source] if node.source else []), *node.followers)


def _once(nodes: Mapping[Address, NodeSurvey | Failure]) -> dict[Address, NodeSurvey | Failure]:
    """Without those that answer under the address that they announce too."""
    said = {
        at: node.word.statement
        for at, node in nodes.items()
        if isinstance(node, NodeSurvey) and node.word is not None
    }
    ids = {at: each.node_id for at, each in said.items()}
    announced = {(row.node_id, row.address) for each in said.values() for row in each.nodes}
    settled = {name for at, name in ids.items() if (name, at) in announced}
    return {
        at: node
        for at, node in nodes.items()
        if at not in ids or ids[at] not in settled or (ids[at], at) in announced
    }


class _Asking:
    """Asks one server at a time."""

    def __init__(
        self,
        access: Access,
        prefix: str,
        clock: Clock,
        deadline: float,
        *,
        clustered: bool,
        alone: bool,
        details: bool,
    ) -> None:
        self._access = access
        keys = presence_keys(prefix)
        self._beats, self._rows = keys.beats, keys.rows
        self._key = f"{prefix}:doctor"
        self._clock = clock
        self._deadline = deadline
        self._clustered = clustered
        self._alone = alone
        self._details = details
        # All that one round of questions hears is of one moment, however long it takes.
        self._began = clock.monotonic()

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
                said = SentinelSurvey(
                    id=await _sentinel(client, "MYID"),
                    named=Address(str(host), int(port)),
                    master=master,
                    replicas=tuple(replicas),
                    fellows=tuple(fellows),
                    info=await client.info(),
                    unsaved=await _unsaved(client) if flush else None,
                )
                said.demand_sense()
                return said
        except ResponseError as error:
            if "No such master" in str(error):
                return Failure(Fault.UNKNOWN_MASTER, f"knows no master named {name!r}")
            return failure(error, target.sentinel, target.sentinel_setting, self._deadline)
        except Exception as error:  # noqa: BLE001 - see `failure`
            return failure(error, target.sentinel, target.sentinel_setting, self._deadline)

    async def node(self, address: Address) -> NodeSurvey | Failure:
        access = self._access
        try:
            async with asyncio.timeout(self._deadline), connected(address, access) as client:
                began, wall = self._clock.monotonic(), self._clock.wall()
                seconds, micros = await client.time()
                took = self._clock.monotonic() - began
                asked = Questions(client, alone=self._alone)
                info: Mapping[str, Any] = await asked.ask("INFO") or {}
                if self._clustered and not info.get("cluster_enabled", 1):
                    return NO_CLUSTER
                word = await self._word(client, address) if self._clustered else None
                config = dict(await asked.ask_if_allowed("CONFIG GET", "*") or {})
                user: str | None = await asked.ask_if_allowed("ACL WHOAMI")
                missing, excessive = await self._rights(client, asked, user)
                trial = await self._role(asked, info)
                said = NodeSurvey(
                    role=trial.role,
                    refusal=trial.refusal,
                    source=_source(info),
                    info=info,
                    config=_without_secrets(config),
                    masterauth_differs=_differs(config, access),
                    skew=seconds + micros / 1e6 - (wall + took / 2),
                    uncertainty=took / 2,
                    user=user,
                    open=await self._open(address) if config or self._details else None,
                    missing=missing,
                    excessive=excessive,
                    rows=await self._presence(asked),
                    beating=await self._beating(asked, seconds),
                    certificate_ends=await self._certificate_ends(address),
                    word=word,
                    forbidden=asked.forbidden,
                )
                said.demand_sense()
                return said
        except UnexpectedReplyError as error:
            return Failure(Fault.REFUSED, f"gives no sensible answer: {error}")
        except Exception as error:  # noqa: BLE001 - see `failure`
            return failure(error, access, access.setting, self._deadline)

    async def _role(self, asked: Questions, info: Mapping[str, Any]) -> Trial:
        """What it is, by the first that tells it."""
        if info:
            return Trial(str(info["role"]))
        said = await asked.ask_if_allowed("ROLE")
        return Trial(str(said[0])) if said else await asked.try_write(self._key)

    async def _open(self, address: Address) -> bool | None:
        """Whether it lets in who gives no password, which no setting of it tells (ACLs)."""
        access = self._access
        if access.password is None:
            return True
        try:
            async with connected(address, Access(tls=access.tls, hosts=access.hosts)) as stranger:
                await stranger.ping()
        except AuthenticationError:
            return False
        except (RedisError, OSError):
            return None
        return True

    async def _word(self, client: Redis, address: Address) -> ClusterWord:
        """What a node says of its cluster.

        Raises:
            UnexpectedReplyError: it cannot be read.
        """
        ask: Any = client.execute_command
        # As two words: redis-py would take the answer to one apart.
        nodes: Any = await ask("CLUSTER", "NODES")
        said = await Questions(client, alone=False).ask_if_allowed("CLUSTER INFO") or {}
        return ClusterWord(
            # Certificates are for names, so nodes are then reached by them.
            read_nodes(
                nodes,
                asked=address,
                asked_at=self._began,
                by_name=self._access.tls is not None and self._access.tls.check_hostname,
            ),
            state=str(said.get("cluster_state", "ok")),
            epoch=int(epoch) if (epoch := said.get("cluster_current_epoch")) else None,
        )

    async def _presence(self, asked: Questions) -> Mapping[str, str]:
        """The rows of our own instances; a node of a cluster has them or refuses."""
        ask = asked.ask_if_allowed
        rows = await ask("HGETALL", self._rows, raw=True) if self._details else None
        return {readable(boot): readable(row) for boot, row in (rows or {}).items()}

    async def _beating(self, asked: Questions, now: int) -> frozenset[str]:
        """Who of them has said lately that it lives; rows of the last to end stay."""
        since = int((now - EXPIRY) * 1000)
        if not self._details:
            return frozenset()
        words = ("ZRANGEBYSCORE", self._beats, str(since), "+inf")
        return frozenset(map(readable, await asked.ask_if_allowed(*words, raw=True) or ()))

    async def _certificate_ends(self, address: Address) -> float | None:
        return await _certificate_ends(address, self._access) if self._details else None

    async def _rights(
        self, client: Redis, asked: Questions, user: str | None
    ) -> tuple[tuple[str, ...], ...]:
        """What our user may not and should, and what it may and should not (`ACL DRYRUN`)."""
        if user is None or not self._details:
            return (), ()
        needed = sorted(_LINK | commands_used() | (_CLUSTER if self._clustered else set()))
        arity = await _arities(asked, (*needed, *_NEVER))
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


async def _arities(asked: Questions, commands: Iterable[str]) -> dict[str, int]:
    found = await asked.ask_if_allowed("COMMAND INFO", *commands)
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
    """Whether it logs in to its primary as we do, and with another password."""
    given = config.get("masterauth")
    ours = (config.get("masteruser") or _NOBODY) == (access.username or _NOBODY)
    return bool(given) and ours and access.password is not None and given != access.password


def _source(info: Mapping[str, Any]) -> Address | None:
    if info.get("role", "master") == "master":
        return None
    return Address(str(info["master_host"]), int(info["master_port"]))


async def _certificate_ends(address: Address, access: Access) -> float | None:
    if access.tls is None:
        return None
    _, writer = await asyncio.open_connection(
        dialed(access.hosts, address.host),
        address.port,
        ssl=access.tls,
        server_hostname=address.host,
    )
    try:
        certificate = writer.get_extra_info("peercert")
        return ssl.cert_time_to_seconds(certificate["notAfter"]) if certificate else None
    finally:
        writer.close()
        with contextlib.suppress(OSError, ssl.SSLError):
            await writer.wait_closed()
