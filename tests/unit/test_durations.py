"""Whatever takes seconds takes a `timedelta` as well, on both faces, and nothing that is no span.

The parameters are found by their annotations: one that is new has no call here, and fails.
"""

from __future__ import annotations

import asyncio
import inspect
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import httpx
import jwt
import pytest
from tests.artefacts import api_reference
from tests.artefacts.api_reference import CHAPTERS

from aragora_redis import LimitCheck, Rate, sync, testing
from aragora_redis.errors import InvalidInputError, Ran
from aragora_redis.sessions.client import UNKNOWN
from aragora_redis.sessions.policy import SessionPolicy
from aragora_redis.settings import JwtSettings, Secret, Settings
from aragora_redis.settings.model import TokenSettings
from aragora_redis.state.embedded import EmbeddedExecutor
from aragora_redis.sync.rate_limits import Reserved
from aragora_redis.testing import FakeClock
from aragora_redis.testing import sync as testing_sync
from aragora_redis.web.httpx import LimitTransport, SyncLimitTransport
from aragora_redis.web.session import Values
from aragora_redis.web.starlette import SessionMiddleware, WebSession
from aragora_redis.web.threaded_session import ThreadedSession

KEY = "0123456789abcdef" * 4
SETTINGS = Settings(
    jwt=JwtSettings(Secret(KEY), required=()), tokens=TokenSettings(pardon_key=Secret("p" * 32))
)
POLICIES = """
[limits.api]
rate = "2 per minute"
burst = 100
"""

# --- which there are --------------------------------------------------------------------

THREADS = {
    **{name: getattr(sync, name) for name in sync.__all__},
    **{each.__name__: each for each in (Reserved, SyncLimitTransport, ThreadedSession)},
}
NO_SPANS = {
    "Tokens.revoked_until(expires_at)": "an instant",
    "FakeClock.__init__(wall)": "an instant",
    "Reserving.__init__(ttl)": "`reserve` makes it",
    "Reserved.__init__(ttl)": "`reserve` makes it",
}


def shown() -> Iterator[tuple[str, Callable[..., Any]]]:
    """What a service calls with tasks, and all of what is for threads."""
    for chapter in CHAPTERS:
        for name, thing in api_reference.shown(chapter):
            if not inspect.isclass(thing):
                yield name, thing
            elif not issubclass(thing, Exception) and thing not in THREADS.values():
                for attribute, member in api_reference.members(chapter, thing):
                    yield f"{name}.{attribute}", getattr(member, "__func__", member)
                if not chapter.at and not api_reference._is_value(thing):
                    yield f"{name}.__init__", vars(thing).get("__init__", lambda: None)
    for name, thing in THREADS.items():
        for attribute, member in inspect.getmembers(thing, inspect.isfunction):
            if attribute == "__init__" or not attribute.startswith("_"):
                yield f"{name}.{attribute}", member


def annotated(words: str) -> set[str]:
    """The parameters whose annotation has one of these words."""
    return {
        f"{name}({parameter.name})"
        for name, function in shown()
        if inspect.isfunction(function)
        for parameter in inspect.signature(function).parameters.values()
        if re.search(rf"\b({words})\b", str(parameter.annotation))
    }


def optional(name: str) -> bool:
    """Whether it may be left open."""
    function, parameter = name.removesuffix(")").split("(")
    signatures = (inspect.signature(found) for known, found in shown() if known == function)
    found = next(signatures).parameters[parameter]
    return found.default is None or "None" in str(found.annotation)


# --- a call for each of them ------------------------------------------------------------


def nobody(*_: object) -> Any:
    raise AssertionError("nobody asks for it")


def transport(kind: type, given: Any, span: Any) -> Any:
    return kind(given.state.rate_limits, "api", wait=span, transport=httpx.MockTransport(nobody))


def web_session(given: Any) -> WebSession:
    return WebSession(given.state.sessions, None, overwrite=False)


