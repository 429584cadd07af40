"""aragora-redis, through its public faces."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from itertools import cycle, islice

from aragora_redis import SharedState
from aragora_redis.sync import SharedState as SyncSharedState
from aragora_redis.tokens.entry import DAY

from ..drive import Opening, Parameters, by_blocks, by_callers, by_threads
from ..revoked import fill
from ..target import KEYS, SUBJECTS, Target

PACKAGES = ("aragora-redis", "redis", "hiredis")
LONG = "user:" + "x" * 300
DATA = {"cart": ["one", "two"], "theme": "dark", "visits": 0}


@asynccontextmanager
async def check(target: Target, parameters: Parameters) -> Opening:
    """A whole decision each: policy, deny cache, deadline, decision object."""
    async with SharedState.from_env(target.env) as state:
        limits = state.rate_limits

        async def one(number: int) -> None:
            decision = await limits.check("api", SUBJECTS[number % KEYS])
            if not decision.allowed:
                raise RuntimeError("refused")

        yield by_callers(one, parameters["callers"])


@asynccontextmanager
async def check_sync(target: Target, parameters: Parameters) -> Opening:
    """The same from threads."""
    state = SyncSharedState.from_env(target.env)
    await asyncio.to_thread(state.__enter__)  # it would hold up this loop
    limits = state.rate_limits

    def one(number: int) -> None:
        if not limits.check("api", SUBJECTS[number % KEYS]).allowed:
            raise RuntimeError("refused")

    try:
        yield by_threads(one, parameters["threads"])
    finally:
        await asyncio.to_thread(state.close)


@asynccontextmanager
async def check_here(target: Target, parameters: Parameters) -> Opening:
    """Answers that need no round trip: `leased` tokens, or refusals that are known.

    With `long`, of subjects of 300 characters.
    """
    policy = "leased" if parameters.get("leased") else "scarce"
    subject = LONG if parameters.get("long") else SUBJECTS[0]
    async with SharedState.from_env(target.env) as state:
        limits = state.rate_limits
        for _ in range(2):  # the token of the scarce one is taken, and the refusal known
            await limits.check(policy, subject)

        async def block(count: int) -> None:
            for _ in range(count):
                await limits.check(policy, subject)

        yield by_blocks(block)


@asynccontextmanager
async def closed(target: Target, _parameters: Parameters) -> Opening:
    """A healthy call through a circuit."""
    async with SharedState.from_env(target.env) as state:
        circuit = state.circuits["upstream"]

        async def block(count: int) -> None:
            for _ in range(count):
                async with circuit:
                    pass

        yield by_blocks(block)


@asynccontextmanager
async def read_modify_write(target: Target, parameters: Parameters) -> Opening:
    """A session is read and one field of it changed."""
    async with SharedState.from_env(target.env) as state:
        sessions = state.sessions
        ids = [(await sessions.create(data=DATA)).id for _ in range(KEYS)]

        async def one(number: int) -> None:
            session = await sessions.get(ids[number % KEYS])
            if session is None:
                raise RuntimeError("gone")
            visits = session.data["visits"]
            await sessions.update(session, set={"visits": visits + 1})

        yield by_callers(one, parameters["callers"])


@asynccontextmanager
async def is_revoked(target: Target, parameters: Parameters) -> Opening:
    """Look-ups among `entries` revocations, of tokens that are not revoked.

    With `claims`, of tokens with a user and a moment of issue, where every user has a cut-off, and
    the age of what is known counts. With `ids`, of so many: of some tens of thousands none is
    remembered when it comes again.
    """
    deny = {"ARAGORA_TOKENS_ON_OUTAGE": "deny"} if parameters.get("claims") else {}
    async with SharedState.from_env({**target.env, **deny}) as state:
        tokens, now = state.tokens, time.time()
        fill(state.revocations.shards, parameters["entries"], int(now // DAY) + 1)
        while (state.status().staleness or 0.0) > 1:  # which held up the loop
            await asyncio.sleep(0.05)
        ids = parameters.get("ids", KEYS)
        asked: list[dict[str, object]] = [{"jti": f"good-{number}"} for number in range(ids)]
        if parameters.get("claims"):
            asked = [{**claims, "sub": f"user-{at}", "iat": now} for at, claims in enumerate(asked)]
            for at in range(KEYS):
                await tokens.revoke_user(f"user-{at}", issued_before=now - 3600)

        turns = cycle(asked)

        async def block(count: int) -> None:
            for claims in islice(turns, count):
                if tokens.is_revoked(claims):
                    raise RuntimeError("revoked")

        yield by_blocks(block)


TASKS = {
    "check": check,
    "check-sync": check_sync,
    "check-here": check_here,
    "closed": closed,
    "is-revoked": is_revoked,
    "read-modify-write": read_modify_write,
}
