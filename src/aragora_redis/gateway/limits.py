"""`/v1/limits`: check, reserve and settle; fill limits again, or set a subject's own."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from http import HTTPStatus
from typing import Annotated

import msgspec
from fastapi import APIRouter, Path, Query, Response
from pydantic import BaseModel, Field, TypeAdapter

from ..clock import SYSTEM_CLOCK
from ..rate_limit.gcra import Decision, Peek, Source
from ..rate_limit.joint import MOST_LIMITS, LimitCheck
from ..rate_limit.policy import EXACT, Rate
from ..rate_limit.reservation import LONGEST_TTL, TTL, Found
from ..state.rate_limits.own_limits import LONGEST_OWN_LIMIT, MOST_ON_A_PAGE
from ..state.shared import SharedState
from ..web.headers import fields, joint_fields
from .auth import Caller, Role, needs
from .bodies import Body, JsonRoute, QuerySigned, Signed, Text
from .problems import JSON_ANSWERS, answers
from .rendered import Rendered
from .waiting import Received, waiter_of

LONGEST_WAIT = 30.0
"""Seconds: proxies and clients give a request up after more."""
Text2k = Annotated[Text, Field(max_length=2048)]
PathSubject = Annotated[Text, Path()]
At = Annotated[Text | None, Query()]
Digest = Annotated[str, Query(pattern="^[0-9a-f]{16}$")]
After = Annotated[int, Query(ge=0, lt=2**53)]
OnAPage = Annotated[int, Query(ge=1, le=MOST_ON_A_PAGE)]


class Reset(Body):
    """Whose limit to fill again; `at` is the subject of the limit that it is co-located with."""

    subject: Text
    at: Text | None = None


class Refill(Reset, Signed):
    """Whose limit to fill again, by whom and why."""


class Own(Body):
    """Rate and burst for one subject, instead of the policy's."""

    rate: Annotated[Text, Field(examples=["500/second", "3 per 2 seconds"])]
    burst: Annotated[int, Field(ge=1, le=EXACT)] | None = None

    def read(self) -> Rate:
        """The rate; raises `InvalidInputError` where it is none."""
        return Rate(self.rate, self.burst)


class OwnLimit(Own, Signed):
    """A limit for one subject, and for how many seconds; for good without `lasts`."""

    lasts: Annotated[float, Field(gt=0, le=LONGEST_OWN_LIMIT)] | None = None


class Take(Reset):
    """Whom to count, and how many tokens it takes; 0 only looks."""

    cost: Annotated[int, Field(ge=0, le=EXACT)] = 1


class Check(Take):
    """Whom to count, what it takes, and the subject's limit where the policy's is not meant."""

    limit: Own | None = None
    wait: Annotated[float, Field(ge=0, le=LONGEST_WAIT)] = 0
    """Seconds for which the answer may wait for the tokens; it does not wait in vain."""


class OneOfAll(Take):
    """One of several limits to check as one."""

    policy: Text
    limit: Own | None = None


class CheckAll(Body):
    """The limits of which all give, or none."""

    checks: Annotated[list[OneOfAll], Field(min_length=1, max_length=MOST_LIMITS)]
    wait: Annotated[float, Field(ge=0, le=LONGEST_WAIT)] = 0
    """Seconds for which the answer may wait for all of them; it does not wait in vain."""


class Reserve(Reset):
    """Whose tokens to reserve, how many, and the seconds after which they come back unsettled."""

    estimate: Annotated[int, Field(ge=1, le=EXACT)]
    ttl: Annotated[float, Field(ge=1e-3, le=LONGEST_TTL)] = TTL
    limit: Own | None = None


class Refund(Body):
    """The reservation to give back whole."""

    reservation: Text2k


class Keep(Refund):
    """For how many seconds from now it is to last."""

    ttl: Annotated[float, Field(ge=1e-3, le=LONGEST_TTL)] = TTL


class Settle(Refund):
    """What the work really cost, in tokens."""

    cost: Annotated[int, Field(ge=0, le=EXACT)]


class DecisionBody(BaseModel):
    """What became of a check. Durations are seconds."""

    allowed: bool
    limit: int
    remaining: int
    retry_after: float
    reset_after: float
    source: Source
    shadow: bool
    """It would have been refused, were the limit not in shadow mode."""


class ReservedBody(DecisionBody):
    """A decision, and the id of what was reserved; empty if it was refused."""

    reservation: str


class KeptBody(BaseModel):
    """The id by which the reservation ends from now on, and how many tokens it holds."""

    reservation: str
    held: int


class SettlementBody(BaseModel):
    """What became of a reservation, in tokens; see `Settlement`."""

    cost: int
    returned: int
    charged: int
    overrun: int
    found: Found
    confirmed: bool


