"""`SharedState`: start the parts of one instance, end them, and say how they are."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
from collections.abc import Callable, Coroutine, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from ..circuit.operations import CircuitKeys
from ..clock import SYSTEM_CLOCK, Clock
from ..errors import SettingsError
from ..events import Events
from ..link.supervision import supervised
from ..operation import Runs
from ..policies import Policies, load_policies
from ..rate_limit.operations import reset_channel
from ..rate_limit.share import FleetSize
from ..settings import Feature, Settings, from_env, names
from ..times import Duration, in_seconds
from ..tokens.entry import Entry
from .differing import Differing
from .ground import Ground
from .life import Life
from .outage_log import OutageLog
from .parts import Faces, Parts
from .policies_watch import PoliciesWatch
from .revocations.pardons import StrayPardons
from .service import Service
from .status import Status, worst_of

if TYPE_CHECKING:
    from .connections import Connections
    from .embedded import Embedded, EmbeddedExecutor
    from .followed import Followed

_log = logging.getLogger(__name__)

CLOSE_LIMIT = 1.0
"""Seconds that is waited at the end for what must not be left undone."""
START_LIMIT = 10.0
"""Seconds that `async with` waits for readiness before it goes on with a warning."""
_inherited: list[object] = []
"""What was started in parents of this process, kept as it is."""


class SharedState:
    """The shared state of a service: rate limits, revoked tokens, sessions and circuits.

    Use it as an async context manager, or call `start` and `close`. One is enough for a process;
    all its methods belong to the event loop in which it was started. Before `start` and after
    `close` all that asks or changes what is shared raises `NotStartedError`, and nothing ran; what
    was begun before, such as a call through a circuit, may still end.

    It may be started again once it was closed, in any event loop, as the tests of a service do: it
    begins like a new instance, and what you hold of it goes on. A process that is forked before the
    start starts it for itself; one that is forked after it is refused until it does.

    Spans of time are given in seconds or as a `timedelta`. What is none, as it is negative or not
    finite, is an `InvalidInputError` that names the parameter, and nothing ran.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        policies: Policies | None = None,
        clock: Clock = SYSTEM_CLOCK,
        events: Events | None = None,
    ) -> None:
        _demand_redis_of_all(settings)
        self.settings = settings
        self.events = events if events is not None else Events()
        self.policies = policies if policies is not None else load_policies(settings.policies)
        self._clock = clock
        self._embedded: Embedded | None = None
        self.embedded: EmbeddedExecutor | None = None
        """What runs operations where there is no Redis."""
        if settings.of(Feature.TOKENS).mode == "embedded":
            from .embedded import Embedded  # noqa: PLC0415 - where there is no Redis only

            self._embedded = Embedded(clock)
            self.embedded = self._embedded.executor
        self._outages = OutageLog(self.events, why=self._down)
        self._end_outages: Callable[[], None] = lambda: None
        self._watch: PoliciesWatch | None = None
        if policies is None and settings.policies is not None:
            self._watch = PoliciesWatch(
                settings.policies,
                current=lambda: self.policies,
                use=self.use_policies,
                events=self.events,
            )
        self._faces = self._make(None)
        faces = self._faces
        self.audit, self.rate_limits, self.tokens = faces.audit, faces.rate_limits, faces.tokens
        self.refresh_tokens, self.sessions = faces.refresh_tokens, faces.sessions
        self.circuits = faces.circuits

    def _make(self, held: Faces | None) -> Faces:
        """Make all that one run of it consists of, in the place of what was there before.

        Two runs have nothing in common but the settings, and the objects that users hold: who has
        not followed Redis for a while knows no more than a new instance, and of two processes with
        one identity the fleet would count one.
        """
        self.boot_id = secrets.token_hex(8)
        self.life = Life()
        self._made_by = os.getpid()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._over = False
        self._ready = False
        self._background: list[asyncio.Task[None]] = []
        embedded = self._embedded
        self._connections: Connections | None = None
        self._redis: Followed | None = None
        """That of the tokens."""
        self._executor: Runs
        if embedded is not None:
            here = self._alone(embedded)
            grounds = dict.fromkeys(Feature, here)
            self._executor, self._shards = here.executor, embedded.shards
        else:
            self._connections = self._connect()
            grounds = {feature: self._connections.of(feature).ground for feature in Feature}
            self._redis = self._connections.of_tokens
            self._executor, self._shards = self._redis.executor, self._redis.feed.shards
        parts = Parts(
            life=self.life,
            settings=self.settings,
            policies=self.policies,
            clock=self._clock,
            events=self.events,
            boot_id=self.boot_id,
            grounds=grounds,
            redis=self._redis,
            embedded=embedded,
            shards=self._shards,
            ready=lambda: self.ready,
            held=held,
        )
        self._outbox = parts.outbox(self._take)
        self.revocations = parts.revocations(self._outbox)
        self._strays = StrayPardons(self._shards, self.revocations.pardons, self.events)
        return parts.faces(self.revocations)

    def _alone(self, embedded: Embedded) -> Ground:
        """What all runs on where there is no Redis."""
        return Ground(
            embedded.executor,
            Service(self._clock, self.events),
            FleetSize(expected=self.settings.expected_instances or 1),
            self._clock.wall,
        )

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Self:
        """Build it from `ARAGORA_*` variables, see docs/ENVIRONMENT.md.

        Raises:
            SettingsError: lists every problem found.
        """
        return cls(from_env(environ))

    def __repr__(self) -> str:
        return f"<SharedState {self.settings.mode} {self.boot_id}>"

    async def __aenter__(self) -> Self:
        self.start()
        try:
            ready = await self.wait_ready(START_LIMIT)
        except BaseException:  # who is cancelled here does not come to leave it
            await self.close()
            raise
        if not ready:
            self.warn_not_ready()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    def start(self) -> None:
        """Connect and follow in the background; returns at once. What is started already goes on.

        Raises:
            RuntimeError: it is being closed, or is in use in another event loop.
        """
        loop = asyncio.get_running_loop()
        ours = self._made_by == os.getpid()
        if not ours and self._loop is not None:
            # Its tasks and connections would complain if they were collected here.
            _inherited.append((self._background, self._connections, self._outbox))
        elif self._loop is not None and not self._over and not self._loop.is_closed():
            if self._loop is not loop:
                raise RuntimeError("the state is in use in another event loop: close it there")
            if not self.life.lives:
                raise RuntimeError("the state is being closed: start it once that has ended")
            return
        if self._over or self._loop is not None or not ours:
            self._make(self._faces)
        self._loop = loop
        self.life.begin()
        self.life.bind()
        for warning in self.settings.warnings:
            _log.warning("%s", warning)
        if self._outbox is not None:
            self._spawn(supervised("the outbox", self._outbox.run))
        self._end_outages()  # of a run that was never closed, as that of a parent is here
        if self._connections is not None:
            self._end_outages = self._outages.listen()
            self._connections.start()
        self._spawn(supervised("pardons", self._strays.run))
        self._spawn(supervised("the ends of sessions", self.sessions.run))
        self._spawn(supervised("the keys of tokens", self.tokens.verification.run))
        self._spawn(supervised("circuits", self.circuits.run))
        self._spawn(supervised("leases", self.rate_limits.run))
        self._spawn(supervised("the record of acts by hand", self.audit.run))
        if self._watch is not None:
            self._spawn(supervised("the policies file", self._watch.run))

    async def close(self) -> None:
        """End all connections and tasks. What lives in the parent of this process stays there."""
        if self._loop is not None and self._made_by != os.getpid():
            return
        self.life.end()
        self._end_outages()
        self._end_outages = lambda: None
        tasks, self._background = self._background, []
        for task in tasks:
            task.cancel()
        try:
            await asyncio.gather(*tasks, return_exceptions=True)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_LIMIT):
                    await asyncio.gather(
                        self.sessions.finish(), self.rate_limits.finish(), self.audit.finish()
                    )
        finally:
            await self._disconnect()

    async def _disconnect(self) -> None:
        try:
            if self._connections is not None:
                await self._connections.close()
                self._warn_of_lost()
        finally:
            try:
                if self._outbox is not None:
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(CLOSE_LIMIT):
                            await self._outbox.close()
            finally:
                self._over = True

    def _warn_of_lost(self) -> None:
        """Say what ends with this process, unless a disk has it."""
        lost = self.revocations.outbox_depth
        if lost and (self._outbox is None or self._outbox.on_disk.waiting):
            _log.error(
                "%d revocations that were acknowledged here alone reached no Redis and end with "
                "this process: %s keeps them on disk",
                lost,
                names.TOKENS_OUTBOX,
            )

    def use_policies(self, policies: Policies) -> None:
        """Put other policies in force: at once, for all that is in use.

        A file that `ARAGORA_POLICIES` names is followed without this.
        """
        self.policies = policies
        self.rate_limits.use(policies.limits)
        self.sessions.use(policies.sessions)
        self.circuits.use(policies)

    def reread_policies(self) -> None:
        """Read the policies file now, as on SIGHUP; a bad one changes nothing."""
        if self._watch is not None:
            self._watch.poke()

    async def wait_ready(self, within: Duration) -> bool:
        """Wait until tokens can be judged; False if they cannot after `within` seconds.

        Raises:
            InvalidInputError: that is no span of time.
        """
        until = self._clock.monotonic() + in_seconds(within, "within")
        while not self.ready:
            left = until - self._clock.monotonic()
            if left <= 0:
                return False
            await asyncio.sleep(min(left, 0.02))
        return True

    @property
    def ready(self) -> bool:
        """Whether the revocations are loaded, and the fleet has reconciled what it knew.

        Once true it stays so until it is closed: an outage does not make an instance forget.
        """
        if self._over or self.life.elsewhere:
            return False
        if not self._ready:
            adopted = self._outbox is None or self._outbox.adopted
            self._ready = adopted and (self._redis is None or self._redis.reconciled)
        return self._ready

    def status(self) -> Status:
        """How this instance is, now."""
        connections, keys = self._connections, self.tokens.verification
        disk = self._outbox.on_disk if self._outbox is not None else None
        if connections is None:
            return Status(
                mode="embedded",
                health="healthy",
                ready=self.ready,
                tokens=len(self.tokens),
                disk=disk,
                keys_age=keys.keys_age,
                in_flight=self.circuits.in_flight,
                troubles=self._troubles(),
                policies=self.policies.hash,
            )
        every = tuple(each.status() for each in connections.all)
        principal = connections.principal
        shown = every[connections.all.index(principal)]
        worst, presence = worst_of(every), connections.of(Feature.LIMITS).presence
        return Status(
            mode=shown.mode,
            health=worst.health,
            reason=worst.told,
            ready=self.ready,
            primary=shown.primary,
            epoch=shown.epoch,
            replicas=shown.replicas,
            instances=presence.instances,
            policies=self.policies.hash,
            differing=presence.differing,
            sentinels=shown.sentinels,
            tokens=len(self.tokens),
            outbox=self.tokens.outbox_depth,
            disk=disk,
            lag=shown.lag,
            staleness=connections.of_tokens.staleness(),
            keys_age=keys.keys_age,
            in_flight=self.circuits.in_flight,
            lacks=connections.lacks,
            troubles=self._troubles(),
            redis=every if len(every) > 1 else (),
        )

    def _troubles(self) -> dict[str, str]:
        found = self._connections.troubles() if self._connections is not None else {}
        found |= self.tokens.verification.troubles
        if self._outbox is not None and self._outbox.trouble is not None:
            found["outbox"] = self._outbox.trouble.reason
        if self._strays.trouble is not None:
            found["pardons"] = self._strays.trouble
        if self.audit.trouble is not None:
            found["audit"] = self.audit.trouble
        if self._watch is not None and self._watch.refused is not None:
            found["policies"] = self._watch.refused
        return found

    def _down(self, features: tuple[str, ...]) -> str | None:
        return self._connections.down(features) if self._connections is not None else None

    @property
    def closed(self) -> bool:
        """Whether it was closed in this process, where it can be started again."""
        return self._over and self._made_by == os.getpid()

    def end_outages(self) -> None:
        """Tell of outages no more: one that lives in the parent of this process does not here."""
        self._end_outages()

    def warn_not_ready(self) -> None:
        """Log that it is not ready after `START_LIMIT`, and why."""
        _log.warning(
            "not ready after %g s: revocations are not loaded, checks of tokens are refused: %s",
            START_LIMIT,
            self._why_not_ready(),
        )

    def _why_not_ready(self) -> str:
        reason = self._redis.status().told if self._redis is not None else None
        troubles = (f"{what}: {why}" for what, why in self._troubles().items())
        return reason or "; ".join(troubles) or "Redis answers, and they are still being read"

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        self._background = [task for task in self._background if not task.done()]
        self._background.append(asyncio.create_task(work))

    # What hears is made after what it hears of.

    def _on_tokens_accepted(self) -> None:
        if self._redis is not None:
            self.audit.in_step(self._redis.feed.fresh_at())

    def _on_new_history(self) -> None:
        self.audit.record_again()

    def _on_limits_accepted(self) -> None:
        self.rate_limits.on_accepted()

    def _on_limits_push(self, push: list[Any]) -> None:
        self.rate_limits.on_push(push)

    def _on_circuits_push(self, push: list[Any]) -> None:
        self.circuits.on_push(push)

    def _on_circuits_link_up(self) -> None:
        self.circuits.on_link_up()

    def _connect(self) -> Connections:
        # It brings redis-py, which takes longer to import than all else here together.
        from .connected import Hearers, Instance  # noqa: PLC0415
        from .connections import Connections  # noqa: PLC0415

        prefix = self.settings.prefix
        return Connections(
            self.settings,
            Instance(self.boot_id, lambda: self.policies.hash, self._clock, self.events),
            {
                Feature.TOKENS: Hearers(
                    on_accepted=(self._on_tokens_accepted,),
                    on_new_history=(self._on_new_history,),
                ),
                Feature.SESSIONS: Hearers(),
                Feature.LIMITS: Hearers(
                    channels=(reset_channel(prefix),),
                    on_push=(self._on_limits_push,),
                    on_accepted=(self._on_limits_accepted,),
                    on_differing=(Differing(self.events).see,),
                ),
                Feature.CIRCUITS: Hearers(
                    channels=(CircuitKeys(prefix).channel,),
                    on_push=(self._on_circuits_push,),
                    on_link_up=(self._on_circuits_link_up,),
                ),
            },
            prepared=self._prepared,
            outbox=self._said_of_outbox,
        )

    def _said_of_outbox(self) -> str:
        return "none" if self._outbox is None else self._outbox.on_disk.trouble or "ok"

    def _take(self, entry: Entry) -> None:
        self.revocations.adopt(entry)

    async def _prepared(self) -> None:
        if self._outbox is not None:
            await self._outbox.wait_adopted()


def _demand_redis_of_all(settings: Settings) -> None:
    """Refuse features that have a Redis of their own beside others that have none at all."""
    modes = {own.mode for own in settings.each_redis()}
    if "embedded" in modes and len(modes) > 1:
        raise SettingsError(
            "some features have a Redis, and others are kept in this process",
            remedy="say where all are: in `topology`, or each in `apart`; nothing was started",
        )
