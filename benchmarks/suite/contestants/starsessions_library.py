"""starsessions: a session is loaded, changed and saved, without the framework around it."""

from __future__ import annotations

from contextlib import asynccontextmanager

from redis.asyncio import Redis
from starlette.requests import HTTPConnection
from starsessions import JsonSerializer
from starsessions.session import SessionHandler, generate_session_id
from starsessions.stores.redis import RedisStore

from ..drive import Opening, Parameters, by_callers
from ..target import KEYS, Target

PACKAGES = ("starsessions", "redis", "starlette")
LIFETIME = 3600
DATA = {"cart": ["one", "two"], "theme": "dark", "visits": 0}


@asynccontextmanager
async def read_modify_write(target: Target, parameters: Parameters) -> Opening:
    """What its middleware does for a request that changes the session."""
    async with Redis.from_url(target.url) as client:
        store, serializer = RedisStore(connection=client), JsonSerializer()
        ids = [generate_session_id() for _ in range(KEYS)]
        for session_id in ids:
            await store.write(session_id, serializer.serialize(DATA), LIFETIME, LIFETIME)

        async def one(number: int) -> None:
            connection = HTTPConnection({"type": "http"})
            handler = SessionHandler(connection, ids[number % KEYS], store, serializer, LIFETIME)
            await handler.load()
            connection.session["visits"] += 1
            await handler.save(LIFETIME)

        yield by_callers(one, parameters["callers"])


TASKS = {"read-modify-write": read_modify_write}
