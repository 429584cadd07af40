"""`aragora-redis doctor --connect`: how far the way to each server leads.

DNS, TCP, TLS, login, role: one after the other, so that the step that fails is the one to look at.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

import hiredis

from ..address import Address
from ..clock import Clock
from ..errors import LinkDownError, UnexpectedReplyError
from ..link.names import Names
from ..link.pipe import pack
from ..settings import Hosts, names
from ..topology.nodes import NodeStatement, read_nodes
from ..topology.statement import read_replicas, role_fault
from .access import Access
from .asking import SERVERS
from .cluster_view import ClusterWord, listed, view_of
from .report import Status
from .targets import ClusterTarget, SentinelTarget, Target

_NO_CLUSTER = "cluster support disabled"
_ELSEWHERE = "check the address in the settings"


class Step(StrEnum):
    """What has to succeed, in this order."""

    DNS = "DNS"
    TCP = "TCP"
    TLS = "TLS"
    AUTH = "AUTH"
    ROLE = "ROLE"
    INFO = "INFO"
    """The role, where a managed service does not offer ROLE."""
    WRITE = "WRITE"
    """An empty one, where it offers neither."""


_FIXES = {
    Step.DNS: "check the name in the settings, and the resolver of this machine",
    Step.TCP: "start the server, check the port, and what lies between (firewall, NetworkPolicy, "
    "`bind` and `protected-mode` in redis.conf)",
    Step.TLS: f"check {names.TLS_CA}, and whether this port speaks TLS at all",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """The way to one server."""

    server: str
    """What it is: `Sentinel`, `primary`, `replica`, `Redis`, or `node` before that is known."""
    address: Address
    taken: dict[Step, float] = field(default_factory=dict)
    """Seconds that each step took which succeeded."""
    failed: Step | None = None
    why: str = ""
    fix: str = ""
    unseen: str = ""
    """What was not told, and is no fault."""

    def __str__(self) -> str:
        steps = " -> ".join(f"{step} {1000 * took:.1f} ms" for step, took in self.taken.items())
        if self.failed is None:
            more = f"; {self.unseen}" if self.unseen else ""
            return f"{self.server} {self.address}: {steps}{more}"
        done = f"{steps} -> " if steps else ""
        return f"{self.server} {self.address}: {done}{self.failed} fails: {self.why}; {self.fix}"


@dataclass(frozen=True, slots=True)
class ConnectReport:
    """The ways to all servers that matter."""

    ways: tuple[Way, ...]

    def named(self, variable: Callable[[str], str]) -> ConnectReport:
        """The same, with the variables that lead to this Redis; see `Settings.variable`."""
        return ConnectReport(tuple(replace(way, fix=variable(way.fix)) for way in self.ways))

    @property
    def status(self) -> Status:
        """CRITICAL where something cannot be written, WARNING where others are out of reach."""
        if any(way.failed for way in self.ways if way.server in {"primary", "Redis"}):
            return Status.CRITICAL
        if all(way.failed for way in self.ways):
            return Status.CRITICAL
        sentinels = [way for way in self.ways if way.server == "Sentinel"]
        if sentinels and all(way.failed for way in sentinels):
            return Status.CRITICAL
        return Status.WARNING if any(way.failed for way in self.ways) else Status.OK

    @property
    def exit_code(self) -> int:
        """0 OK, 1 WARNING, 2 CRITICAL."""
        return int(self.status)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "status": self.status.name,
            "ways": [
                {
                    "server": way.server,
                    "address": str(way.address),
                    "steps": {step.value: took for step, took in way.taken.items()},
                    "failed": way.failed,
                    "why": way.why or None,
                    "fix": way.fix or None,
                    "unseen": way.unseen or None,
                }
                for way in self.ways
            ],
        }


@dataclass(frozen=True, slots=True)
class _Question:
    """What a server is asked last, to see that it is what it should be."""

    words: tuple[str, ...]
    fault: Callable[[Any], str | None]
    """What is wrong with the answer; None for nothing."""
    step: Step = Step.ROLE


async def check_ways(
    target: Target, *, clock: Clock, deadline: float = 2.0, prefix: str = "aragora"
) -> ConnectReport:
    """Go to every Sentinel and whom one names, to every node of a cluster, or to the one Redis.

    Args:
        target: where settings lead.
        clock: for how long steps take.
        deadline: seconds that the way to one server may take.
        prefix: of this library's keys. Where a managed service tells nobody its role, a key that is
            not there is removed under it.
    """
    go = _Walker(clock, deadline)
    if isinstance(target, ClusterTarget):
        return await _check_cluster(go, target, clock)
    if not isinstance(target, SentinelTarget):
        trial = _Question(("DEL", f"{prefix}:doctor"), lambda _: None, Step.WRITE)
        asked = (_PRIMARY, _REPLICATION, trial)
        return ConnectReport((await go.to("Redis", target.address, target.redis, *asked),))

    def knows(role: Any) -> str | None:
        if role[0] != b"sentinel":
            return f"it is no Sentinel but a {role[0].decode()}"
        if target.master_name.encode() in role[1]:
            return None
        known = ", ".join(name.decode() for name in role[1]) or "none"
        return f"it knows no master named {target.master_name!r} (it knows: {known})"

    access = replace(target.sentinel, setting=target.sentinel_setting)
    ways = list(
        await asyncio.gather(
            *(go.to("Sentinel", at, access, _Question(("ROLE",), knows)) for at in target.sentinels)
        )
    )
    for way in ways:
        if way.failed is None:
            primary, replicas = await go.servers_of(way.address, target)
            if primary is not None:
                named = [("primary", primary, _PRIMARY)]
                named += [("replica", at, _REPLICA) for at in replicas[:SERVERS]]
                ways += await asyncio.gather(
                    *(go.to(kind, at, target.redis, asked) for kind, at, asked in named)
                )
                break
    return ConnectReport(tuple(ways))


async def _check_cluster(go: _Walker, target: ClusterTarget, clock: Clock) -> ConnectReport:
    """Go to the configured nodes, then to those that they name."""
    began = clock.monotonic()
    by_name = target.redis.tls is not None and target.redis.tls.check_hostname
    said: dict[Address, NodeStatement] = {}

    async def visit(at: Address) -> Way:
        def no_cluster(reply: Any) -> str | None:
            try:
                said[at] = read_nodes(reply, asked=at, asked_at=began, by_name=by_name)
            except UnexpectedReplyError as error:
                return str(error)
            return None

        return await go.to("node", at, target.redis, _Question(("CLUSTER", "NODES"), no_cluster))

    ways: dict[Address, Way] = {}
    todo = list(dict.fromkeys(target.nodes))
    while todo := todo[: SERVERS - len(ways)]:
        ways.update(zip(todo, await asyncio.gather(*map(visit, todo)), strict=True))
        named = sorted({at for each in said.values() for at in listed(each)})
        todo = [at for at in named if at not in ways]
    view = view_of({at: ClusterWord(each, "ok", None) for at, each in said.items()})
    kinds = {at: "replica" for holder in view.holders for at in holder.replicas}
    kinds |= {holder.address: "primary" for holder in view.holders}
    return ConnectReport(
        tuple(replace(way, server=kinds.get(at, "node")) for at, way in ways.items())
    )


def _is_primary(role: Any) -> str | None:
    return None if role[0] == b"master" else f"it is a {role[0].decode()}"


def _is_replica(role: Any) -> str | None:
    return None if role[0] == b"slave" else f"it is a {role[0].decode()}"


def _replicates(info: Any) -> str | None:
    told = role_fault(info, guarded=False)
    return None if told is None else told.replace("its role is", "it is a")


_PRIMARY = _Question(("ROLE",), _is_primary)
_REPLICA = _Question(("ROLE",), _is_replica)
_REPLICATION = _Question(("INFO", "replication"), _replicates, Step.INFO)


class _FailedError(Exception):
    def __init__(self, step: Step, why: str, fix: str = "") -> None:
        super().__init__(why)
        self.step = step
        self.why = why
        self.fix = fix or _FIXES.get(step, "")


class _Walker:
    def __init__(self, clock: Clock, deadline: float) -> None:
        self._clock = clock
        self._deadline = deadline

    async def to(
        self,
        server: str,
        address: Address,
        access: Access,
        *questions: _Question,
    ) -> Way:
        """Go there, and ask the first of the questions that is answered at all."""
        taken: dict[Step, float] = {}
        try:
            unseen = await self._walk(address, access, taken, questions)
        except _FailedError as error:
            return Way(
                server=server,
                address=address,
                taken=taken,
                failed=error.step,
                why=error.why,
                fix=error.fix,
            )
        return Way(server=server, address=address, taken=taken, unseen=unseen)

    async def servers_of(
        self, sentinel: Address, target: SentinelTarget
    ) -> tuple[Address | None, list[Address]]:
        """Whom a Sentinel names as the primary, and as its replicas; it has just answered."""
        named: Any = None
        replicas: list[Address] = []
        with contextlib.suppress(_FailedError, OSError, TimeoutError, UnexpectedReplyError):
            async with asyncio.timeout(self._deadline):
                host = await _resolve(sentinel, target.sentinel.hosts)
                talk = await _Talk.begin(
                    Address(host, sentinel.port), target.sentinel.tls, sentinel.host
                )
                try:
                    await _log_in(talk, target.sentinel, target.sentinel_setting)
                    named = await talk.ask(
                        "SENTINEL", "GET-MASTER-ADDR-BY-NAME", target.master_name
                    )
                    said = await talk.ask("SENTINEL", "REPLICAS", target.master_name)
                    replicas = sorted(each.address for each in read_replicas(said))
                finally:
                    await talk.end()
        match named:
            case [bytes() as at, bytes() as port] if port.isdigit() and len(port) <= 5:
                return Address(at.decode("utf-8", "replace"), int(port)), replicas
        return None, []

    async def _walk(
        self,
        address: Address,
        access: Access,
        taken: dict[Step, float],
        questions: Sequence[_Question],
    ) -> str:
        variable = access.setting
        step = Step.DNS
        began = self._clock.monotonic()
        talk: _Talk | None = None

        def done(then: Step) -> None:
            nonlocal step, began
            now = self._clock.monotonic()
            taken[step], began, step = now - began, now, then

        try:
            async with asyncio.timeout(self._deadline):
                host = await _resolve(address, access.hosts)
                done(Step.TCP)
                talk = await _Talk.begin(Address(host, address.port), None, host)
                if access.tls is not None:
                    done(Step.TLS)
                    await talk.end()
                    talk = await _Talk.begin(Address(host, address.port), access.tls, address.host)
                done(Step.AUTH)
                await _log_in(talk, access, variable)
                done(Step.ROLE)
                kept: list[str] = []
                for question in questions:
                    step = question.step
                    reply = await talk.ask(*question.words)
                    if _is_kept(reply):
                        kept.append(question.words[0])
                        continue
                    wrong = _fault(reply, question)
                    if wrong is not None:
                        raise _FailedError(step, *wrong)
                    done(step)
                    return ""
                return f"what it is cannot be asked: it does not permit {', '.join(kept)}"
        except TimeoutError:
            raise _FailedError(step, f"no answer within {self._deadline:g} s") from None
        except ssl.SSLError as error:
            raise _FailedError(Step.TLS, error.reason or str(error)) from None
        except OSError as error:
            why = os.strerror(error.errno) if error.errno else str(error)
            raise _FailedError(step, why) from None
        finally:
            if talk is not None:
                await talk.end()


class _Talk:
    """A connection on which one thing is asked after the other."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._replies = hiredis.Reader(notEnoughData=Ellipsis)

    @classmethod
    async def begin(cls, address: Address, tls: ssl.SSLContext | None, name: str) -> _Talk:
        server_name = name if tls is not None else None
        return cls(*await asyncio.open_connection(*address, ssl=tls, server_hostname=server_name))

    async def ask(self, *words: str) -> Any:
        self._writer.write(pack(words))
        while (reply := self._next()) is Ellipsis:
            data = await self._reader.read(65536)
            if not data:
                raise ConnectionResetError("it closed the connection")
            self._replies.feed(data)
        return reply

    def _next(self) -> Any:
        try:
            return self._replies.gets()
        except Exception as error:  # such as a map whose key is a list
            raise ConnectionError("what it sends is no RESP: it is no Redis") from error

    async def end(self) -> None:
        self._writer.close()
        with contextlib.suppress(OSError, ssl.SSLError, TimeoutError):
            async with asyncio.timeout(0.5):
                await self._writer.wait_closed()


