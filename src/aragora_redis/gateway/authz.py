"""`/authz`: whether a request that a proxy asks about may pass, and who sent it (forward-auth).

A proxy sends the head of a request, and passes the request on or answers it itself, by what comes
back. What is to be decided is in the path, which the proxy's configuration writes: the query, and
every field but those that the proxy sets, may be the client's.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from http import HTTPStatus
from typing import Final, Literal, NamedTuple
from urllib.parse import quote

from fastapi import APIRouter, Request, Response
from starlette.types import Scope

from ..clock import SYSTEM_CLOCK
from ..errors import AragoraRedisError, InvalidInputError, TokenRefusedError, UnknownPolicyError
from ..jwt import VerifiedToken
from ..rate_limit.local import SUBJECT_LIMIT
from ..state.shared import SharedState
from ..web.bearer import insufficient, refusal, sent_token
from ..web.client_address import client_address, is_trusted, proxies, subject_of
from ..web.headers import fields
from ..web.problems import Problem, ProblemError, over_limit, problem_outside
from ..web.starlette.asgi import response_of
from .problems import INTERNAL, answers
from .rendered import Rendered

BARE: Final = "/authz"
"""Asks for a user's token, and for `BARE_LIMIT` where there is one; nothing longer does, or whom a
proxy that appends its client's path asks for would be the client's choice."""
BARE_LIMIT: Final = "authz"
PREFIX: Final = f"{BARE}/"
STATUS: Final = "X-Aragora-Status"
"""The status once more: nginx hides those that it does not know behind a 500 of its own."""
USER: Final = "X-Aragora-User"
SCOPE: Final = "X-Aragora-Scope"
IDENTITY: Final = (USER, SCOPE)
"""Whom a service behind the proxy serves. A proxy drops what the client sends under these names."""
UNLIMITED: Final = "-"
"""Stands for no limit; it can be no policy's name."""

SCOPES_LIMIT: Final = 2048
"""Characters of `SCOPE`, since proxies have room for so many. Of a token with more none is told."""
_ONE_SCOPE = r"[!#-*,-.0-\[\]-~]+"
"""RFC 6749 section 3.3, but for what divides them here and in a path."""
_WHO = re.compile(rf"(?:address|caller|user(?:\+{_ONE_SCOPE})*)")
_READABLE = "!$&'()*+,/:;=@|-._~"
"""What stays as it is in a field, so that usual ids do."""
_KNOWN = frozenset(
    {
        HTTPStatus.UNAUTHORIZED,
        HTTPStatus.FORBIDDEN,
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.SERVICE_UNAVAILABLE,
    }
)
"""How a request is refused. All else is a fault of who runs the proxy, or of the gateway."""
_OTHERS = (
    HTTPStatus.NOT_FOUND,
    HTTPStatus.MISDIRECTED_REQUEST,
    HTTPStatus.INTERNAL_SERVER_ERROR,
)
_NOTHING_ASKED = Problem(
    HTTPStatus.NOT_FOUND,
    "the path does not say what to decide, or by a limit that there is not",
    "ask for /authz/user/POLICY, /authz/address/POLICY or /authz/caller/POLICY; for /authz, with "
    "no more of a path, by a user's token and the limit authz if there is one",
)
_TEXT = {"type": "string"}
_UNCACHED = {"Cache-Control": "no-store"}
"""A proxy that keeps answers would let a revoked token pass."""
TOLD_EVERY = 10.0
"""Seconds between two lines about what a proxy asks wrongly, so that clients cannot fill a log."""
_ROUTE = f"{PREFIX}{{who}}/{{policy}}"
_PARAMETERS = [
    {"name": name, "in": "path", "required": True, "description": said, "schema": _TEXT}
    for name, said in (
        ("who", "`user`, `user+SCOPE+...`, `address` or `caller`"),
        ("policy", "the name of a limit; `-` for none"),
    )
]
_log = logging.getLogger(__name__)


class Asked(NamedTuple):
    """What a proxy wants to know.

    Attributes:
        who: whom a limit counts: the `user` of the token that there has to be, the client's
            `address`, or the `caller`, which is the user where a token was sent.
        scopes: what the token must allow.
        policy: the limit; None for none.
        if_defined: whether nobody is counted where there is no such limit.
    """

    who: Literal["user", "address", "caller"]
    scopes: frozenset[str]
    policy: str | None
    if_defined: bool = False

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.who})"  # the rest may be a client's, of its path


def is_asked(path: str) -> bool:
    """Whether a path is one by which proxies ask, if it asks anything."""
    return path.startswith(PREFIX) or path == BARE


def asked_in(path: str) -> Asked | None:
    """What is asked by such a path; what follows the policy is the client's own path."""
    if path == BARE:
        return Asked("user", frozenset(), BARE_LIMIT, if_defined=True)
    parts = path.split("/", 4)
    if len(parts) < 4 or not parts[3] or _WHO.fullmatch(parts[2]) is None:
        return None
    who, *scopes = parts[2].split("+")
    return Asked(
        who,  # type: ignore[arg-type] # the expression says which
        frozenset(scopes),
        None if parts[3] == UNLIMITED else parts[3],
    )


def told(text: str) -> str:
    """A text for a field: UTF-8 in ASCII, percent-encoded as in a URL.

    Half of a character (a lone surrogate), which JSON can spell, is told as no other text is.
    """
    return quote(text, safe=_READABLE, errors="surrogatepass")