class LookBody(BaseModel):
    """What a check would meet now, and the limit in force."""

    decision: DecisionBody
    rate: str
    burst: int
    own: bool
    """Whether operators have set it for this subject."""
    until: float | None
    """Unix seconds at which a limit of its own ends; null for never."""
    digest: str
    """Stands for the subject in the list of those that have one, and in records."""


class OwnBody(BaseModel):
    """Whether the subject had a limit of its own before."""

    had: bool


class OwnLimitBody(BaseModel):
    """A subject that has a limit of its own, and digests of it; instants are Unix seconds."""

    digest: str
    at: str | None
    rate: str
    burst: int
    until: float | None
    since: float | None
    actor: str | None


class OwnLimitsBody(BaseModel):
    """A page of them, and where the next one begins; null after the last."""

    shown: list[OwnLimitBody]
    after: int | None


class JointBody(BaseModel):
    """What became of several limits, in the order asked; null was not asked any more."""

    allowed: bool
    retry_after: float
    decisions: list[DecisionBody | None]


class ResetBody(BaseModel):
    """Whether anything had been taken."""

    reset: bool


_JOINT = TypeAdapter(JointBody)
_json = msgspec.json.Encoder().encode
_REFUSED = {"model": DecisionBody, "description": "Over the limit, see Retry-After"}
_ONE_REFUSED = {"model": JointBody, "description": "Over one of the limits, see Retry-After"}


def routes(state: SharedState, stopping: asyncio.Event) -> APIRouter:
    """The routes over one state; who waits is answered when `stopping` is set."""
    router = APIRouter(
        prefix="/v1/limits",
        tags=["limits"],
        route_class=JsonRoute,
        dependencies=[needs(Role.GATEWAY)],
        responses=answers(HTTPStatus.NOT_FOUND, *JSON_ANSWERS),
    )

    @router.post("/check", response_model=JointBody, responses={429: _ONE_REFUSED})
    async def check_all(body: CheckAll, receive: Received) -> Response:
        """Take from the buckets of all these limits: 200 if all gave, else 429 and none did.

        In a Redis Cluster limits of several hash slots are asked in turn, and take no `wait`.
        """
        checks = [
            LimitCheck(
                one.policy, one.subject, one.cost, one.at, one.limit.read() if one.limit else None
            )
            for one in body.checks
        ]
        async with waiter_of(receive, stopping) if body.wait else nullcontext() as waiter:
            joint = await state.rate_limits.acquire_all(*checks, wait=body.wait, waiter=waiter)
        told = [
            (check.policy, decision)
            for check, decision in zip(checks, joint.decisions, strict=True)
            if decision is not None
        ]
        found = _JOINT.validate_python(joint, from_attributes=True)
        return Rendered(
            _JOINT.dump_json(found),
            _status(allowed=joint.allowed),
            joint_fields(told, joint.retry_after, x_now=_x_now(state)),
        )

    @router.post("/{policy}/check", response_model=DecisionBody, responses={429: _REFUSED})
    async def check(policy: str, body: Check, receive: Received) -> Response:
        """Take tokens from the subject's bucket: 200 if they were there, else 429.

        With `wait` it is answered when they are, at the latest after so many seconds; 429 at once
        where they will not be, behind those who wait already, or a thousand requests wait.
        """
        limit = body.limit.read() if body.limit else None
        asked = (policy, body.subject, body.cost)
        if body.wait:
            async with waiter_of(receive, stopping) as waiter:
                decision = await state.rate_limits.acquire(
                    *asked, wait=body.wait, at=body.at, limit=limit, waiter=waiter
                )
        else:
            decision = await state.rate_limits.check(*asked, at=body.at, limit=limit)
        return Rendered(
            _json(_told(decision)),
            _status(allowed=decision.allowed),
            _fields(state, policy, decision),
        )

    @router.post("/{policy}/reserve", responses={429: _REFUSED})
    async def reserve(policy: str, body: Reserve, response: Response) -> ReservedBody:
        """Take an estimate, to be settled with what the work really cost: 200, else 429."""
        limit = body.limit.read() if body.limit else None
        reserved = await state.rate_limits.reserve(
            policy, body.subject, body.estimate, ttl=body.ttl, at=body.at, limit=limit
        )
        response.status_code = _status(allowed=reserved.decision.allowed)
        response.headers.update(_fields(state, policy, reserved.decision))
        said = DecisionBody.model_validate(reserved.decision, from_attributes=True)
        return ReservedBody(**said.model_dump(), reservation=reserved.id)

    @router.post("/keep")
    async def keep(body: Keep) -> KeptBody:
        """Let a reservation last longer, while the work goes on."""
        kept = await state.rate_limits.keep(body.reservation, body.ttl)
        return KeptBody.model_validate(kept, from_attributes=True)

    @router.post("/settle")
    async def settle(body: Settle) -> SettlementBody:
        """End a reservation: what was not used comes back, more is charged. It counts once."""
        settled = await state.rate_limits.settle(body.reservation, body.cost)
        return SettlementBody.model_validate(settled, from_attributes=True)

    @router.post("/refund")
    async def refund(body: Refund) -> SettlementBody:
        """Give a reservation back whole."""
        settled = await state.rate_limits.refund(body.reservation)
        return SettlementBody.model_validate(settled, from_attributes=True)

    @router.post("/{policy}/reset", dependencies=[needs(Role.ADMIN)])
    async def reset(policy: str, body: Refill, caller: Caller) -> ResetBody:
        """Fill the subject's bucket again."""
        taken = await state.rate_limits.reset(
            policy, body.subject, at=body.at, reason=body.reason, actor=body.actor or caller
        )
        return ResetBody(reset=taken)

    _add_subjects(router, state)
    return router


