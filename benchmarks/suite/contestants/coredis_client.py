"""coredis: the script by hand."""

from __future__ import annotations

from contextlib import asynccontextmanager

from coredis import Redis

from ..drive import Opening, Parameters, by_callers
from ..target import Target

PACKAGES = ("coredis",)


@asynccontextmanager
async def check(target: Target, parameters: Parameters) -> Opening:
    """Its client as it comes."""
    client = Redis(target.host, target.port, password=target.password)
    async with client:

        async def one(number: int) -> None:
            await client.evalsha(target.sha, keys=[target.key(number)], args=list(target.arguments))

        yield by_callers(one, parameters["callers"])


TASKS = {"check": check}
