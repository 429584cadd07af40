"""Write docs/API.md, what a service calls: `python -m tests.artefacts.api_reference --write`."""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple

from docstring_parser import Docstring, DocstringStyle, parse
from msgspec import Struct

import aragora_redis
from aragora_redis.reference import write_or_check

COMMITTED = Path("docs/API.md")

_HEAD = f"""\
# Python API

<!-- Written by `python -m tests.artefacts.api_reference --write`; edit the docstrings instead. -->

Durations are seconds and instants Unix seconds, unless it says otherwise. Who gives a call a
duration may give a `timedelta`, and where it says so a `datetime` for an instant. Every error is an
[`AragoraRedisError`](#errors), whose `ran` says whether the operation ran. For threads
`aragora_redis.sync` has the same methods without `await`, except where a method says otherwise. How
to use it: [how-to](README.md#how-to). The HTTP API describes itself at `/openapi.json`.

In `aragora_redis` itself are {", ".join(f"`{name}`" for name in aragora_redis.__all__)}.
"""


class Chapter(NamedTuple):
    """What of a module is shown, in this order; nothing named is all that it defines.

    What a state holds is shown without the arguments that make it.
    """

    title: str
    module: str
    names: tuple[str, ...] = ()
    at: str = ""
    inner: tuple[str, ...] = ()
    """What the other parts of the library call, and no service."""


