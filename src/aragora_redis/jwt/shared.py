"""Keys that the settings or a file hold: the current one, and the one before it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jwt

from ..clock import Clock
from ..errors import SettingsError
from ..events import Events, KeysFetched
from ..settings import JwtSettings, Secret, names
from ..settings.files import secret_in

LOOK_EVERY = 1.0
"""Seconds between looks at the file."""


class _Former(NamedTuple):
    keys: dict[str, Any]
    until: float

    def __repr__(self) -> str:
        return f"_Former(until={self.until})"


class SharedKeys:
    """The keys of one issuer that gave them to us.

    Raises:
        SettingsError: a key is of no use to one of the algorithms, or its file cannot be read.
    """

    def __init__(self, settings: JwtSettings, clock: Clock, events: Events) -> None:
        self._settings = settings
        self._clock = clock
        self._events = events
        self._file = settings.secret_file
        self._secret = self._given()
        self._current = self._prepared(self._secret, names.JWT_SECRET)
        self._former: _Former | None = None
        if settings.previous is not None:
            keys = self._prepared(settings.previous, names.JWT_SECRET_PREVIOUS)
            self._former = _Former(keys, float("inf"))
        self.trouble: str | None = None
        """Why the file was not taken as it is now."""

    @property
    def age(self) -> None:
        """They are never fetched."""

    @property
    def may_look_again(self) -> bool:
        """There is nobody to ask."""
        return False

    def fitting(self, algorithm: str, kid: str | None) -> Sequence[Any]:  # noqa: ARG002 - they have no names
        """The keys to try for a token, the current one first."""
        former = self._former
        if former is None or self._clock.monotonic() > former.until:
            return (self._current[algorithm],)
        return (self._current[algorithm], former.keys[algorithm])

    def cannot_say(self, algorithm: str, kid: str | None) -> None:
        """What is given is always known."""

    async def look_again(self, algorithm: str, kid: str | None, within: float) -> None:
        """There is nobody to ask."""

    async def run(self) -> None:
        """Look at the file until cancelled; without one there is nothing to do."""
        while self._file is not None:
            await asyncio.sleep(LOOK_EVERY)
            try:
                secret = await asyncio.to_thread(_key_in, self._file)
                self._take(secret)
            except SettingsError as error:
                self._told(error.message)

    def _take(self, secret: Secret) -> None:
        if secret != self._secret:
            keys = self._prepared(secret, names.JWT_SECRET_FILE)
            until = self._clock.monotonic() + self._settings.grace
            self._former = _Former(self._current, until)
            self._secret, self._current = secret, keys
            self.trouble = None
            self._events.emit(KeysFetched(1, None, changed=True))
        elif self.trouble is not None:
            self._told(None)

    def _told(self, trouble: str | None) -> None:
        changed, self.trouble = trouble != self.trouble, trouble
        if changed:
            self._events.emit(KeysFetched(1, trouble, changed=True))

    def _given(self) -> Secret:
        if self._file is not None:
            return _key_in(self._file)
        assert self._settings.secret is not None  # noqa: S101 - see `Verifier`
        return self._settings.secret

    def _prepared(self, secret: Secret, variable: str) -> dict[str, Any]:
        """The key as each algorithm takes it, so that it is not parsed for each token."""
        try:
            return {
                name: jwt.get_algorithm_by_name(name).prepare_key(secret.reveal())
                for name in self._settings.algorithms
            }
        except (jwt.PyJWTError, ValueError, TypeError, NotImplementedError):
            raise SettingsError(
                f"{variable} is no key for {', '.join(self._settings.algorithms)}",
                remedy="give the key that fits ARAGORA_JWT_ALGORITHMS: a public key (PEM), "
                "or for HS algorithms the shared text",
            ) from None


def _key_in(path: Path) -> Secret:
    return secret_in(path, "key", names.JWT_SECRET_FILE)
