"""Who may look at the dashboard, as HTTP says it: cookies in, cookies out, forms proved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import parse_qsl

from fastapi import Request, Response

from ...clock import Clock
from ...errors import AragoraRedisError
from ...settings import GatewaySettings
from ...state.tokens.tokens import Tokens
from ...web.client_address import client_address, proxies
from ...web.problems import Problem, ProblemError, problem_of
from .logins import COOKIE, LIFETIME, Login, Logins
from .throttle import Throttle

PATH = "/dashboard"
_FIELDS = 16


@dataclass(frozen=True, slots=True)
class Refused:
    """A token was not accepted; `wait` seconds must pass before one is looked at again."""

    wait: int = 0


class Door:
    """Lets in, looks after, and shows out.

    Args:
        settings: the tokens that are accepted.
        tokens: where a login that was ended is revoked, so that no gateway takes it again.
        clock: the source of time.
        key: see `Logins`.
    """

    def __init__(
        self, settings: GatewaySettings, tokens: Tokens, clock: Clock, key: bytes | None = None
    ) -> None:
        self._logins = Logins(settings, clock, key)
        self._tokens = tokens
        self._throttle = Throttle(clock)
        self._proxies = proxies(settings.trusted_proxies)

    def read(self, cookie: str | None) -> Login | None:
        """The login that a cookie proves, while it is good."""
        login = self._logins.read(cookie)
        return login if login is not None and not self._ended(login) else None

    def let_in(self) -> str | None:
        """A cookie for anybody where no token is asked for, else None."""
        return self._logins.let_in() if self._logins.open else None

    def own(self) -> str:
        """A cookie by which one worker asks another on loopback; it may look."""
        return self._logins.own()

    def enter(self, presented: str, request: Request) -> str | Refused:
        """A cookie for who presents an accepted token; who fails waits, not the proxy before it."""
        peer = request.client.host if request.client is not None else None
        told = request.headers.getlist(self._proxies.field)
        client = client_address(peer, told, self._proxies) or ""
        if wait := self._throttle.wait(client):
            return Refused(wait)
        cookie = self._logins.log_in(presented)
        if cookie is None:
            self._throttle.failed(client)
            return Refused()
        return cookie

    async def leave(self, login: Login) -> None:
        """End a login for good; as long as Redis is away, for this instance."""
        await self._tokens.revoke(_jti(login), expires_at=login.expires_at, reason="logout")

    def demand_standing(self, login: Login) -> None:
        """Make sure that a login has not ended: for who acts, not knowing is not enough.

        Raises:
            ProblemError: it has, or this instance cannot tell.
        """
        try:
            ended = self._tokens.is_revoked({"jti": _jti(login)})
        except AragoraRedisError as error:
            raise ProblemError(problem_of(error)) from None
        if ended:
            raise ProblemError(_ENDED)

    def _ended(self, login: Login) -> bool:
        try:
            return self._tokens.is_revoked({"jti": _jti(login)})
        except AragoraRedisError:
            # Stale, or not loaded: the dashboard is there to see just that, and shows no secret.
            return False


_ENDED = Problem(HTTPStatus.FORBIDDEN, "this login has ended", "log in again")


def _jti(login: Login) -> str:
    return f"dashboard-login:{login.id}"


def set_cookie(response: Response, cookie: str, request: Request) -> None:
    """Hand out a login's cookie."""
    response.set_cookie(
        COOKIE,
        cookie,
        max_age=LIFETIME,
        path=PATH,
        secure=_is_secure(request),
        httponly=True,
        samesite="strict",
    )


def drop_cookie(response: Response) -> None:
    """Take it back."""
    response.delete_cookie(COOKIE, path=PATH, httponly=True, samesite="strict")


def _is_secure(request: Request) -> bool:
    # Behind a proxy that ends TLS only the browser's own word tells that it speaks https.
    origin = request.headers.get("origin", "")
    return request.url.scheme == "https" or origin.startswith("https://")


async def form_of(request: Request) -> Mapping[str, str]:
    """The fields of a form; nothing where the body is none. `Guards` has bounded it."""
    try:
        text = (await request.body()).decode("utf-8")
        return dict(parse_qsl(text, keep_blank_values=True, max_num_fields=_FIELDS))
    except ValueError:
        return {}


def prove(login: Login, form: Mapping[str, str]) -> None:
    """Make sure that a form is of a page that this login was shown.

    Raises:
        ProblemError: it is not.
    """
    if not login.admits(form.get("csrf", "")):
        raise ProblemError(
            Problem(
                HTTPStatus.FORBIDDEN,
                "the form does not belong to this login",
                "load the dashboard again and repeat what you did",
            )
        )
