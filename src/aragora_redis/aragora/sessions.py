"""Aragora's session store: its own one for Redis, led to the primary.

It holds values under names that Aragora chooses (states of debates, devices, connections of
WebSockets, events between servers), which our sessions, under ids of their own, cannot be. So what
stands in is not the store but its client: it goes through a proxy in this process, which leads to
the proven primary, and its errors are those that Aragora's store expects.
"""

from __future__ import annotations

import secrets
from importlib import import_module
from typing import Any

from ..errors import SettingsError
from ..settings import Settings
from .led import Led, client_of
from .seam import Finding, Where
from .versions import Checked

_HOME = "aragora.server.session_store"


def store_on(base: type[Any], client: Any) -> Any:
    """Aragora's store for Redis, on a client of ours, which its constructor asks for by name."""
    place: Any = import_module("aragora.utils.redis_config")
    own, place.get_redis_client = place.get_redis_client, lambda: client
    try:
        return base()
    finally:
        place.get_redis_client = own


class Sessions:
    """The seam."""

    feature = "session store"
    checked = Checked("2.11", "2.12")

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._left: str | None = None

    def install(self) -> None:
        """Be the store that Aragora gives out, where one port can lead to the Redis."""
        home: Any = import_module(_HOME)
        try:
            led = Led(self._settings)
        except SettingsError as error:
            self._left = error.message
            return
        home._session_store = store_on(home.RedisSessionStore, client_of(led))  # noqa: SLF001 - the seam

    def verify(self) -> Finding:
        """Store a state through Aragora's function, and find it."""
        if self._left is not None:
            return Finding(self.feature, Where.ALONE, f"Aragora's own: {self._left}")
        store = import_module(_HOME).get_session_store()
        name, state = f"self-check-{secrets.token_hex(8)}", {"seen": True}
        store.set_auth_state(name, state)
        found = store.get_auth_state(name)
        store.delete_auth_state(name)
        if not store.is_distributed:
            return Finding(self.feature, Where.MEMORY, "another store is given out")
        if found != state:
            return Finding(self.feature, Where.UNSEEN, "what is stored now is lost")
        return Finding(self.feature, Where.REDIS, "RedisSessionStore, led to the primary")
