"""The pages for those who come from another library: both sides of each diff run, and do the same.

A page has one diff, whose lines make two whole programs: the one before and the one after.
"""

from __future__ import annotations

import asyncio
import gc
import re
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.integration.past import give_past
from tests.integration.test_how_to import blocks

from aragora_redis.policies import parse_policies

ROOT = Path(__file__).parents[2] / "docs" / "coming-from"
BEFORE, AFTER = "-", "+"


def program(page: str, side: str) -> str:
    """The lines of a page's diff that one of its sides has."""
    (diff,) = (block.code for block in blocks(ROOT / page) if block.language == "diff")
    lines = diff.splitlines()
    assert all(line[:1] in {"", " ", BEFORE, AFTER} for line in lines)
    return "\n".join(line[1:] for line in lines if line[:1] in {"", " ", side})


async def asked(app: Any, *requests: tuple[str, str]) -> list[tuple[int, Any]]:
    """What an ASGI application answers to requests of one client, in turn."""
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(app.router.lifespan_context(app))
        transport = httpx.ASGITransport(app, client=("203.0.113.9", 1))
        client = httpx.AsyncClient(transport=transport, base_url="http://service")
        await stack.enter_async_context(client)
        answers = [await client.request(*each) for each in requests]
    return [(each.status_code, each.json() if each.is_success else None) for each in answers]


async def slowapi(names: dict[str, Any]) -> Any:
    return [status for status, _ in await asked(names["app"], *[("GET", "/quote")] * 6)]


async def limits(names: dict[str, Any]) -> Any:
    async with AsyncExitStack() as stack:
        if "state" in names:
            await stack.enter_async_context(names["state"])
        return [await names["log_in"](user) for user in ("ann", "ann", "ann", "ann", "bob")]


async def starsessions(names: dict[str, Any]) -> Any:
    visit = ("POST", "/visit")
    requests = visit, ("POST", "/login"), visit, visit, ("POST", "/logout"), visit
    return [
        (status, body.get("user"), body.get("visits"))
        for status, body in await asked(names["app"], *requests)
    ]


async def pybreaker(names: dict[str, Any]) -> Any:
    def fails() -> str:
        raise ConnectionError

    def call_until_refused() -> list[str]:
        said = [names["quote"](fails) for _ in range(2)]
        names["quote"](fails)  # of the call that opens it the one before says that it is open
        end = time.monotonic() + 20
        while "state" in names and names["quotes"].state != "open":
            assert time.monotonic() < end
            time.sleep(0.01)
        return [*said, names["quote"](lambda: "42")]

    try:
        return await asyncio.to_thread(call_until_refused)
    finally:
        await asyncio.to_thread(close, names)


async def flask_jwt_extended(names: dict[str, Any]) -> Any:
    def visit() -> list[int]:
        if "state" in names:
            assert names["state"].wait_ready(20)
        client = names["app"].test_client()
        sent = {"Authorization": f"Bearer {client.post('/login').json['token']}"}
        answers = client.get("/me", headers=sent), client.post("/logout", headers=sent)
        return [each.status_code for each in (*answers, client.get("/me", headers=sent))]

    try:
        return await asyncio.to_thread(visit)
    finally:
        await asyncio.to_thread(close, names)


async def flask_limiter(names: dict[str, Any]) -> Any:
    return [status for status, _ in await flask_asked(names, *[("GET", "/quote")] * 6)]


async def flask_session(names: dict[str, Any]) -> Any:
    visit = ("POST", "/visit")
    requests = visit, ("POST", "/login"), visit, visit, ("POST", "/logout"), visit
    return [
        (status, body.get("user"), body.get("visits"))
        for status, body in await flask_asked(names, *requests)
    ]


async def flask_asked(names: dict[str, Any], *requests: tuple[str, str]) -> list[tuple[int, Any]]:
    """What a Flask application answers to requests of one client, in turn."""

    def ask() -> list[tuple[int, Any]]:
        if "state" in names:
            assert names["state"].wait_ready(20)
        client = names["app"].test_client()
        answers = [client.open(path, method=method) for method, path in requests]
        return [(each.status_code, each.json) for each in answers]

    try:
        return await asyncio.to_thread(ask)
    finally:
        await asyncio.to_thread(close, names)


def close(names: dict[str, Any]) -> None:
    if "state" in names:
        names["state"].close()


VISITS = [
    (200, None, 1),
    (200, "42", None),
    (200, "42", 2),
    (200, "42", 3),
    (200, None, None),
    (200, None, 1),
]
"""Status, user and visits of a visit, a login, two visits, a logout, and a visit."""
SAME: dict[str, tuple[Callable[[dict[str, Any]], Any], Any]] = {
    "slowapi.md": (slowapi, [200] * 5 + [429]),
    "limits.md": (limits, ["welcome"] * 3 + ["too many attempts", "welcome"]),
    "starsessions.md": (starsessions, VISITS),
    "flask-limiter.md": (flask_limiter, [200] * 5 + [429]),
    "flask-session.md": (flask_session, VISITS),
    "pybreaker.md": (pybreaker, ["it failed", "it failed", "not now"]),
    "flask-jwt-extended.md": (flask_jwt_extended, [200, 200, 401]),
}
"""For each page what is done with both programs, and what it comes to."""


def test_each_page_is_run():
    assert {page.name for page in ROOT.glob("*.md")} == set(SAME)


# What others leave open is theirs to close.
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    "side", [pytest.param(BEFORE, id="before"), pytest.param(AFTER, id="after")]
)
@pytest.mark.parametrize("page", SAME, ids=lambda page: page.removesuffix(".md"))
async def test_both_sides_of_a_page_do_the_same(page, side, standalone_lab, tmp_path, monkeypatch):
    prefix = "from-" + re.sub(r"\W", "-", page)
    await asyncio.to_thread(give_past, standalone_lab, ARAGORA_KEY_PREFIX=prefix)
    node = standalone_lab.node("redis-0")
    password = standalone_lab.password(node)
    monkeypatch.setenv("REDIS_URL", f"redis://:{password}@127.0.0.1:{node.port}/0")
    monkeypatch.setenv("ARAGORA_KEY_PREFIX", prefix)
    monkeypatch.setenv("ARAGORA_JWT_SECRET", "k" * 40)
    monkeypatch.setenv("ARAGORA_REDIS_DEADLINE", "1")  # others use the machine, too
    for block in blocks(ROOT / page):
        if block.language == "toml":
            parse_policies(block.code, source=page)
            (tmp_path / "policies.toml").write_text(block.code)
            monkeypatch.setenv("ARAGORA_POLICIES", str(tmp_path / "policies.toml"))
    names: dict[str, Any] = {"__name__": prefix}
    exec(compile(program(page, side), page, "exec"), names)  # noqa: S102 - it is our own page
    does, comes_to = SAME[page]
    try:
        assert await does(names) == comes_to
    finally:
        names.clear()
        gc.collect()
