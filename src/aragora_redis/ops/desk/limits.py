"""The limit of one subject: looked at, and filled again by hand."""

from __future__ import annotations

from ...errors import UnknownPolicyError
from ...rate_limit import operations
from ...rate_limit.gcra import Decision, decode
from ...rate_limit.local import LocalLimiter, Record, validate_location, validate_subject
from ...rate_limit.policy import LimitPolicy
from .audit import Act, digest_of
from .desk import Desk


async def look(desk: Desk, policy: str, subject: str, *, at: str | None = None) -> Decision:
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
    return decode(known, 0, await desk.ask(operations.check(known, record.key, 0)))


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