_LIMITS = "aragora_redis.rate_limit"
CHAPTERS = (
    Chapter(
        "The state",
        "aragora_redis.state.shared",
        ("SharedState",),
        at="state",
        inner=("closed", "end_outages", "warn_not_ready"),
    ),
    Chapter("Its status", "aragora_redis.state.status", ("Status", "RedisStatus", "OnDisk")),
    Chapter("How far replicas are behind", "aragora_redis.topology.statement", ("Lag",)),
    Chapter("What a policies file says", "aragora_redis.policies"),
    Chapter(
        "Rate limits",
        "aragora_redis.state.rate_limits.rate_limits",
        ("RateLimits",),
        at="state.rate_limits",
        inner=(
            *("use", "run", "finish", "on_accepted", "on_push", "at_hand"),
            *("settle_debts", "in_debt"),
        ),
    ),
    Chapter("What a check says", f"{_LIMITS}.gcra", ("Decision", "Source")),
    Chapter("What a peek at a limit says", f"{_LIMITS}.gcra", ("Peek",)),
    Chapter("A limit around work", "aragora_redis.state.rate_limits.limited", ("Limited",)),
    Chapter("Several limits as one", f"{_LIMITS}.joint", ("LimitCheck", "JointDecision")),
    Chapter(
        "Calls that wait",
        "aragora_redis.state.rate_limits.waiting",
        ("Waiter",),
        inner=("wake", "rest"),
    ),
    Chapter(
        "Who has a limit of its own",
        "aragora_redis.state.rate_limits.own_limits",
        ("OwnLimits", "OwnLimit"),
    ),
    Chapter(
        "Reservations", "aragora_redis.state.rate_limits.reservations", ("Reserved", "Reserving")
    ),
    Chapter("What a settlement says", f"{_LIMITS}.reservation", ("Settlement", "Found", "Kept")),
    Chapter(
        "Limits as the policies file has them",
        f"{_LIMITS}.policy",
        ("LimitPolicy", "Rate", "OnOutage"),
    ),
    Chapter(
        "Revoked tokens",
        "aragora_redis.state.tokens.tokens",
        ("Tokens",),
        at="state.tokens",
        inner=("outbox_depth",),
    ),
    Chapter("Why a token is refused", "aragora_redis.tokens.claims", ("Verdict",)),
    Chapter(
        "Who revoked it and why",
        "aragora_redis.tokens.note",
        ("Note", "RevocationKind"),
        inner=("of", "read", "is_cut_off", "text"),
    ),
    Chapter("What is revoked", "aragora_redis.tokens.listing", ("RevocationList", "Revocation")),
    Chapter(
        "What a revocation came to",
        "aragora_redis.state.revocations.receipt",
        ("Receipt", "Level", "Imported"),
    ),
    Chapter("Verified tokens", "aragora_redis.jwt", ("VerifiedToken",)),
    Chapter("Refresh tokens", "aragora_redis.state.tokens.refresh", at="state.refresh_tokens"),
    Chapter(
        "Sessions",
        "aragora_redis.state.sessions.sessions",
        ("Sessions",),
        at="state.sessions",
        inner=("use", "run", "finish", "remembered", "now", "is_current", "read_limit"),
    ),
    Chapter(
        "What is known of a session", "aragora_redis.sessions.stored", ("Session", "SessionInfo")
    ),
    Chapter(
        "Where a session is used from", "aragora_redis.sessions.client", ("Client", "Remember")
    ),
    Chapter("Sessions that were ended", "aragora_redis.state.sessions.endable", ("EndedSessions",)),
    Chapter("Sessions as the policies file has them", "aragora_redis.sessions.policy"),
    Chapter(
        "Circuits",
        "aragora_redis.state.circuits.circuits",
        ("Circuits",),
        at="state.circuits",
        inner=("use", "run", "channel", "held", "in_flight", "on_push", "on_link_up"),
    ),
    Chapter(
        "One circuit",
        "aragora_redis.state.circuits.circuit",
        ("Circuit",),
        at='state.circuits["NAME"]',
        inner=(
            *("begin", "use", "adopt", "idle", "admit", "count", "give_up", "acquired"),
            *("monotonic", "tend", "report_evidence", "rest", "resting", "enter", "step_in"),
            *("count_at", "lease"),
        ),
    ),
    Chapter(
        "A guarded call",
        "aragora_redis.state.circuits.guard",
        ("Guard",),
        inner=("begin", "leave", "under_way"),
    ),
    Chapter(
        "Leave to make a call",
        "aragora_redis.circuit.permit",
        ("Permit",),
        inner=("holds_place", "generation", "with_place"),
    ),
    Chapter("How a circuit is", "aragora_redis.state.circuits.status", ("CircuitStatus",)),
    Chapter("Who has reported of it", "aragora_redis.circuit.operations", ("Reporter",)),
    Chapter("Circuits as the policies file has them", "aragora_redis.circuit.policy"),
    Chapter(
        "Acts by hand",
        "aragora_redis.state.audit.audit",
        ("Audit",),
        at="state.audit",
        inner=("act", "note", "run", "finish", "in_step", "record_again"),
    ),
    Chapter("A page of them", "aragora_redis.audit.page", ("Page",)),
    Chapter("One act", "aragora_redis.audit.act", ("Act",)),
    Chapter(
        "The shared state, for threads", "aragora_redis.sync", ("SharedState",), inner=("crossing",)
    ),
    Chapter("Calls by httpx", "aragora_redis.web.httpx"),
    Chapter(
        "Starlette",
        "aragora_redis.web.starlette",
        inner=("is_settled", "try_load", "keep_id", "cookie", "cookie_value", "cookie_age"),
    ),
    Chapter(
        "FastAPI",
        "aragora_redis.web.fastapi",
        ("install", "lifespan", "state_of", "RateLimit", "RequireToken"),
    ),
    Chapter(
        "Litestar",
        "aragora_redis.web.litestar",
        ("AragoraPlugin", "RateLimit", "RequireToken", "mounted", "session_of", "state_of"),
        inner=("on_app_init",),
    ),
    Chapter(
        "Flask",
        "aragora_redis.web.flask",
        (
            "Aragora",
            "RateLimit",
            "limited",
            "by_address",
            "RequireToken",
            "require_token",
            "Session",
        ),
        inner=("is_permanent",),
    ),
    Chapter(
        "The session of a request, for threads",
        "aragora_redis.web.threaded_session",
        ("ThreadedSession",),
        inner=("hand_over", "is_read", "try_load"),
    ),
    Chapter(
        "Django",
        "aragora_redis.web.django",
        inner=("process_request", "process_response", "process_exception"),
    ),
    Chapter(
        "What ARAGORA in the settings of Django says",
        "aragora_redis.web.django.options",
        ("Options", "LimitOptions", "TokenOptions", "SessionOptions"),
    ),
    Chapter("Errors", "aragora_redis.errors"),
    Chapter("Events", "aragora_redis.events"),
    Chapter("Addresses in them", "aragora_redis.address", ("Address",)),
    Chapter("Tests of a service", "aragora_redis.testing"),
    Chapter("Tests of a service of threads", "aragora_redis.testing.sync"),
    Chapter("What a clock is", "aragora_redis.clock", ("Clock",)),
)


def page() -> str:
    """The page, in Markdown."""
    parts = [_HEAD]
    for chapter in CHAPTERS:
        where = f"At `{chapter.at}`." if chapter.at else f"In `{chapter.module}`."
        parts += [f"## {chapter.title}\n", f"{where}\n"]
        for name, thing in shown(chapter):
            parts += _class(chapter, name, thing) if inspect.isclass(thing) else _call(name, thing)
    return "\n".join(parts)