async def _resolve(address: Address, hosts: Hosts | None) -> str:
    try:
        return (await Names(hosts).look_up(address))[0]
    except LinkDownError as error:
        raise _FailedError(Step.DNS, error.message) from None


async def _log_in(talk: _Talk, access: Access, variable: str) -> None:
    fix = f"check {variable}" if access.password is not None else f"set {variable}"
    if access.password is not None:
        user: Sequence[str] = () if access.username is None else (access.username,)
        reply = await talk.ask("AUTH", *user, access.password)
        if isinstance(reply, hiredis.ReplyError):
            raise _FailedError(Step.AUTH, str(reply), fix)
    reply = await talk.ask("PING")
    if isinstance(reply, hiredis.ReplyError) and str(reply).startswith(("NOAUTH", "DENIED")):
        raise _FailedError(Step.AUTH, str(reply), fix)


def _is_kept(reply: Any) -> bool:
    """Whether a server, as a managed service may, keeps a command from its clients."""
    refused = isinstance(reply, hiredis.ReplyError) and _NO_CLUSTER not in str(reply)
    return refused and str(reply).startswith(("NOPERM ", "ERR "))


def _fault(reply: Any, question: _Question) -> tuple[str, str] | None:
    """What is wrong with an answer, and what to do; None for nothing."""
    if isinstance(reply, hiredis.ReplyError):
        if _NO_CLUSTER in str(reply):
            fix = f"check {names.CLUSTER_NODES}, or set ARAGORA_REDIS_URL for a single Redis"
            return "it is no node of a Redis Cluster (cluster-enabled no)", fix
        if str(reply).startswith("READONLY"):
            return "it is a slave", _ELSEWHERE
        return str(reply), "wait until it has loaded, or see its log"
    try:
        why = question.fault(reply)
    except (TypeError, LookupError, AttributeError, ValueError):
        why = "its answer cannot be read: it is no Redis"
    return None if why is None else (why, _ELSEWHERE)
