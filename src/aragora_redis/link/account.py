"""Who we are to the servers: presented on each new connection, and anew on those that live."""

from __future__ import annotations

import asyncio
import random
from weakref import WeakKeyDictionary

from ..clock import Clock, full_jitter
from ..errors import AragoraRedisError, LinkDownError, RefusedError
from ..events import Events, RenewalFailed
from ..identity import Credential, Source, source_of
from ..settings import Credentials
from .aside import aside
from .pipe import Pipe

LOOK_EVERY = 1.0
"""Seconds between looks whether the credential is another."""
RENEW_AFTER = 0.7, 0.8
"""Part of its life after which a credential is renewed; where between, so that a fleet does not
come at once, is chance."""
ISSUE_LIMIT = 10.0
"""Seconds that an issuer has."""
AUTH_LIMIT = 2.0
"""Seconds for an answer to AUTH; on the durable lane it may stand behind a WAIT."""
RETRY_BASE, RETRY_CAP = 1.0, 30.0
_MISTAKEN = frozenset({"NOAUTH", "WRONGPASS"})


class Account:
    """Holds the credential of one user, and the connections that it has opened.

    Servers take AUTH on a living connection. So a token that expires ends nothing, and a password
    that is to be withdrawn is out of use before it is.

    Args:
        source: has the credential.
        setting: what the source goes by, to be named where a server refuses the credential.
    """

    def __init__(self, source: Source, *, setting: str, clock: Clock, events: Events) -> None:
        self._source = source
        self.setting = setting
        self._clock = clock
        self._events = events
        self._held: Credential | None = None
        self._renew_at = float("inf")
        self._issuing: asyncio.Task[Credential] | None = None
        self._living: WeakKeyDictionary[Pipe, Credential] = WeakKeyDictionary()
        self._told: str | None = None
        self._refusals = 0
        self._not_before = float("-inf")

    async def present(self) -> Credential:
        """What to log in with now.

        Raises:
            SettingsError, LinkDownError: there is none; see `Source.issue`.
        """
        if not self._source.blocks:
            return self._source.issue()
        held = self._held
        if held is not None and not self._expired(held):
            return held  # `run` renews it; nobody waits for that meanwhile
        return await self._renewed()

    def _expired(self, credential: Credential) -> bool:
        return credential.expires_at is not None and credential.expires_at <= self._clock.wall()

    async def _renewed(self) -> Credential:
        """Have one issued; who asks meanwhile waits for the same."""
        if self._issuing is None or self._issuing.done():
            self._issuing = asyncio.create_task(self._issue())
        try:
            async with asyncio.timeout(ISSUE_LIMIT):
                return await asyncio.shield(self._issuing)
        except TimeoutError:
            raise LinkDownError(
                f"no credential was issued within {ISSUE_LIMIT:g} s",
                remedy="check the way to the issuer",
            ) from None

    async def _issue(self) -> Credential:
        # An issuer whose tokens are refused, or over at once, is not asked without a pause.
        await asyncio.sleep(max(self._not_before - self._clock.monotonic(), 0))
        self._not_before = self._clock.monotonic() + full_jitter(
            self._refusals, base=RETRY_BASE, cap=RETRY_CAP
        )
        self._refusals += 1
        began = self._clock.wall()
        issued = await aside("a credential", self._source.issue)
        if self._expired(issued):
            raise LinkDownError("the credential that was issued is over", remedy="check the clocks")
        self._held = issued
        life = (issued.expires_at or float("inf")) - began
        self._renew_at = began + life * random.uniform(*RENEW_AFTER)
        return issued

    def refused(self, credential: Credential) -> None:
        """A server does not take this: have another one issued for the next connection."""
        if credential is self._held:
            self._held = None

    def close(self) -> None:
        """Wait for no issuer any more."""
        if self._issuing is not None:
            self._issuing.cancel()

    def opened(self, pipe: Pipe, credential: Credential) -> None:
        """A connection has been opened with this."""
        self._refusals = 0
        self._living[pipe] = credential

    async def run(self) -> None:
        """Keep the connections logged in, until cancelled."""
        failures = 0
        while True:
            if failures == 0:
                due = self._renew_at - self._clock.wall()
                await asyncio.sleep(min(LOOK_EVERY, max(due, 0.0)))
            else:
                await asyncio.sleep(full_jitter(failures, base=RETRY_BASE, cap=RETRY_CAP))
            trouble = await self._keep_logged_in()
            failures = failures + 1 if trouble is not None else 0
            if trouble is not None and trouble != self._told:
                self._events.emit(RenewalFailed(trouble))
            self._told = trouble

    async def _keep_logged_in(self) -> str | None:
        """Present what is due where it was not yet; why that failed, or None."""
        trouble: str | None = None
        try:
            if self._held is not None and self._clock.wall() >= self._renew_at:
                await self._renewed()
        except AragoraRedisError as error:
            trouble = str(error)
        try:
            due = await self.present()
        except AragoraRedisError as error:
            return str(error)
        if due.secret is None:
            return trouble
        pipes = [pipe for pipe, was in self._living.items() if was != due and pipe.closed is None]
        said = await asyncio.gather(*(self._log_in(pipe, due) for pipe in pipes))
        return next((each for each in (trouble, *said) if each is not None), None)

    async def _log_in(self, pipe: Pipe, due: Credential) -> str | None:
        try:
            await pipe.request("AUTH", *due.words(), timeout=AUTH_LIMIT)
        except AragoraRedisError as error:
            # What was presented before holds on: a password file may be ahead of the server.
            if pipe.closed is not None:
                return None
            if isinstance(error, RefusedError) and error.code in _MISTAKEN:
                return f"{error.message} (check {self.setting})"
            return str(error)
        self._living[pipe] = due
        self._refusals = 0
        return None


def account_of(credentials: Credentials, *, setting: str, clock: Clock, events: Events) -> Account:
    """The account that the settings ask for; `setting` has its password.

    Raises:
        SettingsError: the library of the issuer is not installed.
    """
    return Account(source_of(credentials), setting=setting, clock=clock, events=events)