def documented(chapter: Chapter) -> Iterator[Any]:
    """The classes and functions that it shows, and what of the classes is shown."""
    for _, thing in shown(chapter):
        yield thing
        if inspect.isclass(thing):
            for _, member in members(chapter, thing):
                yield getattr(member, "fget", None) or getattr(member, "__func__", member)


def shown(chapter: Chapter) -> Iterator[tuple[str, Any]]:
    """The classes and functions that it shows, by name."""
    module = importlib.import_module(chapter.module)
    names = chapter.names or getattr(module, "__all__", None) or _defined_in(module)
    return ((name, getattr(module, name)) for name in names)


def members(chapter: Chapter, thing: type) -> Iterator[tuple[str, Any]]:
    """The methods and properties of a class that it shows.

    Those that the class defines; of what a state holds also what it has of others of the library.
    """
    for each in thing.__mro__ if chapter.at else (thing,):
        if each.__module__.startswith("aragora_redis."):
            for attribute, member in vars(each).items():
                if not _hidden(chapter, attribute, member):
                    yield attribute, member


def _hidden(chapter: Chapter, attribute: str, member: Any) -> bool:
    called = inspect.isfunction(member) or isinstance(member, classmethod | staticmethod | property)
    public = not attribute.startswith("_") and attribute not in chapter.inner
    return not (called and public and inspect.getdoc(member))


def _defined_in(module: Any) -> list[str]:
    return [
        name
        for name, thing in vars(module).items()
        if not name.startswith("_")
        and getattr(thing, "__module__", "") == module.__name__
        and (inspect.isclass(thing) or inspect.isfunction(thing))
    ]


def _class(chapter: Chapter, name: str, thing: type) -> Iterator[str]:
    yield f"### `{name}`\n"
    told = parse(inspect.getdoc(thing) or "", DocstringStyle.GOOGLE)
    yield from _told(told, arguments=not chapter.at or _is_value(thing))
    if issubclass(thing, Enum):
        yield from (f"- `{each.name}` = `{each.value!r}`" for each in thing)
        yield ""
        return
    for attribute, member in members(chapter, thing):
        if isinstance(member, property):
            yield f"#### `{_at(chapter, attribute)}`\n"
            yield from _told(parse(inspect.getdoc(member) or "", DocstringStyle.GOOGLE))
        elif isinstance(member, classmethod | staticmethod):
            yield from _call(f"{name}.{attribute}", member.__func__, level=4)
        else:
            yield from _call(_at(chapter, attribute), member, level=4)


def _is_value(thing: type) -> bool:
    """Whether its arguments are what it holds."""
    return is_dataclass(thing) or issubclass(thing, Struct)


def _at(chapter: Chapter, attribute: str) -> str:
    return f"{chapter.at or ''}.{attribute}"


def _call(name: str, function: Callable[..., Any], *, level: int = 3) -> Iterator[str]:
    signature = inspect.signature(function)
    bare = [
        parameter.replace(annotation=inspect.Parameter.empty)
        for parameter in signature.parameters.values()
        if parameter.name not in {"self", "cls"}
    ]
    returned = signature.return_annotation
    gives = "" if returned in {inspect.Signature.empty, "None", None} else f" -> {returned}"
    plain = signature.replace(parameters=bare, return_annotation=inspect.Signature.empty)
    waits = "await " if inspect.iscoroutinefunction(function) else ""
    # An object as a default says nothing, and not the same each time.
    shown = re.sub(r"<[^<>]*>", "...", str(plain))
    yield f"{'#' * level} `{waits}{name}{shown}{gives}`\n"
    yield from _told(parse(inspect.getdoc(function) or "", DocstringStyle.GOOGLE))


def _told(told: Docstring, *, arguments: bool = True) -> Iterator[str]:
    yield f"{(told.description or '').strip()}\n"
    if arguments and told.params:
        yield from (f"- `{each.arg_name}`: {_line(each.description)}" for each in told.params)
        yield ""
    if told.returns is not None:
        yield f"Returns: {_line(told.returns.description)}\n"
    for each in told.raises:
        kinds = ", ".join(f"`{kind.strip()}`" for kind in (each.type_name or "").split(","))
        yield f"Raises {kinds}: {_line(each.description)}\n"


def _line(text: str | None) -> str:
    return " ".join((text or "").split())


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the page, write it, or check that a file holds it (exit 1 where it does not)."""
    return write_or_check(
        page(), COMMITTED, program="tests.artefacts.api_reference", arguments=arguments
    )


if __name__ == "__main__":
    sys.exit(main())
