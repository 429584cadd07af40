"""Verify tokens of one issuer, or of several that are told apart by their `iss`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from ..clock import SYSTEM_CLOCK, Clock
from ..errors import AragoraRedisError, InvalidInputError, KeysUnavailableError, SettingsError
from ..events import Events
from ..extras import installing
from ..settings import JwtSettings
from .reading import Header, header_of, invalid, issuer_said, read
from .shared import SharedKeys
from .verified import VerifiedToken

_NOT_PUBLISHED = "its issuer publishes no such key"


class Keys(Protocol):
    """Where the keys of an issuer are known."""

    trouble: str | None
    """Why they could not be renewed."""

    @property
    def may_look_again(self) -> bool:
        """Whether waiting for `look_again` can bring a key that is not known."""

    @property
    def age(self) -> float | None:
        """Seconds since they were fetched; None where they never are."""

    def fitting(self, algorithm: str, kid: str | None) -> Sequence[Any]:
        """The keys to try; nothing where none is known."""

    def cannot_say(self, algorithm: str, kid: str | None) -> KeysUnavailableError | None:
        """Why a key that is not known may be a good one, if it may."""

    async def look_again(self, algorithm: str, kid: str | None, within: float) -> None:
        """Ask for a key that is not known, for at most `within` seconds."""

    async def run(self) -> None:
        """Keep them fresh until cancelled."""


class Issuer(NamedTuple):
    """Who signs tokens, and how."""

    settings: JwtSettings
    keys: Keys


class Verifier:
    """Verifies tokens; only the algorithms of the settings are accepted, never `none`.

    Args:
        issuers: whose tokens are accepted; those without a key are left out.
        leeway: seconds by which the clocks of issuers may differ.

    Raises:
        SettingsError: a key is of no use, or two issuers cannot be told apart.
    """

    def __init__(
        self,
        *issuers: JwtSettings,
        leeway: float,
        clock: Clock = SYSTEM_CLOCK,
        events: Events | None = None,
    ) -> None:
        events = events if events is not None else Events()
        self._leeway = leeway
        self._clock = clock
        self._issuers = tuple(
            Issuer(each, _keys_of(each, clock, events)) for each in issuers if each.has_key
        )
        names = [each.issuer for each in issuers if each.has_key]
        if len(names) > 1 and (None in names or len(set(names)) < len(names)):
            raise SettingsError(
                "two issuers cannot be told apart", remedy="give each its own `issuer`"
            )

    @property
    def has_key(self) -> bool:
        """Whether any token can be verified."""
        return bool(self._issuers)

    @property
    def age(self) -> float | None:
        """Seconds since the oldest keys that are fetched were; None where none is."""
        ages = (each.keys.age for each in self._issuers)
        return max((age for age in ages if age is not None), default=None)

    @property
    def troubles(self) -> list[str]:
        """Why keys could not be renewed."""
        return [each.keys.trouble for each in self._issuers if each.keys.trouble is not None]

    async def verify(self, token: str, *, alive: bool = True, within: float = 1.0) -> VerifiedToken:
        """Verify a token; a key that is not known is asked for once.

        Args:
            token: as it was issued.
            alive: whether it must be within its lifetime too, or may be over or not begun.
            within: seconds to wait for a key.

        Raises:
            TokenInvalidError, TokenExpiredError: it is not to be believed.
            KeysUnavailableError: that cannot be said now.
            InvalidInputError: there is no key.
        """
        try:
            return self._verify(token, alive=alive)
        except _UnknownKeyError as unknown:
            await unknown.keys.look_again(*unknown.header, within)
        try:
            return self._verify(token, alive=alive)
        except _UnknownKeyError as unknown:
            raise unknown.refusal() from None

    def verify_at_once(self, token: str, *, alive: bool = True) -> VerifiedToken | None:
        """Verify a token with the keys that are known here; None where they have to be asked for.

        Raises as `verify` does.
        """
        try:
            return self._verify(token, alive=alive)
        except _UnknownKeyError as unknown:
            if unknown.keys.may_look_again:
                return None
            raise unknown.refusal() from None

    def _verify(self, token: str, *, alive: bool) -> VerifiedToken:
        issuer = self._issuer_of(token)
        header = header_of(token, issuer.settings.algorithms)
        keys = issuer.keys.fitting(header.algorithm, header.kid)
        if not keys:
            raise _UnknownKeyError(issuer.keys, header)
        return read(
            token,
            header,
            keys,
            issuer.settings,
            leeway=self._leeway,
            now=self._clock.wall(),
            alive=alive,
        )

    async def run(self) -> None:
        """Keep all keys fresh until cancelled."""
        async with asyncio.TaskGroup() as group:
            for each in self._issuers:
                group.create_task(each.keys.run())

    def _issuer_of(self, token: str) -> Issuer:
        if not self._issuers:
            raise InvalidInputError(
                "there is no key to verify tokens with",
                remedy="set ARAGORA_JWT_SECRET or ARAGORA_JWT_JWKS_URL, "
                "or send the jti of a token that you verified",
            )
        if len(self._issuers) == 1:
            return self._issuers[0]
        every = [name for each in self._issuers for name in each.settings.algorithms]
        header_of(token, every)  # bounds what is looked into
        said = issuer_said(token)
        for each in self._issuers:
            if each.settings.issuer == said:
                return each
        raise invalid("it is of another issuer")


class _UnknownKeyError(Exception):
    """The key that a token names is not known here."""

    def __init__(self, keys: Keys, header: Header) -> None:
        self.keys = keys
        self.header = header

    def refusal(self) -> AragoraRedisError:
        """What is answered where the issuer cannot be asked again now."""
        return self.keys.cannot_say(*self.header) or invalid(_NOT_PUBLISHED)


def _keys_of(settings: JwtSettings, clock: Clock, events: Events) -> Keys:
    if settings.jwks_url is None:
        return SharedKeys(settings, clock, events)
    try:
        from .published import PublishedKeys  # noqa: PLC0415 - httpx is slow to import
    except ModuleNotFoundError as error:
        raise SettingsError(
            f"published keys need {error.name}", remedy=installing("jwt")
        ) from error
    return PublishedKeys(
        settings.jwks_url, settings.algorithms, hold=settings.hold, clock=clock, events=events
    )
