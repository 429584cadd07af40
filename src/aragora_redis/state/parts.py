"""How the parts of one instance are built on what they have in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, ParamSpec, TypeVar, cast

from msgspec import Struct

from ..clock import Clock
from ..events import Events
from ..policies import Policies
from ..rate_limit.gcra import Source
from ..rate_limit.operations import reset_channel
from ..sessions.operations import SessionKeys
from ..settings import Feature, Settings
from ..tokens.claims import ClaimNames
from ..tokens.entry import DAY, Entry
from ..tokens.shard import Shard
from .audit.audit import Audit
from .audit.log import AuditLog, RedisAuditLog
from .circuits.circuits import Circuits
from .ground import Ground
from .life import Life
from .rate_limits.decider import Decider
from .rate_limits.rate_limits import RateLimits
from .revocations.outbox import Outbox
from .revocations.outbox_file import OutboxFile
from .revocations.pardons import pardons_of
from .revocations.receipt import Level
from .revocations.revocations import Revocations
from .sessions.keyring import seal_of
from .sessions.sessions import Sessions
from .tokens.refresh import RefreshTokens
from .tokens.tokens import Tokens

if TYPE_CHECKING:
    from .embedded import Embedded
    from .followed import Followed

F = TypeVar("F")
P = ParamSpec("P")


class Faces(NamedTuple):
    """What users hold of a state, however often it is started."""

    audit: Audit
    rate_limits: RateLimits
    tokens: Tokens
    refresh_tokens: RefreshTokens
    sessions: Sessions
    circuits: Circuits


class Parts(Struct, frozen=True):
    """Builds them, each when it is asked for; the faces in the place of those that users hold.

    Attributes:
        life: from when to when they answer.
        policies: those at the start.
        boot_id: of this instance.
        grounds: what each feature runs on.
        redis: that of the revocations; None where this process is all there is,
        embedded: and what it has then.
        shards: the replica of the revocations.
        ready: whether the revocations are loaded.
        held: the faces that users hold, where the state was made before.
    """

    life: Life
    settings: Settings
    policies: Policies
    clock: Clock
    events: Events
    boot_id: str
    grounds: Mapping[Feature, Ground]
    redis: Followed | None
    embedded: Embedded | None
    shards: list[Shard]
    ready: Callable[[], bool]
    held: Faces | None

    def faces(self, revocations: Revocations) -> Faces:
        """All that users hold."""
        audit = self._audit()
        tokens = self._tokens(revocations, audit)
        return Faces(
            audit,
            self._rate_limits(audit),
            tokens,
            self._refresh_tokens(tokens, revocations),
            self._sessions(revocations, audit),
            self._circuits(audit),
        )

    def _rate_limits(self, audit: Audit) -> RateLimits:
        """The limits of the policies."""
        ground = self.grounds[Feature.LIMITS]
        decider = Decider(
            life=self.life,
            executor=ground.executor,
            across_slots=lambda: ground.across_slots,
            source=Source.REDIS if ground.reach else Source.LOCAL,
            clock=self.clock,
            service=ground.service,
            fleet=ground.fleet,
            own=self.boot_id,
            prefix=self.settings.prefix,
            digest_key=self._digest_key,
            channel=reset_channel(self.settings.prefix),
            fail_open=self.settings.fail_open,
            deadline=self.settings.of(Feature.LIMITS).deadline,
            server_now=ground.server_now,
        )
        return _made(
            self.held and self.held.rate_limits,
            RateLimits,
            self.policies.limits,
            decider=decider,
            events=self.events,
            audit=audit,
        )

    def _audit(self) -> Audit:
        """The record of acts by hand."""
        settings, held = self.settings, self.held and self.held.audit
        log: AuditLog = (
            self.embedded.acts
            if self.embedded is not None
            else RedisAuditLog(self._of_tokens.executor, settings.prefix)
        )
        return _made(
            held,
            Audit,
            log,
            via=held.via if held is not None else "python",
            life=self.life,
            clock=self.clock,
            events=self.events,
            server_now=self._of_tokens.server_now,
            instance=settings.instance_id or self.boot_id,
        )

    def revocations(self, outbox: Outbox | None) -> Revocations:
        """What is revoked."""
        tokens, redis = self.settings.tokens, self.redis
        return Revocations(
            self.shards,
            redis.for_tokens(self.ready) if redis else None,
            clock=self.clock,
            events=self.events,
            server_now=self._of_tokens.server_now,
            deny_when_stale=tokens.on_outage == "deny",
            max_staleness=tokens.max_staleness,
            level=Level[tokens.level.upper()] if tokens.level else None,
            pardons=pardons_of(tokens),
            outbox=outbox,
            notes=self.embedded.notes if self.embedded is not None else None,
        )

    def _tokens(self, revocations: Revocations, audit: Audit) -> Tokens:
        """What judges and revokes tokens."""
        tokens = self.settings.tokens
        return _made(
            self.held and self.held.tokens,
            Tokens,
            revocations,
            life=self.life,
            clock=self.clock,
            events=self.events,
            server_now=self._of_tokens.server_now,
            digest_key=self._digest_key,
            max_lifetime=tokens.max_lifetime,
            skew=tokens.skew,
            claims=ClaimNames(tokens.tenant_claim, tokens.family_claim),
            issuers=(self.settings.jwt, *self.settings.issuers),
            audit=audit,
        )

    def outbox(self, take: Callable[[Entry], None]) -> Outbox | None:
        """Where revocations outlive this instance; `take` adopts what others have left there."""
        directory = self.settings.tokens.outbox
        if directory is None:
            return None
        file = OutboxFile(
            directory,
            self.boot_id,
            fingerprint=self.settings.fingerprint,
            prefix=self.settings.prefix,
            today=self._today,
        )
        return Outbox(file, self.clock, self.events, take)

    def _refresh_tokens(self, tokens: Tokens, revocations: Revocations) -> RefreshTokens:
        """The families of refresh tokens."""
        settings, redis = self.settings, self.redis
        return _made(
            self.held and self.held.refresh_tokens,
            RefreshTokens,
            self._of_tokens.executor,
            redis.for_tokens(self.ready) if redis else None,
            tokens,
            revocations,
            life=self.life,
            clock=self.clock,
            server_now=self._of_tokens.server_now,
            prefix=settings.prefix,
            digest_key=self._digest_key,
            max_lifetime=settings.tokens.max_lifetime,
            skew=settings.tokens.skew,
            family_claim=settings.tokens.family_claim,
        )

    def _sessions(self, revocations: Revocations, audit: Audit) -> Sessions:
        """The sessions."""
        settings, ground = self.settings, self.grounds[Feature.SESSIONS]
        return _made(
            self.held and self.held.sessions,
            Sessions,
            ground.executor,
            revocations,
            life=self.life,
            policy=self.policies.sessions,
            clock=self.clock,
            events=self.events,
            server_now=ground.server_now,
            keys=SessionKeys(settings.prefix, seal_of(settings, self.clock)),
            digest_key=self._digest_key,
            deny_on_outage=settings.sessions.on_outage == "deny",
            deadline=settings.of(Feature.SESSIONS).deadline,
            source="redis" if ground.reach else "local",
            audit=audit,
        )

    def _circuits(self, audit: Audit) -> Circuits:
        """The circuits."""
        ground = self.grounds[Feature.CIRCUITS]
        return _made(
            self.held and self.held.circuits,
            Circuits,
            ground.executor,
            life=self.life,
            policies=self.policies,
            clock=self.clock,
            events=self.events,
            server_now=ground.server_now,
            fleet=ground.fleet,
            own=self.boot_id,
            prefix=self.settings.prefix,
            deadline=self.settings.of(Feature.CIRCUITS).deadline,
            source="redis" if ground.reach else "local",
            audit=audit,
            held=self.held.circuits.held if self.held is not None else (),
        )

    @property
    def _of_tokens(self) -> Ground:
        """That of what must not be forgotten: revocations, and acts by hand."""
        return self.grounds[Feature.TOKENS]

    @property
    def _digest_key(self) -> bytes:
        return self.settings.digest_key.reveal_bytes()

    def _today(self) -> int | None:
        """The day by all clocks; None until Redis's is known, for one alone may be far ahead."""
        now = self.clock.wall()
        if self.redis is not None:
            read = self.redis.server_clock()
            if read is None:
                return None
            now = min(now, read)
        return int(now // DAY)


def _made(held: F | None, kind: Callable[P, F], /, *args: P.args, **kwargs: P.kwargs) -> F:
    """What `kind` makes of the arguments; where users hold one, that one, with nothing of before.

    They keep it in closures, decorators and attributes, and none of these learns of a new start.
    """
    if held is None:
        return kind(*args, **kwargs)
    vars(held).clear()
    cast("Any", kind).__init__(held, *args, **kwargs)
    return held
