"""A plain client that is led to the primary, for code of Aragora that speaks Redis itself.

A proxy runs in a thread of this process, on a port of loopback: what it leads is logged in by the
client, so that the port opens nothing to anybody else.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from typing import Any

from redis import Redis
from redis.client import PubSub
from redis.credentials import CredentialProvider
from redis.exceptions import RedisError

from ..address import Address
from ..clock import SYSTEM_CLOCK
from ..events import Events
from ..identity import source_of
from ..proxy import Plan, Proxy
from ..settings import Credentials, Settings

CONNECTIONS = 200
WAIT = 1.0
"""Seconds that a connection waits for a primary: the caller may be an event loop."""
ANSWER_LIMIT = 2.0
LISTEN_LIMIT = 10.0
AGAIN = 0.5
"""Seconds before a subscription that was lost is made again."""

_log = logging.getLogger(__name__)


class Led:
    """A proxy in a thread, for as long as this process lives.

    Raises:
        SettingsError: one port cannot lead to this Redis.
    """

    def __init__(self, settings: Settings) -> None:
        plan = Plan(listen=Address("127.0.0.1", 0), max_connections=CONNECTIONS, wait=WAIT)
        plan.check(settings)
        self.settings = settings
        self._plan = plan
        self._listens = threading.Event()
        self.port = 0
        threading.Thread(target=self._run, name="aragora-redis-led", daemon=True).start()
        self._listens.wait(LISTEN_LIMIT)

    def _run(self) -> None:
        asyncio.run(self._lead())

    async def _lead(self) -> None:
        # Events of the links are those of the state, which tells them already.
        async with Proxy(self.settings, self._plan, clock=SYSTEM_CLOCK, events=Events()) as proxy:
            self.port = proxy.ports["primary"][0].port
            self._listens.set()
            await asyncio.Event().wait()


class _Login(CredentialProvider):
    """What the settings say when a connection is made."""

    def __init__(self, credentials: Credentials) -> None:
        self._source = source_of(credentials)

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        issued = self._source.issue()
        secret = "" if issued.secret is None else issued.secret.reveal()
        return (issued.username, secret) if issued.username is not None else (secret,)


class _Subscription(PubSub):
    """One whose thread outlives the loss of a connection."""

    def run_in_thread(self, *args: Any, **options: Any) -> Any:
        return super().run_in_thread(
            *args, **options | {"exception_handler": _wait_a_moment, "daemon": True}
        )


def _wait_a_moment(error: BaseException, *_: object) -> None:
    _log.debug("a subscription was lost", exc_info=error)
    time.sleep(AGAIN)


class LedClient(Redis):
    """Redis-py's, with the errors that whoever looks for the built-in ones catches."""

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """As redis-py does.

        Raises:
            ConnectionError: the built-in one, for whatever went wrong.
        """
        try:
            # Redis-py does not type it.
            return super().execute_command(*args, **options)  # type: ignore[no-untyped-call]  # redis-py's
        except RedisError as error:
            raise ConnectionError(f"Redis did not do that: {type(error).__name__}") from error

    def pubsub(self, **options: Any) -> PubSub:
        """As redis-py does; its thread goes on after a failover."""
        return _Subscription(self.connection_pool, **options)


def client_of(led: Led) -> LedClient:
    """A client as Aragora makes it, for the database of the settings."""
    logs_in = led.settings.credentials.auth != "password" or (
        led.settings.credentials.password() is not None
    )
    return LedClient(
        host="127.0.0.1",
        port=led.port,
        db=led.settings.db,
        credential_provider=_Login(led.settings.credentials) if logs_in else None,
        socket_timeout=ANSWER_LIMIT,
        socket_connect_timeout=ANSWER_LIMIT,
        decode_responses=True,
    )
