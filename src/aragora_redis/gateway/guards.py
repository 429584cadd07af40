"""What is refused before a route is looked for: strangers, web pages, and bodies without end."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Collection, Mapping
from functools import lru_cache, partial
from http import HTTPStatus
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..settings import HttpLimits
from ..web.client_address import Proxies, is_trusted
from ..web.problems import Problem
from ..web.starlette.asgi import response_of
from . import authz
from .at_once import at_once
from .auth import AcceptedTokens, Role, is_loopback, unauthenticated
from .oauth_protocol import OAuthError, invalid_client
from .turns import Turns
from .upload import UPLOAD_LIMIT

ONCE = (b"host", b"authorization", b"origin", b"content-type")
"""Fields that are no list (RFC 9110): of two, a proxy may go by one, and the gateway by another."""
IMPORT = ("POST", "/v1/tokens/import")
"""What reads its body itself, as it uses it."""
ANY_HOST = "*"
AUTHORITY_LIMIT = 300
"""Characters that a host with its port may have; a name has 253 at most. Longer ones are refused
before anything that remembers sees them, `urlsplit` among it."""
LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_DEFAULT_PORTS = {"http": 80, "https": 443}


def default_hosts(bound: str) -> frozenset[str]:
    """The host names that requests may carry, given where the gateway is bound.

    A page of another site can reach a gateway on loopback under the site's own name, once that name
    leads to 127.0.0.1 (DNS rebinding); so only names that mean this machine are served there. Bound
    to all interfaces it cannot know its names, and there a token is needed in any case.
    """
    name = bound.strip("[]").lower()
    return frozenset({ANY_HOST}) if _is_wildcard(name) else LOOPBACK_HOSTS | {name}


def _is_wildcard(name: str) -> bool:
    try:
        return bool(ipaddress.ip_address(name).is_unspecified)
    except ValueError:
        return False


def headers_of(scope: Scope) -> dict[bytes, bytes]:
    """The headers of a request; of those that are there twice the first."""
    return dict(reversed([*scope["headers"]]))


def text_of(headers: Mapping[bytes, bytes], name: bytes) -> str | None:
    """The text of one of them."""
    value = headers.get(name)
    return None if value is None else value.decode("latin-1")


def refuse_repeated(scope: Scope, headers: Mapping[bytes, bytes]) -> Problem | None:
    """Refuse a request that says twice what can be said once."""
    if len(headers) == len(scope["headers"]):
        return None
    names = [name for name, _ in scope["headers"]]
    for name in ONCE:
        if names.count(name) > 1:
            return Problem(
                HTTPStatus.BAD_REQUEST,
                f"the field {name.decode().title()} is there twice",
                "send it once",
                headers={"Connection": "close"},
            )
    return None


def refuse_host(host: str | None, allowed: frozenset[str]) -> Problem | None:
    """Refuse a request that is meant for somebody else."""
    if ANY_HOST in allowed or (_host_of(host or "") in allowed):
        return None
    return Problem(
        HTTPStatus.MISDIRECTED_REQUEST,
        "the Host header does not name this gateway",
        "use the name or address that it is bound to (ARAGORA_HOST)",
    )


def refuse_origin(method: str, origin: str | None, host: str | None) -> Problem | None:
    """Refuse what a page of another origin wants to change."""
    if origin is None or method in _SAFE:
        return None
    scheme, _, rest = origin.partition("://")
    theirs = _authority(scheme, rest)
    if theirs is not None and theirs == _authority(scheme, host or ""):
        return None
    return Problem(
        HTTPStatus.FORBIDDEN,
        "pages of other origins may not use this gateway",
        "call it from a server, without an Origin header",
    )


def _host_of(text: str) -> str | None:
    authority = _authority("http", text)
    return authority[0] if authority is not None else None


def _authority(scheme: str, text: str) -> tuple[str, int] | None:
    if len(text) > AUTHORITY_LIMIT:
        return None
    return _read_authority(scheme, text)


@lru_cache(maxsize=256)
def _read_authority(scheme: str, text: str) -> tuple[str, int] | None:
    try:
        parts = urlsplit(f"//{text}")
        port = parts.port
    except ValueError:
        return None
    if not parts.hostname or parts.path or parts.query or parts.username is not None:
        return None
    return parts.hostname, port or _DEFAULT_PORTS.get(scheme, 0)


class Guards:
    """Middleware that lets through what may be looked at further; strangers take turns.

    `/v1` and `/oauth` need a token. Metrics need one where others than this machine can connect.
    `/authz` is for proxies, whose requests bear the tokens of their clients: an address proves one.

    Args:
        limits: how long a body may be and take.
        session_bytes: bytes of data that a session may have now.
        tokens: who may ask; the role that is found is left in the request's state.
        bound: the host that the gateway is bound to.
        allowed_hosts: see `default_hosts`; `{"*"}` allows all.
        trusted: the proxies that may ask for others.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        tokens: AcceptedTokens,
        bound: str,
        allowed_hosts: Collection[str],
        limits: HttpLimits,
        session_bytes: Callable[[], int],
        trusted: Proxies,
    ) -> None:
        self._app = app
        self._tokens = tokens
        self._closed = ("/v1",) if is_loopback(bound) else ("/v1", "/metrics")
        self._allowed_hosts = frozenset(allowed_hosts)
        self._session_bytes = session_bytes
        self._limits = limits
        self._strangers = Turns(limits.max_connections)
        self._is_proxy = lru_cache(maxsize=256)(partial(is_trusted, trusted=trusted))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse the request, or hand it on with its body read, or to be read as an upload."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = scope["path"]
        uploads = (scope["method"], path) == IMPORT
        limit = UPLOAD_LIMIT if uploads else self._body_limit(path)
        headers = headers_of(scope)
        problem = self._refusal(scope, path, headers, limit)
        if "role" not in scope.get("state", ()) and not await self._strangers.come():
            problem = _BUSY
        if problem is not None:
            refused = (
                problem.response() if isinstance(problem, OAuthError) else response_of(problem)
            )
            await refused(scope, receive, send)
            return
        if uploads:
            await self._app(scope, receive, send)
            return
        try:
            message = await at_once(_read(receive, limit), self._limits.body_timeout)
        except TimeoutError:
            await response_of(_too_slow(self._limits.body_timeout))(scope, receive, send)
            return
        if message is None:
            await response_of(_too_large(limit))(scope, receive, send)
            return
        if message["type"] == "http.disconnect":
            return  # whoever it was is not there to be answered, and this is no fault to log
        await self._app(scope, Admitted(headers, message, receive), send)

    def _refusal(
        self, scope: Scope, path: str, headers: Mapping[bytes, bytes], limit: int
    ) -> Problem | OAuthError | None:
        asks = authz.is_asked(path)
        if not asks:
            # A proxy passes on what its client has said, and `authz` judges that; all that a page
            # of another site could do there is to spend limits.
            host = text_of(headers, b"host")
            problem = refuse_repeated(scope, headers) or refuse_host(host, self._allowed_hosts)
            if problem is None and b"origin" in headers:
                problem = refuse_origin(scope["method"], text_of(headers, b"origin"), host)
            if problem is not None:
                return problem
        closed = path.startswith(self._closed)
        if closed or path.startswith("/oauth"):
            authorization = text_of(headers, b"authorization")
            tokens = self._tokens
            prove = tokens.role_of if closed else tokens.role_of_client
            role = prove(authorization)
            if role is None:
                return (unauthenticated if closed else invalid_client)(authorization)
            scope.setdefault("state", {}).update(role=role, caller=tokens.names[role])
        elif asks:
            client = scope.get("client")
            if client is None or not self._is_proxy(client[0]):
                return _NO_PROXY
            role = Role.GATEWAY
            scope.setdefault("state", {}).update(role=role, caller=self._tokens.names[role])
        length = headers.get(b"content-length", b"")
        return _too_large(limit) if length.isdigit() and int(length[:20]) > limit else None

    def _body_limit(self, path: str) -> int:
        most = self._limits.max_body
        # JSON may spell two bytes of a character as six.
        session = path.startswith("/v1/sessions")
        return max(most, 3 * self._session_bytes() + 4096) if session else most