def threaded_session(given: Any) -> ThreadedSession:
    return ThreadedSession(given.state, None, overwrite=False, client=UNKNOWN, values=Values())


BOTH: dict[str, Callable[[Any, Any], Any]] = {
    "SharedState.wait_ready(within)": lambda g, span: g.state.wait_ready(span),
    "RateLimits.acquire(wait)": lambda g, span: g.limits.acquire("api", "u", wait=span),
    "RateLimits.acquire_all(wait)": lambda g, span: g.limits.acquire_all(
        LimitCheck("api", "u"), wait=span
    ),
    "RateLimits.limit(wait)": lambda g, span: g.limits.limit("api", "u", wait=span),
    "RateLimits.reserve(ttl)": lambda g, span: g.limits.reserve("api", "u", 1, ttl=span),
    "RateLimits.keep(ttl)": lambda g, span: g.limits.keep(g.reserved.id, span),
    "RateLimits.set_limit(ttl)": lambda g, span: g.limits.set_limit(
        "api", "u", Rate("1/second"), ttl=span
    ),
    "Reserved.keep(ttl)": lambda g, span: g.reserved.keep(span),
    "Tokens.verify(within)": lambda g, span: g.tokens.verify(g.token, within=span),
    "Tokens.revoke(within)": lambda g, span: g.tokens.revoke("a", expires_at=g.later, within=span),
    "Tokens.revoke_user(within)": lambda g, span: g.tokens.revoke_user("7", within=span),
    "Tokens.revoke_family(within)": lambda g, span: g.tokens.revoke_family("f", within=span),
    "Tokens.revoke_tenant(within)": lambda g, span: g.tokens.revoke_tenant(
        "t", users=1, within=span
    ),
    "Tokens.pardon(within)": lambda g, span: g.tokens.pardon(jti="revoked", within=span),
    "Tokens.import_all(within)": lambda g, span: g.tokens.import_all(g.lines, within=span),
    "RefreshTokens.begin(lifetime)": lambda g, span: g.refresh.begin("42", lifetime=span),
    "RefreshTokens.begin(absolute)": lambda g, span: g.refresh.begin("42", absolute=span),
    "RefreshTokens.rotate(lifetime)": lambda g, span: g.refresh.rotate(g.login, lifetime=span),
    "RefreshTokens.rotate(within)": lambda g, span: g.refresh.rotate(g.login, within=span),
    "Sessions.create(idle)": lambda g, span: g.sessions.create("42", idle=span),
    "Sessions.create(absolute)": lambda g, span: g.sessions.create("42", absolute=span),
    "Sessions.create(within)": lambda g, span: g.sessions.create("42", within=span),
    "Sessions.update(within)": lambda g, span: g.sessions.update(g.of_user, within=span),
    "Sessions.rotate(grace)": lambda g, span: g.sessions.rotate(g.of_user, grace=span),
    "Sessions.rotate(within)": lambda g, span: g.sessions.rotate(g.of_user, within=span),
    "Sessions.authenticate(idle)": lambda g, span: g.sessions.authenticate(
        g.of_nobody, "42", idle=span
    ),
    "Sessions.authenticate(absolute)": lambda g, span: g.sessions.authenticate(
        g.of_nobody, "42", absolute=span
    ),
    "Sessions.authenticate(within)": lambda g, span: g.sessions.authenticate(
        g.of_nobody, "42", within=span
    ),
    "Sessions.end(within)": lambda g, span: g.sessions.end(g.of_user, within=span),
    "Sessions.end_unchanged(within)": lambda g, span: g.sessions.end_unchanged(
        g.of_user, within=span
    ),
    "Sessions.of_user(within)": lambda g, span: g.sessions.of_user("42", within=span),
    "Sessions.end_user(within)": lambda g, span: g.sessions.end_user("42", within=span),
    "Sessions.end_all(within)": lambda g, span: g.sessions.end_all(within=span),
    "Sessions.end_one_of(within)": lambda g, span: g.sessions.end_one_of(
        "42", g.of_user.handle, within=span
    ),
    "Circuits.force(ttl)": lambda g, span: g.state.circuits.force("c", "open", ttl=span),
    "Circuit.report(duration)": lambda g, span: g.state.circuits["c"].report(
        g.permit, ok=True, duration=span
    ),
}
OF_TASKS: dict[str, Callable[[Any, Any], Any]] = {
    "SessionPolicy.lasting(idle)": lambda _, span: SessionPolicy().lasting(span, None),
    "SessionPolicy.lasting(absolute)": lambda _, span: SessionPolicy().lasting(None, span),
    "LimitTransport.__init__(wait)": lambda g, span: transport(LimitTransport, g, span),
    "WebSession.login(idle)": lambda g, span: web_session(g).login("42", idle=span),
    "WebSession.login(absolute)": lambda g, span: web_session(g).login("42", absolute=span),
    "SessionMiddleware.__init__(max_age)": lambda g, span: SessionMiddleware(
        nobody, state=g.state, max_age=span
    ),
    "FakeClock.advance(seconds)": lambda g, span: g.clock.advance(span),
}
OF_THREADS: dict[str, Callable[[Any, Any], Any]] = {
    "SyncLimitTransport.__init__(wait)": lambda g, span: transport(SyncLimitTransport, g, span),
    "ThreadedSession.login(idle)": lambda g, span: threaded_session(g).login("42", idle=span),
    "ThreadedSession.login(absolute)": lambda g, span: threaded_session(g).login(
        "42", absolute=span
    ),
}
CALLS = [
    *(("tasks", *each) for each in (BOTH | OF_TASKS).items()),
    *(("threads", *each) for each in (BOTH | OF_THREADS).items()),
]
each_call = pytest.mark.parametrize(
    ("face", "name", "call"), CALLS, ids=[f"{face} {name}" for face, name, _ in CALLS]
)