class Judge:
    """Answers proxies.

    Args:
        state: what decides.
    """

    def __init__(self, state: SharedState) -> None:
        self._state = state
        self._proxies = proxies(state.settings.gateway.trusted_proxies)
        self._warned = False
        self._complained_at = -TOLD_EVERY

    async def answer(self, scope: Scope) -> Response:
        """The answer to what a proxy asks; its status is all that it needs."""
        asked = asked_in(scope["path"])
        if asked is None:
            return _refused(_NOTHING_ASKED)
        try:
            return await self._judged(asked, scope)
        except TokenRefusedError as error:
            problem = refusal(error)
        except ProblemError as error:
            problem = error.problem
        except UnknownPolicyError as error:
            self._complain(error)
            problem = _NOTHING_ASKED
        except InvalidInputError as error:
            self._complain(error)
            problem = INTERNAL
        except AragoraRedisError as error:
            problem = problem_outside(error)
        return _refused(problem)

    async def _judged(self, asked: Asked, scope: Scope) -> Response:
        token = await self._token(asked, scope)
        found = {STATUS: "200", **_UNCACHED}
        if token is not None:
            found[USER] = told(token.user or "")
            scopes = " ".join(told(each) for each in sorted(token.scopes))
            found[SCOPE] = scopes if len(scopes) <= SCOPES_LIMIT else ""
        policy = asked.policy
        if asked.if_defined and policy not in self._state.policies.limits:
            policy = None
        if policy is not None:
            subject = self._address(scope) if token is None else _subject(token)
            decision = await self._state.rate_limits.check(policy, subject)
            x_now = SYSTEM_CLOCK.wall() if self._state.settings.gateway.x_headers else None
            if not decision.allowed:
                return _refused(over_limit(policy, decision, x_now=x_now))
            found |= fields(policy, decision, x_now=x_now)
        return Rendered(b"", fields=found)

    async def _token(self, asked: Asked, scope: Scope) -> VerifiedToken | None:
        sent = _values(scope, b"authorization")
        needless = asked.who == "address" or (asked.who == "caller" and not sent)
        if needless and len(sent) < 2:  # of two the service might read either
            return None
        token = await self._state.tokens.verify(sent_token(sent))
        if not asked.scopes <= token.scopes:
            raise ProblemError(insufficient("api", asked.scopes))
        return token

    def _address(self, scope: Scope) -> str:
        """Whom a limit counts that has no token; `guards` lets only proxies ask."""
        peer = scope["client"][0]
        told = _values(scope, self._proxies.field.lower().encode())
        found = client_address(peer, told, self._proxies) or peer
        if not self._warned and is_trusted(found, self._proxies):
            self._warned = True
            _log.warning(
                "a proxy does not say for whom it asks, or for another proxy, so a limit by "
                "address counts all such requests as one: have it send %s",
                self._proxies.field,
            )
        return subject_of(found)

    def _complain(self, error: AragoraRedisError) -> None:
        """Log what is for the operator to mend, now and then."""
        now = SYSTEM_CLOCK.monotonic()
        if now - self._complained_at >= TOLD_EVERY:
            self._complained_at = now
            _log.error("what a proxy asks cannot be answered: %s", error)


def routes(judge: Judge) -> APIRouter:
    """What describes it, and answers where nothing stands in front; see `hot`."""
    router = APIRouter(tags=["forward-auth"], responses=answers(*_KNOWN, *_OTHERS))

    @router.get(BARE, response_class=Response)
    @router.get(PREFIX, include_in_schema=False)  # or the framework would lead it to the other
    async def judged_by_token(request: Request) -> Response:
        """Whether a request may pass that bears a user's token: 200, or how to refuse it.

        As `/authz/user/authz` where the policies have a limit `authz`, and as `/authz/user/-` where
        they have none. For proxies that do not append their clients' paths.
        """
        return await judge.answer(request.scope)

    @router.get(_ROUTE, response_class=Response, openapi_extra={"parameters": _PARAMETERS})
    async def judged(request: Request) -> Response:
        """Whether a request that a proxy asks about may pass: 200, or how to refuse it.

        Only `ARAGORA_TRUSTED_PROXIES` may ask, with any method, and with the client's own path
        after the policy. The answer has the fields of the limit, and where a token was sent, whose
        it is.
        """
        return await judge.answer(request.scope)

    return router


def _subject(token: VerifiedToken) -> str:
    """Whom a limit counts: the user, or the token itself where it names none."""
    kind, name = ("user", token.user) if token.user is not None else ("token", token.id)
    subject = f"{kind}:{name}"
    if len(subject) > SUBJECT_LIMIT:  # which the name alone need not be
        subject = f"{kind}:#{sha256(name.encode(errors='surrogatepass')).hexdigest()}"
    return subject


def _values(scope: Scope, name: bytes) -> Sequence[str]:
    return [value.decode("latin-1") for each, value in scope["headers"] if each == name]


def _refused(problem: Problem) -> Response:
    # 400, for what cannot be a token, is known to no proxy: its sender has shown none.
    malformed = problem.status is HTTPStatus.BAD_REQUEST
    status = HTTPStatus.UNAUTHORIZED if malformed else problem.status
    headers = {**problem.headers, STATUS: str(status.value), **_UNCACHED}
    return response_of(replace(problem, status=status, headers=headers))
