"""The limit of one subject: looked at, filled again, and set by hand."""

from __future__ import annotations

from ...audit.act import Act
from ...errors import UnknownPolicyError
from ...rate_limit import operations
from ...rate_limit.gcra import Look, Source, look_at
from ...rate_limit.local import LocalLimiter, Record, validate_location, validate_subject
from ...rate_limit.policy import LimitPolicy, Rate
from ...tokens.told import digest_of
from .desk import Desk


async def look(desk: Desk, policy: str, subject: str, *, at: str | None = None) -> Look:
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
    return look_at(known, await desk.ask(operations.peek(known, record.key)), Source.REDIS)


async def set_limit(
    desk: Desk,
    policy: str,
    subject: str,
    rate: Rate | None,
    *,
    lasts: float | None,
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
        lasts: seconds for which it holds; None for good.
        actor: who does it.
        reason: why.
        at: as for `look`.

    Raises:
        UnknownPolicyError, InvalidInputError: there is no such limit, or no such subject of it.
        OutageError, OutcomeUnknownError: the primary cannot be asked.
    """
    known, record = _found(desk, policy, subject, at)
    channel = operations.reset_channel(desk.settings.prefix)
    act = Act(
        actor=actor,
        action="limits set" if rate is not None else "limits unset",
        target=f"{policy} {digest_of(record.digest)}",
        reason=reason,
    )
    said = f"{rate}" if rate is not None else "the policy's"
    return await desk.act(
        act,
        lambda: desk.ask(operations.set_quota(known, record.key, rate, lasts, channel)),
        lambda _had: said if lasts is None else f"{said}, for {lasts:g} s",
    )


async def reset(
    desk: Desk, policy: str, subject: str, *, actor: str, reason: str, at: str | None = None
) -> bool:
    """Fill the subject's bucket again; True if anything had been taken. Raises as `look` does."""
    _, record = _found(desk, policy, subject, at)
    channel = operations.reset_channel(desk.settings.prefix)
    act = Act(
        actor=actor,
        action="limits reset",
        target=f"{policy} {digest_of(record.digest)}",
        reason=reason,
    )
    return await desk.act(
        act,
        lambda: desk.ask(operations.reset(record.key, channel)),
        lambda taken: "filled" if taken else "was full",
    )


def _found(desk: Desk, policy: str, subject: str, at: str | None) -> tuple[LimitPolicy, Record]:
    known = desk.policies.limits.get(policy)
    if known is None:
        names = ", ".join(sorted(desk.policies.limits)) or "none is defined"
        raise UnknownPolicyError(
            f"there is no limit named {policy[:80]!r}: {names}",
            remedy="ARAGORA_POLICIES names the file that defines them",
        )
    validate_subject(subject)
    validate_location(known, at)
    limiter = LocalLimiter(
        known, prefix=desk.settings.prefix, digest_key=desk.digest_key, capacity=1
    )
    return known, limiter.record(subject, at)
