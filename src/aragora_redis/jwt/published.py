"""The keys that an issuer publishes, as this instance knows them.

They are fetched in the background and ahead of their end, so no request waits for the issuer. Only
a `kid` that is not known asks at once: one fetch for all who wait, and not again for a while,
whatever comes, so that garbage does not reach the issuer. One is said not to be published once a
fetch that began after it was first seen has not brought it; before that nobody can say.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any, Protocol

from ..clock import Clock
from ..errors import KeysUnavailableError
from ..events import Events, KeysFetched
from .fetch import Fetched, Fetcher
from .freshness import Freshness
from .key_set import KeySet, KeySetError, parse

SOUGHT_LIMIT = 1_000
"""Kids that are remembered as asked for in vain; those asked for longest ago make room."""


class Fetches(Protocol):
    """Whoever fetches the document."""

    async def fetch(self) -> Fetched:
        """The document; raises `KeySetError`."""


class PublishedKeys:
    """Follows one document.

    Args:
        url: where it is.
        algorithms: what keys are used for.
        hold: seconds for which the last good one counts while there is no newer one.
        fetcher: instead of one over HTTP.
    """

    def __init__(
        self,
        url: str,
        algorithms: Sequence[str],
        *,
        hold: float,
        clock: Clock,
        events: Events,
        fetcher: Fetches | None = None,
    ) -> None:
        self._fetcher = fetcher or Fetcher(url)
        self._algorithms = algorithms
        self._clock = clock
        self._events = events
        self._keys = KeySet(())
        self._freshness = Freshness(hold)
        self._under_way: asyncio.Task[None] | None = None
        self._begun = 0
        self._told_by = 0  # the number of the fetch that brought the present keys
        self._sought: dict[tuple[str, str | None], int] = {}  # how many fetches had begun by then
        self.trouble: str | None = None
        """Why the last attempt has failed."""

    @property
    def age(self) -> float:
        """Seconds since the present keys were asked for."""
        return self._clock.monotonic() - self._freshness.fetched_at

    def fitting(self, algorithm: str, kid: str | None) -> Sequence[Any]:
        """The keys to try for a token; nothing where `look_again` is to be awaited."""
        if not self._freshness.counts(self._clock.monotonic()):
            return ()
        return self._keys.fitting(algorithm, kid)

    def cannot_say(self, algorithm: str, kid: str | None) -> KeysUnavailableError | None:
        """Why a key that is not known may be a good one all the same, if it may."""
        now = self._clock.monotonic()
        retry_after = max(self._freshness.cool_down(now), 1.0)
        if self.trouble is None and self._freshness.counts(now):
            if self._sought.get((algorithm, kid), self._told_by) < self._told_by:
                return None
            return KeysUnavailableError(
                "the issuer was asked for its keys just now, before this one was needed",
                retry_after=retry_after,
            )
        return KeysUnavailableError(
            f"the issuer's keys cannot be fetched: {self.trouble or 'not asked for yet'}",
            remedy="see that ARAGORA_JWT_JWKS_URL can be reached from here",
            retry_after=retry_after,
        )

    @property
    def may_look_again(self) -> bool:
        """Whether waiting for `look_again` can bring anything."""
        return (
            self._under_way is not None or self._freshness.cool_down(self._clock.monotonic()) == 0.0
        )

    async def look_again(self, algorithm: str, kid: str | None, within: float) -> None:
        """Fetch the keys for one that is not known, with all others who wait for that.

        Raises:
            KeysUnavailableError: they did not come within `within` seconds, or the state closes.
        """
        self._seek((algorithm, kid))
        if not self.may_look_again:
            return
        fetch = self._one_fetch()
        await asyncio.wait({fetch}, timeout=within)
        if not fetch.done():
            raise KeysUnavailableError("the issuer's keys are being fetched")
        if fetch.cancelled():  # by the end of `run`, and not whoever waits for it
            raise KeysUnavailableError("the issuer's keys are not fetched any more")
        fetch.result()

    async def run(self) -> None:
        """Fetch in the background until cancelled."""
        try:
            while True:
                left = self._freshness.due - self._clock.monotonic()
                if left > 0:
                    await asyncio.sleep(left)
                else:
                    await asyncio.shield(self._one_fetch())
        finally:
            if self._under_way is not None:
                self._under_way.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await self._under_way

    def _seek(self, key: tuple[str, str | None]) -> None:
        """Remember since when a key is asked for."""
        self._sought[key] = self._sought.pop(key, self._begun)
        if len(self._sought) > SOUGHT_LIMIT:
            del self._sought[next(iter(self._sought))]

    def _one_fetch(self) -> asyncio.Task[None]:
        if self._under_way is None or self._under_way.done():
            self._under_way = asyncio.create_task(self._fetch())
        return self._under_way

    async def _fetch(self) -> None:
        started = self._clock.monotonic()
        self._begun += 1
        try:
            fetched = await self._fetcher.fetch()
            keys = parse(fetched.document, self._algorithms)
        except KeySetError as error:
            self._freshness = self._freshness.failed(started, self._clock.monotonic())
            self._told(str(error))
        else:
            self._keys, self._told_by = keys, self._begun
            self._freshness = self._freshness.succeeded(started, fetched.life)
            self._told(None)
        finally:
            self._under_way = None

    def _told(self, trouble: str | None) -> None:
        changed, self.trouble = trouble != self.trouble, trouble
        self._events.emit(KeysFetched(len(self._keys), trouble, changed))
