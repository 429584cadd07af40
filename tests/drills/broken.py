"""Builds that are broken on purpose, so that the checker can be seen to fail.

Each takes away one rule of docs/protocol.md in a client process, before its subject is made; the
product knows nothing of them.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import hiredis
from msgspec.structs import replace

from aragora_redis.link import durable
from aragora_redis.link.cluster_reach import ClusterReach
from aragora_redis.link.mux import Mux
from aragora_redis.link.pipe import Lost, pack
from aragora_redis.link.standing import Standing
from aragora_redis.operation import Fence, Operation
from aragora_redis.rate_limit.local import LocalLimiter
from aragora_redis.rate_limit.policy import OnOutage
from aragora_redis.rate_limit.share import Share
from aragora_redis.scripts import catalog
from aragora_redis.sessions import operations
from aragora_redis.state.connections import Connections
from aragora_redis.state.rate_limits import decider as limit_decider
from aragora_redis.state.revocations.feed_comparison import Comparison
from aragora_redis.state.revocations.outbox_file import Found, OutboxFile
from aragora_redis.state.revocations.revocations import Revocations
from aragora_redis.state.sessions.store import SessionStore
from aragora_redis.tokens.shard import Plan, Shard
from aragora_redis.topology.endpoint import EndpointPanel


def no_reconciliation() -> None:
    """What a new history lacks is not published again.

    Neither at once nor by comparing: who looks before its era has begun finds itself ahead of Redis
    within one era, and compares.
    """

    def forget(self: Any, _head: Any, **_: Any) -> bool:
        self._ring.retain(())
        self._floors = {}
        return False

    async def keep(*_: Any) -> int:
        return 0

    Shard._collect_lost = forget  # type: ignore[method-assign,assignment]
    Comparison._push = keep  # type: ignore[method-assign,assignment]


def positions_by_id_alone() -> None:
    """A reader goes on from its number, whatever history that belongs to."""

    def on_head(self: Any, head: Any, *, asked_at: Any) -> Plan:
        del asked_at
        if self.position is None:
            return Plan(full=True)
        self.position = head.position._replace(seq=max(self.position.seq, head.position.seq))
        return Plan(full=False)

    on_message = Shard.on_message

    def skip_known(self: Any, position: Any, entries: Any) -> bool:
        if self.position is not None and position.seq <= self.position.seq:
            return True
        return on_message(self, position, entries)

    Shard.on_head = on_head  # type: ignore[method-assign]
    Shard.on_message = skip_known  # type: ignore[method-assign]


def role_with_the_write() -> None:
    """After a silence ROLE is pipelined with the write, instead of asked alone before it."""
    submit = Mux.submit

    def pipelined(self: Any, operation: Operation[Any], deadline: float, **how: Any) -> Any:
        pipe, now = self._pipe, self._clock.monotonic()
        if operation.fence is Fence.PROBE and pipe is not None and self._trust.doubtful(now):

            def judge(reply: Any) -> None:
                if not isinstance(reply, Lost | hiredis.ReplyError) and reply[0] != b"master":
                    pipe.close("it is no primary")

            pipe.send(pack(("ROLE",)), [judge])
            operation = replace(operation, fence=Fence.NONE)
        return submit(self, operation, deadline, **how)

    Mux.submit = pipelined  # type: ignore[method-assign]


def wait_for_nothing() -> None:
    """The primary's word is taken for that of all replicas."""
    wait = durable._wait

    def at_once(required: int) -> Any:
        return replace(wait(required), args=("WAIT", 0, 1), read=lambda _: required)

    durable._wait = at_once


def one_redis_for_all() -> None:
    """Features that have a Redis of their own go to that of the tokens."""

    def of_tokens(self: Connections, _feature: Any) -> Any:
        return self.of_tokens

    Connections.of = of_tokens  # type: ignore[method-assign,assignment]