def test_each_parameter_is_tried_and_none_takes_seconds_alone():
    assert annotated("Duration|GivenMaxAge") == {*BOTH, *OF_TASKS, *OF_THREADS}
    assert annotated("float") == NO_SPANS.keys()


class Face:
    """A state in memory, and what there is to be asked of it."""

    def __init__(self, face: str) -> None:
        self._runner = asyncio.Runner() if face == "tasks" else None
        memory = testing if self._runner else testing_sync
        self.clock = FakeClock()
        state = memory.memory_state(POLICIES, clock=self.clock, settings=SETTINGS)
        self.here = state if self._runner else state.crossing.here
        self.given = given = SimpleNamespace(
            state=state,
            clock=self.clock,
            limits=state.rate_limits,
            tokens=state.tokens,
            refresh=state.refresh_tokens,
            sessions=state.sessions,
            later=self.clock.wall() + 3600,
        )
        given.token = jwt.encode({"jti": "t", "exp": int(given.later)}, KEY, "HS256")
        given.reserved = self.ask(lambda: given.limits.reserve("api", "r", 1))
        given.of_user = self.ask(lambda: given.sessions.create("42"))
        given.of_nobody = self.ask(given.sessions.create)
        given.permit = self.ask(state.circuits["c"].acquire)
        given.login = given.refresh.begin("42")
        self.ask(lambda: given.tokens.revoke("revoked", expires_at=given.later))
        given.lines = self.ask(lambda: exported(given.tokens.export_all()))

    def ask(self, call: Callable[[], Any]) -> Any:
        """What a call comes to."""
        return call() if self._runner is None else self._runner.run(settled(call))

    def close(self) -> None:
        self.ask(self.given.state.close)
        if self._runner is not None:
            self._runner.close()


async def settled(call: Callable[[], Any]) -> Any:
    found = call()
    return await found if inspect.isawaitable(found) else found


