"""What a fleet asks with every request, answered in front of the framework.

The framework takes longer to find such a route and to call it than the route takes to answer. So it
is called here: the same endpoint, with the same model of its body, and its errors told by the same
words. Whatever is not plainly as it should be is left to the framework, which says what is wrong.
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterable
from typing import Any, get_type_hints

from fastapi import Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError
from starlette.types import ASGIApp, Receive, Scope, Send

from ..errors import AragoraRedisError
from ..web.problems import ProblemError
from .bodies import is_json
from .guards import Replay, headers_of
from .problems import problem_told

PATHS = frozenset({"/v1/limits/{policy}/check", "/v1/limits/check", "/v1/tokens/check"})
"""The routes: a body that any proven role may send, and nothing but that and the path."""


class HotRoutes:
    """Middleware behind `Guards`.

    Args:
        routes: all there are; those of `PATHS` are called here.
    """

    def __init__(self, app: ASGIApp, *, routes: Iterable[Any]) -> None:
        self._app = app
        self._routes: dict[str, list[_Endpoint]] = {}
        for route in routes:
            if isinstance(route, APIRoute) and route.path in PATHS:
                self._routes.setdefault(_end(route.path), []).append(_Endpoint(route))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request, or hand it on."""
        called = self._called(scope, receive)
        if called is None:
            await self._app(scope, receive, send)
            return
        try:
            response = await called
        except (AragoraRedisError, ProblemError) as error:
            response = problem_told(error).response()
        await response(scope, receive, send)

    def _called(self, scope: Scope, receive: Receive) -> Awaitable[Response] | None:
        """What a hot route answers; None where the framework is to say that."""
        if not isinstance(receive, Replay) or scope["method"] != "POST" or scope["root_path"]:
            return None
        path = scope["path"]
        for endpoint in self._routes.get(_end(path), ()):
            found = endpoint.matches(path)
            if found is None:
                continue
            if "role" not in scope["state"] or not _says_json(scope):
                return None
            return endpoint.called(found.groupdict(), receive, scope)
        return None


class _Endpoint:
    """An endpoint that is called by what its path and body say."""

    def __init__(self, route: APIRoute) -> None:
        wanted = get_type_hints(route.endpoint)
        self.matches = route.path_regex.match
        self._model: type[BaseModel] = wanted["body"]
        self._endpoint = route.endpoint
        self._wants_request = "request" in wanted

    def called(
        self, given: dict[str, Any], receive: Replay, scope: Scope
    ) -> Awaitable[Response] | None:
        try:
            given["body"] = self._model.model_validate_json(receive.body or b"")
        except ValidationError:
            return None
        if self._wants_request:
            given["request"] = Request(scope, receive)
        answer: Awaitable[Response] = self._endpoint(**given)
        return answer


def _says_json(scope: Scope) -> bool:
    return is_json(headers_of(scope).get(b"content-type", ""))


def _end(path: str) -> str:
    return path[path.rfind("/") :]