def refilled_at_a_switch() -> None:
    """The local bucket knows nothing of what Redis has admitted."""
    note = LocalLimiter.note

    def forgetful(self: Any, record: Any, *args: Any, **known: Any) -> None:
        note(self, record, *args, **known)
        record.full_at = 0.0

    LocalLimiter.note = forgetful  # type: ignore[method-assign]
    LocalLimiter.debts = lambda *_: []  # type: ignore[method-assign]


def fallback_at_the_full_limit() -> None:
    """Without Redis every instance admits the whole limit."""
    limit_decider.share_of = lambda *_, **__: Share(1.0)  # type: ignore[attr-defined]


def open_instead_of_closed() -> None:
    """A limit that is to refuse in an outage gives its share of it."""
    limit_decider.OnOutage = SimpleNamespace(FAIL_OPEN=OnOutage.FAIL_CLOSED)  # type: ignore[attr-defined,assignment]


def vouching_when_stale() -> None:
    """Tokens that nothing is known of pass, however long nothing was heard."""
    Revocations.vouch = lambda self, shards: self.require_ready()  # type: ignore[method-assign]  # noqa: ARG005


def copies_although_denied() -> None:
    """Sessions are given from copies, although none are to be."""
    init = SessionStore.__init__

    def lenient(self: Any, *args: Any, deny_on_outage: bool, **given: Any) -> None:
        del deny_on_outage
        init(self, *args, deny_on_outage=False, **given)

    SessionStore.__init__ = lenient  # type: ignore[method-assign]


def no_standing() -> None:
    """A primary that answers is trusted, whoever else may have been made one."""

    async def trust(_self: Any) -> None:
        return None

    Standing._find_doubt = trust  # type: ignore[method-assign,assignment]


def reads_unfenced() -> None:
    """A session is read of any primary that answers, whoever else may have been made one."""
    read = operations.read

    def anywhere(*args: Any, **how: Any) -> Operation[Any]:
        return replace(read(*args, **how), fence=Fence.NONE)

    operations.read = anywhere


def name_not_followed() -> None:
    """Connections stay wherever they led first, whatever the name says by now."""
    EndpointPanel.strays = lambda *_: False  # type: ignore[method-assign]


def moved_not_believed() -> None:
    """A slot's holder is whom the nodes named when they were last asked."""
    redirected = ClusterReach.redirected

    def deaf(self: Any, error: Any) -> bool:
        redirected(self, error)
        self._overrides.clear()
        return False

    ClusterReach.redirected = deaf  # type: ignore[method-assign]


def upsert() -> None:
    """An update sets its fields, whatever was read."""
    _rewrite(
        "session_update",
        "if not known or not untouched then return {'conflict', now} end",
        "",
    )


def trial_calls_without_lease() -> None:
    """Every request for a place gets one."""
    _rewrite("circuit_acquire", ">= tonumber(ARGV[5])", ">= 1000")


def unsafe_replay() -> None:
    """An operation that counts each run is sent again when its outcome is unknown."""
    Operation.replayable = True  # type: ignore[method-assign,assignment]


def outbox_not_adopted() -> None:
    """What instances that died had on disk stays there."""
    OutboxFile.adopt = lambda self: Found()  # type: ignore[method-assign]  # noqa: ARG005


def _rewrite(script: str, old: str, new: str) -> None:
    parse = catalog.parse

    def changed(name: str, source: str) -> catalog.Script:
        if name == script:
            assert old in source
            source = source.replace(old, new)
        return parse(name, source)

    catalog.parse = changed
    catalog.load.cache_clear()
    catalog.all_scripts.cache_clear()


BREAKS: dict[str, Callable[[], None]] = {
    each.__name__: each
    for each in (
        no_reconciliation,
        positions_by_id_alone,
        role_with_the_write,
        wait_for_nothing,
        refilled_at_a_switch,
        fallback_at_the_full_limit,
        one_redis_for_all,
        open_instead_of_closed,
        vouching_when_stale,
        copies_although_denied,
        no_standing,
        reads_unfenced,
        name_not_followed,
        moved_not_believed,
        upsert,
        trial_calls_without_lease,
        unsafe_replay,
        outbox_not_adopted,
    )
}


def apply(name: str) -> None:
    """Break this process."""
    BREAKS[name]()