_BUSY = Problem(
    HTTPStatus.SERVICE_UNAVAILABLE,
    "too many wait to be answered who have shown no token",
    "try again shortly",
    headers={"Retry-After": "1", "Connection": "close"},
)

_NO_PROXY = Problem(
    HTTPStatus.FORBIDDEN,
    "only a proxy of ours may ask for others",
    "name its address in ARAGORA_TRUSTED_PROXIES",
)


def _too_large(limit: int) -> Problem:
    return Problem(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        f"the body is larger than {limit} bytes",
        "send less",
        headers={"Connection": "close"},
    )


def _too_slow(within: float) -> Problem:
    return Problem(
        HTTPStatus.REQUEST_TIMEOUT,
        f"the body did not come within {within:g} seconds",
        "send it again",
        headers={"Connection": "close"},
    )


async def _read(receive: Receive, limit: int) -> Message | None:
    """A body as one message, or the end of its client; None where it has no end within the limit.

    It is joined as it comes: a byte takes two hundred in a message of its own.
    """
    body = bytearray()
    while True:
        message = await receive()
        part: bytes = message.get("body", b"")
        if len(body) + len(part) > limit:
            return None
        if not message.get("more_body"):
            if not body or message["type"] == "http.disconnect":
                return message
            return {"type": "http.request", "body": bytes(body + part), "more_body": False}
        body += part


class Admitted:
    """What a request that was let through receives: what was read once more, then what follows."""

    __slots__ = ("_given", "_message", "_receive", "headers")

    def __init__(self, headers: Mapping[bytes, bytes], message: Message, receive: Receive) -> None:
        self.headers = headers
        self._message = message
        self._given = False
        self._receive = receive

    @property
    def body(self) -> bytes:
        """All of the body."""
        body: bytes = self._message.get("body", b"")
        return body

    async def __call__(self) -> Message:
        if not self._given:
            self._given = True
            return self._message
        return await self._receive()