def exported(pieces: Any) -> Any:
    async def collected() -> list[bytes]:
        return [line async for piece in pieces for line in piece.splitlines(keepends=True)]

    if not inspect.isasyncgen(pieces):
        return [line for piece in pieces for line in piece.splitlines(keepends=True)]
    return collected()


@pytest.fixture
def there(face):
    made = Face(face)
    yield made
    made.close()


@each_call
@pytest.mark.parametrize("span", [30, 30.0, timedelta(seconds=30)], ids=repr)
def test_a_span_of_time_is_taken(there, name, call, span):
    del name
    there.ask(lambda: call(there.given, span))


NO_TIMES = [
    *(-1, -0.001, float("nan"), float("inf"), 10**400),
    *(timedelta(seconds=-1), timedelta.max),
    *("30", b"30", [30], True, 30j, None, datetime(2030, 1, 1, tzinfo=UTC)),
]


@each_call
def test_what_is_none_is_refused_by_name_and_nothing_runs(there, name, call, monkeypatch):
    ran = []

    async def run(_self, operation, **_):
        ran.append(operation)

    known = len(there.here.tokens)
    if there.given.state is there.here:  # else others run in the background
        monkeypatch.setattr(EmbeddedExecutor, "run", run)
    parameter = name.removesuffix(")").partition("(")[2]
    for span in NO_TIMES:
        if span is None and optional(name):
            continue
        with pytest.raises(InvalidInputError) as refused:
            there.ask(lambda span=span: call(there.given, span))
        assert re.match(rf"{parameter} must be a span of time", refused.value.message), span
        assert refused.value.ran is Ran.NO
    assert (ran, len(there.here.tokens)) == ([], known)


# --- and what a `timedelta` comes to ----------------------------------------------------


@pytest.mark.parametrize("face", ["tasks", "threads"])
def test_days_hours_and_parts_of_a_second_count(there):
    given, now = there.given, there.clock.wall()
    span = timedelta(hours=1, milliseconds=500)

    made = there.ask(lambda: given.sessions.create("7", idle=span / 2, absolute=span))
    assert (made.idle, made.expires_at - made.created_at) == pytest.approx((1800.25, 3600.5))

    there.ask(lambda: given.limits.set_limit("api", "u", Rate("1/second"), ttl=span))
    peeked = there.ask(lambda: given.limits.peek("api", "u"))
    assert peeked.until == pytest.approx(now + 3600.5)

    forced = there.ask(lambda: given.state.circuits.force("f", "open", ttl=span))
    assert forced.forced_until == pytest.approx(now + 3600.5)

    claims = given.refresh.begin("42", lifetime=timedelta(days=2))
    assert claims["exp"] - claims["iat"] == 2 * 86_400


@pytest.mark.parametrize("face", ["tasks", "threads"])
def test_what_lapses_does_so_after_it(there):
    given, grace = there.given, timedelta(milliseconds=1500)
    rotated = there.ask(lambda: given.sessions.rotate(given.of_user, grace=grace))
    reserved = there.ask(lambda: given.limits.reserve("api", "u", 60, ttl=grace))
    there.clock.advance(timedelta(seconds=1.4))
    assert there.ask(lambda: given.sessions.get(given.of_user.id)).handle == rotated.handle
    assert there.ask(lambda: given.limits.peek("api", "u")).decision.remaining == 40
    there.clock.advance(timedelta(seconds=0.2))
    assert there.ask(lambda: given.limits.peek("api", "u")).decision.remaining == 100
    assert there.ask(lambda: given.sessions.get(given.of_user.id)) is None
    assert reserved.allowed


@pytest.mark.parametrize(
    ("given", "kept"),
    [(None, None), ("session", "session"), (90, 90), (timedelta(minutes=1.5), 90), (0.5, 1)],
)
async def test_a_cookie_is_kept_for_whole_seconds(given, kept):
    middleware = SessionMiddleware(nobody, state=testing.memory_state(), max_age=given)
    assert middleware._lasting.max_age == kept