def _add_subjects(router: APIRouter, state: SharedState) -> None:
    path = "/{policy}/subjects/{subject:path}"

    @router.get("/{policy}/subjects", dependencies=[needs(Role.ADMIN)])
    async def own_limits(policy: str, after: After = 0, limit: OnAPage = 50) -> OwnLimitsBody:
        """The subjects that have a limit of their own, as digests; those that end first in front.

        A page may show fewer than `limit` though more follow: go on until `after` is null.
        """
        page = await state.rate_limits.own_limits(policy, after=after, limit=limit)
        shown = [OwnLimitBody.model_validate(each.as_dict()) for each in page.shown]
        return OwnLimitsBody(shown=shown, after=page.after)

    @router.delete("/{policy}/subjects", dependencies=[needs(Role.ADMIN)])
    async def unset_listed(
        policy: str, digest: Digest, caller: Caller, signed: QuerySigned, at: Digest | None = None
    ) -> OwnBody:
        """Let the policy's limit hold again for a subject of the list, by its digest there."""
        had = await state.rate_limits.unset_listed(
            policy, digest, at=at, reason=signed.reason, actor=signed.actor or caller
        )
        return OwnBody(had=had)

    @router.get(path)
    async def look(policy: str, subject: PathSubject, at: At = None) -> LookBody:
        """What a check of the subject would meet now; takes nothing."""
        return look_body(await state.rate_limits.peek(policy, subject, at=at))

    @router.put(path, dependencies=[needs(Role.ADMIN)])
    async def set_limit(
        policy: str, subject: PathSubject, body: OwnLimit, caller: Caller, at: At = None
    ) -> OwnBody:
        """Give one subject a limit of its own, for the whole fleet."""
        had = await state.rate_limits.set_limit(
            policy,
            subject,
            body.read(),
            ttl=body.lasts,
            at=at,
            reason=body.reason,
            actor=body.actor or caller,
        )
        return OwnBody(had=had)

    @router.delete(path, dependencies=[needs(Role.ADMIN)])
    async def unset_limit(
        policy: str,
        subject: PathSubject,
        caller: Caller,
        signed: QuerySigned,
        at: At = None,
    ) -> OwnBody:
        """Let the policy's limit hold for the subject again."""
        had = await state.rate_limits.set_limit(
            policy, subject, None, at=at, reason=signed.reason, actor=signed.actor or caller
        )
        return OwnBody(had=had)


def look_body(found: Peek) -> LookBody:
    """A look at a subject, for JSON."""
    return LookBody(
        decision=DecisionBody.model_validate(found.decision, from_attributes=True),
        rate=found.policy.rate,
        burst=found.policy.burst,
        own=found.until is not None,
        until=found.until or None,
        digest=found.digest,
    )


def _told(decision: Decision) -> dict[str, object]:
    """`DecisionBody`, without what it takes to make one."""
    return {
        "allowed": decision.allowed,
        "limit": decision.limit,
        "remaining": decision.remaining,
        "retry_after": decision.retry_after,
        "reset_after": decision.reset_after,
        "source": decision.source,
        "shadow": decision.shadow,
    }


def _status(*, allowed: bool) -> HTTPStatus:
    return HTTPStatus.OK if allowed else HTTPStatus.TOO_MANY_REQUESTS


def _fields(state: SharedState, policy: str, decision: Decision) -> dict[str, str]:
    return fields(policy, decision, x_now=_x_now(state))


def _x_now(state: SharedState) -> float | None:
    return SYSTEM_CLOCK.wall() if state.settings.gateway.x_headers else None
