"""Limits of subjects' own: given by operators, and listed. Of a subject its digest is known."""

from __future__ import annotations

import asyncio
import contextlib
import re
from typing import Any, Final

from msgspec import Struct

from ...audit.act import validate_actor
from ...digests import digest_of
from ...errors import AragoraRedisError, InvalidInputError
from ...operation import Runs
from ...rate_limit import operations, own
from ...rate_limit.gcra import Answer, Own, in_force
from ...rate_limit.policy import LimitPolicy, Rate

LONGEST_OWN_LIMIT: Final = 10 * 365 * 86_400.0
"""Seconds for which a limit may hold that has an end."""
MOST_ON_A_PAGE: Final = 250
_DIGEST: Final = re.compile("[0-9a-f]{16}")
LOOK_LIMIT: Final = 1.0
"""Seconds that each step of a look at the list may take: nobody's decision waits for it."""


class OwnLimit(Struct, frozen=True):
    """A subject that has a limit of its own. Instants are Unix seconds.

    Attributes:
        digest: stands for the subject, as in the records of what operators did.
        at: the same of the subject beside whose limits this one lies, with `co_locate`.
        policy: the limit, with its rate and burst.
        until: when it ends; None where it has no end.
        since: when it was given; None where that is not known.
        actor: who gave it, as they named themselves; None where that is not known.
    """

    digest: str
    at: str | None
    policy: LimitPolicy
    until: float | None
    since: float | None
    actor: str | None

    def as_dict(self) -> dict[str, Any]:
        """It for JSON."""
        return {
            "digest": self.digest,
            "at": self.at,
            "rate": self.policy.rate,
            "burst": self.policy.burst,
            "until": self.until,
            "since": self.since,
            "actor": self.actor,
        }


class OwnLimits(Struct, frozen=True):
    """A page of them, those that end first in front.

    Attributes:
        shown: perhaps fewer than were asked for, though more follow.
        after: where the next page begins; None after the last.
    """

    shown: tuple[OwnLimit, ...]
    after: int | None


class OwnLimitsBook:
    """Gives subjects limits of their own, and says who has one.

    Args:
        executor: the way to Redis.
        prefix: of all keys.
        deadline: seconds that each step of an act may take.
    """

    def __init__(self, executor: Runs, *, prefix: str, deadline: float) -> None:
        self._executor = executor
        self._prefix = prefix
        self._deadline = deadline

    async def give(
        self,
        policy: LimitPolicy,
        key: bytes,
        rate: Rate | None,
        *,
        ttl: float | None,
        actor: str,
    ) -> bool:
        """Give the bucket with this key a limit of its own; see `RateLimits.set_limit`."""
        validate_given(ttl, actor)
        run, channel = self._executor.run, operations.reset_channel(self._prefix)
        if rate is not None:
            listed = own.listed(self._prefix, policy.name, key, rate, ttl=ttl, actor=actor)
            await run(listed, within=self._deadline)
        quota = operations.set_quota(policy, key, rate, ttl, channel)
        had = await run(quota, within=self._deadline)
        if rate is None:
            await self._drop(policy, [key])
        return had

    async def page(self, policy: LimitPolicy, after: int, most: int, *, tidies: bool) -> OwnLimits:
        """Those behind a position; see `RateLimits.own_limits`.

        Args:
            policy: the limit.
            after: where the page begins.
            most: how many it has at most.
            tidies: whether those that turn out to have none are taken off the list.
        """
        if type(most) is not int or not 1 <= most <= MOST_ON_A_PAGE:
            raise InvalidInputError(f"a page has 1 to {MOST_ON_A_PAGE} of them")
        if type(after) is not int or not 0 <= after < 2**53:
            raise InvalidInputError("that is no place on the list", remedy="give `after` as it was")
        run, page = self._executor.run, own.page(self._prefix, policy.name, after, most)
        found = await run(page, within=LOOK_LIMIT)
        known = [each for each in found if operations.digests_in(each.key) is not None]
        answers = await asyncio.gather(
            *(run(operations.peek(policy, each.key), within=LOOK_LIMIT) for each in known)
        )
        told = [_told(policy, *each) for each in zip(known, answers, strict=True)]
        gone = [each.key for each, limit in zip(known, told, strict=True) if limit is None]
        if gone and tidies:
            await self._drop(policy, gone)
        return OwnLimits(
            tuple(limit for limit in told if limit is not None),
            found[-1].position if len(found) == most else None,
        )

    async def named(self, policy: LimitPolicy, digest: str, at: str | None) -> bytes | None:
        """The key of the bucket that a page shows so; None where none has a limit of its own.

        Args:
            policy: the limit.
            digest: as it is shown.
            at: as it is shown; None for whichever has the digest.

        Raises:
            InvalidInputError: these are no digests, or several subjects are shown so.
        """
        if any(_DIGEST.fullmatch(text) is None for text in (digest, at) if text is not None):
            raise InvalidInputError(
                "that is no digest", remedy="give its 16 hexadecimal digits, as the list shows it"
            )
        named, after = set[bytes](), 0
        while True:
            page = own.page(self._prefix, policy.name, after, MOST_ON_A_PAGE)
            found = await self._executor.run(page, within=LOOK_LIMIT)
            named |= {each.key for each in found if _is_shown_as(each.key, digest, at)}
            if len(found) < MOST_ON_A_PAGE:
                break
            after = found[-1].position
        having = [key for key in named if await self._has_one(policy, key)]
        if len(having) > 1:
            raise InvalidInputError(
                f"{len(having)} subjects are listed with this digest", remedy="give `at` too"
            )
        return having[0] if having else None

    async def _has_one(self, policy: LimitPolicy, key: bytes) -> bool:
        answer = await self._executor.run(operations.peek(policy, key), within=LOOK_LIMIT)
        return isinstance(answer, Own)

    async def _drop(self, policy: LimitPolicy, keys: list[bytes]) -> None:
        with contextlib.suppress(AragoraRedisError):  # it is seen again, as having none
            gone = own.dropped(self._prefix, policy.name, keys)
            await self._executor.run(gone, within=self._deadline)


def validate_given(ttl: float | None, actor: str) -> None:
    """Accept how long a limit is to hold, and who gives it.

    Raises:
        InvalidInputError: that is too long, or no name of one line.
    """
    if ttl is not None and not 0 <= ttl <= LONGEST_OWN_LIMIT:
        raise InvalidInputError(
            "a limit with an end holds for 10 years at most", remedy="give it for good"
        )
    if actor != "":
        validate_actor(actor)


def _is_shown_as(key: bytes, digest: str, at: str | None) -> bool:
    found = operations.digests_in(key)
    if found is None or digest_of(found[0]) != digest:
        return False
    return at is None or (found[1] is not None and digest_of(found[1]) == at)


def _told(policy: LimitPolicy, listed: own.Listed, answer: Answer) -> OwnLimit | None:
    """What can be said of a listed bucket; None where it has no limit of its own."""
    digests = operations.digests_in(listed.key)
    if digests is None or not isinstance(answer, Own):
        return None
    digest, at = digests
    since, actor = listed.given(answer)
    return OwnLimit(
        digest_of(digest),
        None if at is None else digest_of(at),
        in_force(policy, answer)[0],
        answer.until / 1e6 if answer.until else None,
        since,
        actor,
    )
