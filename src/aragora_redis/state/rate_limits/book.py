"""The limits that are in force, by name, and what is known here of their subjects."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from weakref import WeakValueDictionary

from ...errors import InvalidInputError
from ...rate_limit.gcra import validate_cost
from ...rate_limit.joint import Asked, LimitCheck, located
from ...rate_limit.local import LocalLimiter
from ...rate_limit.policy import LimitPolicy, unknown_limit

_log = logging.getLogger(__name__)


class LimitBook:
    """One `LocalLimiter` for each policy."""

    def __init__(
        self, policies: Mapping[str, LimitPolicy], *, prefix: str, digest_key: bytes
    ) -> None:
        self._prefix = prefix
        self._digest_key = digest_key
        self._limiters: dict[str, LocalLimiter] = {}
        self._dropped: WeakValueDictionary[str, LocalLimiter] = WeakValueDictionary()
        self.use(policies)

    def __iter__(self) -> Iterator[LocalLimiter]:
        return iter(self._limiters.values())

    def use(self, policies: Mapping[str, LimitPolicy]) -> None:
        """Put other policies in force: what subjects have used stays used, refusals end.

        A bucket whose rate has changed is full at the same instant as before: what was in
        force when it was taken from is not known.
        """
        limiters = {}
        for name, policy in policies.items():
            limiter = self._limiters.get(name)
            if limiter is None or limiter.policy.co_locate != policy.co_locate:
                limiter = LocalLimiter(policy, prefix=self._prefix, digest_key=self._digest_key)
            limiter.policy = policy
            limiters[name] = limiter
        for name in self._limiters.keys() - limiters.keys():
            self._dropped[name] = self._limiters[name]
            if len(self._limiters[name]):
                _log.warning("the limit %r is in use here, and is not defined any more", name)
        self._limiters = limiters

    def named(self, policy: str) -> LocalLimiter:
        """The limit of that name.

        Raises:
            UnknownPolicyError: there is none.
        """
        limiter = self._limiters.get(policy) if isinstance(policy, str) else None
        if limiter is None:
            raise unknown_limit(self._limiters)
        return limiter

    def reserved(self, policy: str) -> LocalLimiter:
        """The limit of that name, for a reservation of it.

        One that was dropped is known as long as somebody here holds a reservation of it: the limit
        may be back tomorrow, and what was reserved under it ends as it was said it would.

        Raises:
            UnknownPolicyError: there is none.
        """
        dropped = None if policy in self._limiters else self._dropped.get(policy)
        return self.named(policy) if dropped is None else dropped

    def asked(self, check: LimitCheck, among: Sequence[LimitCheck]) -> Asked:
        """One of several limits as it is asked.

        Raises:
            UnknownPolicyError, InvalidInputError: there is none, or it cannot be asked so.
        """
        if not isinstance(check, LimitCheck):
            raise InvalidInputError("each of several limits is a LimitCheck(policy, subject)")
        policy, subject, cost, at, limit = check
        limiter = self.named(policy)
        beside = limiter.policy.co_locate
        if at is None and beside is not None:
            at = located(among, beside)
        asked = limiter.policy.under(limit)
        validate_cost(asked, cost)
        return Asked(limiter, limiter.record(subject, at), cost, asked)
