"""What the endpoints of OAuth share: forms, clients that authenticate, errors (RFC 6749)."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Coroutine, Mapping
from http import HTTPStatus
from urllib.parse import parse_qsl, unquote_plus

from fastapi import Request, Response
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from pydantic import BaseModel

from ..errors import AragoraRedisError
from ..web.headers import retry_after

FORM = "application/x-www-form-urlencoded"
REALM = "aragora-redis"
_FIELDS = 20
_NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}


class OAuthErrorBody(BaseModel):
    """What every error answers (section 5.2)."""

    error: str
    error_description: str


class OAuthError(Exception):
    """A request is refused, in the words of OAuth."""

    def __init__(
        self,
        status: HTTPStatus,
        error: str,
        description: str,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(description)
        self._body = {"error": error, "error_description": description}
        self._status = status
        self._headers = dict(headers or {})

    def response(self) -> JSONResponse:
        """The answer."""
        return JSONResponse(self._body, self._status, self._headers | _NO_STORE)


class OAuthRoute(APIRoute):
    """A route whose errors are OAuth's, and whose answers nobody stores."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[None, None, Response]]:
        """The route's handler, with its answers made so."""
        handle = super().get_route_handler()

        async def answered(request: Request) -> Response:
            try:
                answer = await handle(request)
            except OAuthError as error:
                return error.response()
            except AragoraRedisError as error:
                return unavailable(error.message, getattr(error, "retry_after", 1.0)).response()
            answer.headers.update(_NO_STORE)
            return answer

        return answered


def form_of(content_type: str, body: bytes) -> Mapping[str, str]:
    """The parameters of a request (section 3.2: none is there twice, empty ones are left out).

    Raises:
        OAuthError: it is no such form.
    """
    if content_type.partition(";")[0].strip().lower() != FORM:
        raise invalid_request(f"send Content-Type: {FORM}")
    try:
        pairs = parse_qsl(body.decode(), errors="strict", max_num_fields=_FIELDS)
    except ValueError:
        raise invalid_request("the body is no form of UTF-8 text") from None
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise invalid_request("a parameter is there twice")
    return fields


def password_of(authorization: str | None) -> str | None:
    """The client's password in an `Authorization` of the scheme Basic (section 2.3.1)."""
    scheme, _, text = (authorization or "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        said = base64.b64decode(text.strip(), validate=True).decode()
    except (binascii.Error, ValueError):
        return None
    name, colon, password = said.partition(":")
    return unquote_plus(password) if name and colon else None


def invalid_request(description: str) -> OAuthError:
    """The request is not of its form."""
    return OAuthError(HTTPStatus.BAD_REQUEST, "invalid_request", description)


def invalid_client(authorization: str | None) -> OAuthError:
    """The client does not authenticate; it is told how, in the scheme that it has tried."""
    challenge = f'Basic realm="{REALM}"'
    if (authorization or "").lower().startswith("bearer"):
        challenge = f'Bearer realm="{REALM}", error="invalid_token"'
    return OAuthError(
        HTTPStatus.UNAUTHORIZED,
        "invalid_client",
        "authenticate with the gateway token or the admin token, as Bearer or as Basic password",
        {"WWW-Authenticate": challenge},
    )


def insufficient_scope() -> OAuthError:
    """The client may not do this (RFC 6750 section 3.1)."""
    challenge = f'Bearer realm="{REALM}", error="insufficient_scope"'
    return OAuthError(
        HTTPStatus.FORBIDDEN,
        "insufficient_scope",
        "this needs the admin token",
        {"WWW-Authenticate": challenge},
    )


def unavailable(description: str, wait: float = 1.0) -> OAuthError:
    """This instance cannot say, or do it; the client asks again after `wait` seconds."""
    return OAuthError(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "temporarily_unavailable",
        description,
        {"Retry-After": retry_after(wait)},
    )
