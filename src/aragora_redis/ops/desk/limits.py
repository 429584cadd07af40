"""The limit of one subject: looked at, filled again, set, reserved from and settled by hand."""

from __future__ import annotations

from ...audit.act import Act
from ...digests import digest_of
from ...rate_limit import operations
from ...rate_limit.gcra import (
    Decision,
    Peek,
    Source,
    decode,
    in_force,
    peeked,
    validate_payable,
)
from ...rate_limit.local import LocalLimiter, Record, validate_location, validate_subject
from ...rate_limit.policy import LimitPolicy, Rate, unknown_limit
from ...rate_limit.reservation import (
    LATE,
    Reservation,
    Settlement,
    new_name,
    unseal,
    validate_estimate,
    validate_ttl,
    validate_used,
)
from ...state.rate_limits.own_limits import MOST_ON_A_PAGE, OwnLimit, validate_given
from .desk import Desk


async def look(desk: Desk, policy: str, subject: str, *, at: str | None = None) -> Peek:
    """What a check of the subject would meet now; takes nothing.

    Args:
        desk: where to ask.
        policy: name of the limit.
        subject: whom it counts.
        at: for a limit with `co_locate`, the subject of that other limit.

    Raises:
        UnknownPolicyError, InvalidInputError: there is no such limit, or no such subject of it.
        OutageError, OutcomeUnknownError: the primary cannot be asked.
    """
    known, record = _found(desk, policy, subject, at)
    answer = await desk.ask(operations.peek(known, record.key))
    return peeked(known, answer, Source.REDIS, digest_of(record.digest))


async def set_limit(
    desk: Desk,
    policy: str,
    subject: str,
    rate: Rate | None,
    *,
    ttl: float | None,
    actor: str,
    reason: str,
    at: str | None = None,
) -> bool:
    """Give a subject a limit of its own, or, with None, the policy's again; True if it had one.

    Args:
        desk: where to act.
        policy: name of the limit.
        subject: whom it counts.
        rate: its own limit.
        ttl: seconds for which it holds; None for good.
        actor: who does it.
        reason: why.
        at: as for `look`.

    Raises:
        UnknownPolicyError, InvalidInputError: there is no such limit, or no such subject of it.
        OutageError, OutcomeUnknownError: the primary cannot be asked.
    """
    known, record = _found(desk, policy, subject, at)
    validate_given(ttl, actor)
    act = _act(actor, "set" if rate is not None else "unset", known, record, reason)
    said = f"{rate}" if rate is not None else "the policy's"
    return await desk.act(
        act,
        lambda: desk.own_limits.give(known, record.key, rate, ttl=ttl, actor=actor),
        lambda _had: said if ttl is None else f"{said}, for {ttl:g} s",
    )


async def unset_listed(
    desk: Desk, policy: str, digest: str, *, actor: str, reason: str, at: str | None = None
) -> bool:
    """Let the policy's limit hold again for a subject that `own_limits` shows; True if it did.

    Raises as `set_limit` does, also where several that are shown have the digest.
    """
    known = _known(desk, policy)
    key = await desk.own_limits.named(known, digest, at)
    if key is None:
        return False
    target = f"{policy} {digest}"
    act = Act(actor=actor, action="limits unset", target=target, reason=reason)
    return await desk.act(
        act,
        lambda: desk.own_limits.give(known, key, None, ttl=None, actor=actor),
        lambda _had: "the policy's",
    )


async def own_limits(desk: Desk, policy: str, limit: int) -> list[OwnLimit]:
    """The first of the subjects that have a limit of their own; raises as `look` does."""
    known, found, after = _known(desk, policy), list[OwnLimit](), 0
    while True:
        left = min(limit - len(found), MOST_ON_A_PAGE)
        page = await desk.own_limits.page(known, after, left, tidies=False)
        found += page.shown
        if page.after is None or len(found) == limit:
            return found
        after = page.after


async def reset(
    desk: Desk, policy: str, subject: str, *, actor: str, reason: str, at: str | None = None
) -> bool:
    """Fill the subject's bucket again; True if anything had been taken. Raises as `look` does."""
    known, record = _found(desk, policy, subject, at)
    channel = operations.reset_channel(desk.settings.prefix)
    return await desk.act(
        _act(actor, "reset", known, record, reason),
        lambda: desk.ask(operations.reset(record.key, channel)),
        lambda taken: "filled" if taken else "was full",
    )


async def reserve(
    desk: Desk,
    policy: str,
    subject: str,
    estimate: int,
    *,
    ttl: float,
    actor: str,
    reason: str,
    at: str | None = None,
) -> tuple[Decision, str]:
    """Reserve tokens for `ttl` seconds; the id of the reservation is empty if they are refused.

    Raises:
        UnknownPolicyError, InvalidInputError: there is no such limit, no such subject of it, or
            not that many tokens of it.
        OverloadedError: too many reservations of the subject are open.
        OutageError, OutcomeUnknownError: the primary cannot be asked.
    """
    known, record = _found(desk, policy, subject, at)
    validate_estimate(known, estimate)
    validate_ttl(ttl)
    name = new_name()

    async def work() -> tuple[Decision, str]:
        grant = await desk.ask(operations.reserve(known, record.key, estimate, name, ttl))
        under, reply = in_force(known, grant.answer)
        grant.demand_room()
        decision = decode(under, estimate, reply)
        if not decision.allowed:
            validate_payable(known, estimate, decision.limit)
            return decision, ""
        made = Reservation(known.name, record.key, name, estimate, grant.until_us)
        return decision, made.seal(desk.digest_key)

    return await desk.act(
        _act(actor, "reserve", known, record, reason),
        work,
        lambda made: f"{estimate} reserved" if made[1] else "refused",
    )


async def settle(desk: Desk, reservation: str, used: int, *, actor: str, reason: str) -> Settlement:
    """End a reservation with what was used, 0 to give it back whole; whoever comes first counts.

    Raises:
        InvalidInputError: that is no reservation, or no such number of tokens.
        UnknownPolicyError: its limit is not defined any more.
        OutageError, OutcomeUnknownError: the primary cannot be asked.
    """
    found = unseal(reservation, desk.digest_key)
    known = _known(desk, found.policy)
    under = known.at(*found.rate) if found.rate else known
    validate_used(under, used)
    settle = operations.settle(
        under, found, used, late=LATE, channel=operations.reset_channel(desk.settings.prefix)
    )

    async def work() -> Settlement:
        return (await desk.ask(settle)).settlement(used)

    digests = operations.digests_in(found.key)
    whose = digest_of(digests[0]) if digests is not None else "?"
    act = Act(actor=actor, action="limits settle", target=f"{found.policy} {whose}", reason=reason)
    return await desk.act(act, work, lambda done: f"{done.cost} used, it was {done.found.value}")


def _act(actor: str, done: str, policy: LimitPolicy, record: Record, reason: str) -> Act:
    target = f"{policy.name} {digest_of(record.digest)}"
    return Act(actor=actor, action=f"limits {done}", target=target, reason=reason)


def _known(desk: Desk, policy: str) -> LimitPolicy:
    known = desk.policies.limits.get(policy)
    if known is None:
        raise unknown_limit(desk.policies.limits)
    return known


def _found(desk: Desk, policy: str, subject: str, at: str | None) -> tuple[LimitPolicy, Record]:
    known = _known(desk, policy)
    validate_subject(subject)
    validate_location(known, at)
    limiter = LocalLimiter(
        known, prefix=desk.settings.prefix, digest_key=desk.digest_key, capacity=1
    )
    return known, limiter.record(subject, at)
