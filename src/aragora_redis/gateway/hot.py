"""What a fleet asks with every request, answered in front of the framework.

The framework takes longer to find such a route and to call it than the route takes to answer. So it
is called here: the same endpoint, with the same model of its body, and its errors told by the same
words. Whatever is not plainly as it should be is left to the framework, which says what is wrong.
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Mapping
from functools import lru_cache
from typing import Any, get_type_hints

from fastapi import Response
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError
from starlette.types import ASGIApp, Receive, Scope, Send

from ..errors import AragoraRedisError
from ..web.problems import ProblemError
from ..web.starlette.asgi import response_of
from . import authz
from .authz import Judge
from .bodies import is_json
from .guards import Admitted, text_of
from .latency import Latencies
from .problems import INTERNAL, problem_told

PATHS = frozenset({"/v1/limits/{policy}/check", "/v1/limits/check", "/v1/tokens/check"})
"""The routes: a body that any proven role may send, and nothing but that and the path."""
_LONGEST = 128
"""Characters of a path that may lead to one of them: the name of a policy has 64 at most."""


class HotRoutes:
    """What stands between `Guards` and the framework.

    Args:
        routes: all there are; those of `PATHS` are called here.
        judge: answers what proxies ask, whatever their clients' methods and paths are.
        latencies: told how long each call of them took.
    """

    def __init__(
        self, app: ASGIApp, *, routes: Iterable[Any], judge: Judge, latencies: Latencies
    ) -> None:
        self._app = app
        self._judge = judge
        self._latencies = latencies
        self._endpoints = [
            _Endpoint(route)
            for route in routes
            if isinstance(route, APIRoute) and route.path in PATHS
        ]
        self._found = lru_cache(maxsize=256)(self._find)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request, or hand it on."""
        called = self._called(scope, receive) if isinstance(receive, Admitted) else None
        if called is None:
            await self._app(scope, receive, send)
            return
        began = self._latencies.now()
        try:
            response = await called
        except (AragoraRedisError, ProblemError) as error:
            response = response_of(problem_told(error))
        except Exception:
            await response_of(INTERNAL)(scope, receive, send)
            raise  # the server logs it
        finally:
            self._latencies.took(began)
        await response(scope, receive, send)

    def _called(self, scope: Scope, receive: Admitted) -> Awaitable[Response] | None:
        """What a hot route answers; None where the framework is to say that."""
        path = scope["path"]
        if authz.is_asked(path):
            return self._judge.answer(scope)
        plain = (
            path.endswith("/check")
            and len(path) <= _LONGEST
            and scope["method"] == "POST"
            and not scope["root_path"]
            and "role" in scope.get("state", ())
            and is_json(text_of(receive.headers, b"content-type") or "")
        )
        found = self._found(path) if plain else None
        if found is None:
            return None
        endpoint, given = found
        return endpoint.called(given, receive)

    def _find(self, path: str) -> tuple[_Endpoint, Mapping[str, str]] | None:
        for endpoint in self._endpoints:
            found = endpoint.matches(path)
            if found is not None:
                return endpoint, found.groupdict()
        return None


class _Endpoint:
    """An endpoint that is called by what its path and body say."""

    def __init__(self, route: APIRoute) -> None:
        wanted = get_type_hints(route.endpoint)
        model: type[BaseModel] = wanted["body"]
        self.matches = route.path_regex.match
        self._read = model.__pydantic_validator__.validate_json
        self._endpoint = route.endpoint
        self._wants_receive = "receive" in wanted

    def called(self, given: Mapping[str, str], receive: Admitted) -> Awaitable[Response] | None:
        try:
            body = self._read(receive.body)
        except ValidationError:
            return None
        answer: Awaitable[Response] = (
            self._endpoint(**given, body=body, receive=receive)
            if self._wants_receive
            else self._endpoint(**given, body=body)
        )
        return answer
