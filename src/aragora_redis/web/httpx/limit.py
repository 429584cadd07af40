"""Limits for httpx: a transport that keeps to a limit which the whole fleet shares.

Where a host says by 429 or 503 when to come again (`Retry-After`), that is kept to as well, by this
process: its response is given to the caller as it is, and the requests after it wait for that time,
or are refused. Others of the fleet are told by the host themselves.
"""

from __future__ import annotations

import asyncio
import time

import httpx

from ...clock import SYSTEM_CLOCK, Clock
from ...errors import LimitExceededError
from ...rate_limit.gcra import Decision
from ...state.rate_limits.rate_limits import RateLimits
from ...sync.rate_limits import RateLimits as SyncRateLimits
from ...times import Duration, in_seconds
from .hosts import Name, by_host
from .pauses import Pauses


class LimitTransport(httpx.AsyncBaseTransport):
    """Has each request of an `httpx.AsyncClient` take its tokens before it is made.

    `LimitExceededError` comes out of the client's call where it would have to wait for longer, and
    `LimitUnavailableError` in an outage where the policy is closed then. Nothing was sent; but the
    tokens are gone of one that had them when its host asked to be left alone.

    Args:
        limits: those of the state.
        policy: its name in the policies file.
        subject: whom a request counts for; its host by default.
        cost: tokens that a request takes.
        wait: seconds that it may wait for them, and for a host that wants to be left alone.
        transport: what makes the request.
        clock: such as a `FakeClock`.

    Raises:
        InvalidInputError: the wait is no span of time.
        UnknownPolicyError: there is no such policy.
    """

    def __init__(
        self,
        limits: RateLimits,
        policy: str,
        *,
        subject: Name = by_host,
        cost: int = 1,
        wait: Duration = 0.0,
        transport: httpx.AsyncBaseTransport | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._limits = limits
        self._gate = _Gate(limits.policy(policy).name, wait, clock)
        self._subject = subject
        self._cost = cost
        self._transport = transport or httpx.AsyncHTTPTransport()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Make a request, once it may be made."""
        if not request.url.host:  # it counts for nobody, and the transport says what it lacks
            return await self._transport.handle_async_request(request)
        subject, gate = self._subject(request), self._gate
        until = gate.until()
        await asyncio.sleep(gate.pause(subject, until))
        gate.require(
            await self._limits.acquire(gate.policy, subject, self._cost, wait=gate.rest(until))
        )
        await asyncio.sleep(gate.pause(subject, until))  # others may have been told so meanwhile
        response = await self._transport.handle_async_request(request)
        gate.pauses.take_note(subject, response)
        return response

    async def aclose(self) -> None:
        """Close the transport within."""
        await self._transport.aclose()


class SyncLimitTransport(httpx.BaseTransport):
    """The same for an `httpx.Client`, with the limits of `aragora_redis.sync`.

    That there is no such policy is said by the first request: the state may be started after this.
    """

    def __init__(
        self,
        limits: SyncRateLimits,
        policy: str,
        *,
        subject: Name = by_host,
        cost: int = 1,
        wait: Duration = 0.0,
        transport: httpx.BaseTransport | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._limits = limits
        self._gate = _Gate(policy, wait, clock)
        self._subject = subject
        self._cost = cost
        self._transport = transport or httpx.HTTPTransport()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Make a request, once it may be made."""
        if not request.url.host:
            return self._transport.handle_request(request)
        subject, gate = self._subject(request), self._gate
        until = gate.until()
        time.sleep(gate.pause(subject, until))
        gate.require(self._limits.acquire(gate.policy, subject, self._cost, wait=gate.rest(until)))
        time.sleep(gate.pause(subject, until))  # others may have been told so meanwhile
        response = self._transport.handle_request(request)
        gate.pauses.take_note(subject, response)
        return response

    def close(self) -> None:
        """Close the transport within."""
        self._transport.close()


class _Gate:
    """What both decide: how long a request may wait yet, and whether it is refused."""

    def __init__(self, policy: str, wait: Duration, clock: Clock) -> None:
        self.policy = policy
        self.pauses = Pauses(clock)
        self._wait = in_seconds(wait, "wait")
        self._clock = clock

    def until(self) -> float:
        """Until when a request that comes now may wait."""
        return self._clock.monotonic() + self._wait

    def rest(self, until: float) -> float:
        """Seconds that are left of that."""
        return max(until - self._clock.monotonic(), 0.0)

    def pause(self, subject: str, until: float) -> float:
        """Seconds for which a subject is to be left alone now.

        Raises:
            LimitExceededError: they are more than the request may wait.
        """
        left = self.pauses.left(subject)
        if left > self.rest(until):
            raise LimitExceededError(self.policy, left)
        return left

    def require(self, decision: Decision) -> None:
        """Refuse a request that got no tokens.

        Raises:
            LimitExceededError: so it is.
        """
        if not decision.allowed:
            raise LimitExceededError(self.policy, decision.retry_after)
