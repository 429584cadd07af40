"""`/dashboard` over HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

import msgspec
from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from starlette.exceptions import HTTPException

from ...errors import AragoraRedisError
from ...web.problems import Problem, ProblemError, problem_of
from ..auth import Role
from . import asking, page
from .acts import Wish
from .dashboard import Dashboard
from .desk import Action, Desk
from .door import PATH, Refused, drop_cookie, form_of, prove, set_cookie
from .logins import COOKIE, Login
from .markup import Html
from .stream import EventStream

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
_HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    # `no-referrer` would make browsers send forms with `Origin: null`, which is refused.
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_LOGIN = f"{PATH}/login"
_FOR_EVER = {"Cache-Control": "public, max-age=31536000, immutable"}
_NOBODY = Problem(HTTPStatus.UNAUTHORIZED, "you are not logged in", f"log in at {_LOGIN}")
_NO_ACT = Problem(HTTPStatus.BAD_REQUEST, "this is no action", "use the dashboard's buttons")
_WRONG = "This token is not accepted."


def routes(board: Dashboard) -> APIRouter:
    """The routes of one dashboard."""
    router = APIRouter(prefix=PATH, include_in_schema=False)
    _add_pages(router, board)
    _add_figures(router, board)
    _add_login(router, board)
    _add_acts(router, board)
    if board.desk is not None:
        _add_levers(router, board, board.desk)
    return router


def _add_pages(router: APIRouter, board: Dashboard) -> None:
    @router.get("")
    async def show(request: Request) -> Response:
        login, cookie = board.door.read(request.cookies.get(COOKIE)), None
        if login is None:
            cookie = board.door.let_in()
            login = board.door.read(cookie)
        if login is None:
            return _see(_LOGIN)
        reloads = page.STILL not in request.query_params
        response = _html(await board.page(login, reloads=reloads))
        if cookie is not None:  # with the page: a browser may keep it back, and would go in circles
            set_cookie(response, cookie, request)
        return response

    @router.get("/events")
    async def events(request: Request) -> Response:
        cookie = request.cookies.get(COOKIE, "")
        login = board.door.read(cookie)
        if login is None:
            raise ProblemError(_NOBODY)
        if not board.places.take(login.id):
            raise ProblemError(
                Problem(
                    HTTPStatus.SERVICE_UNAVAILABLE,
                    "too many dashboards are open",
                    "close one, or reload instead of following",
                    headers={"Retry-After": "5"},
                )
            )
        return EventStream(board.follow(cookie, login.role), board.places, login.id)

    @router.get("/static/{name}")
    async def static(name: str) -> Response:
        asset = board.assets.get(name)
        if asset is None:
            raise HTTPException(HTTPStatus.NOT_FOUND)
        return Response(asset.content, headers=_HEADERS | _FOR_EVER, media_type=asset.media_type)


def _add_figures(router: APIRouter, board: Dashboard) -> None:
    @router.get("/figures")
    async def figures(request: Request) -> Response:
        if board.door.read(request.cookies.get(COOKIE)) is None:
            raise ProblemError(_NOBODY)
        body = msgspec.json.encode(board.figures())
        return Response(body, headers=_HEADERS, media_type="application/json")


def _add_login(router: APIRouter, board: Dashboard) -> None:
    @router.get("/login")
    async def ask() -> Response:
        return _html(page.login(board.assets))

    @router.post("/login")
    async def enter(request: Request) -> Response:
        answer = board.door.enter((await form_of(request)).get("token", ""), request)
        if isinstance(answer, Refused):
            return _refused(board, answer)
        response = _see(PATH)
        set_cookie(response, answer, request)
        return response

    @router.post("/logout")
    async def leave(request: Request) -> Response:
        login = board.door.read(request.cookies.get(COOKIE))
        if login is not None:
            prove(login, await form_of(request))
            await board.door.leave(login)
        response = _see(_LOGIN)
        drop_cookie(response)
        return response


def _add_levers(router: APIRouter, board: Dashboard, desk: Desk) -> None:
    @router.post("/lab")
    async def act(request: Request) -> Response:
        login = board.door.read(request.cookies.get(COOKIE))
        if login is None:
            return _see(_LOGIN)
        form = await _proven_form(login, request)
        action = Action.parse(form.get("lever", ""))
        if action is None:
            raise ProblemError(_NO_ACT)
        await desk.act(action)
        return _see(PATH)


def _add_acts(router: APIRouter, board: Dashboard) -> None:
    @router.post("/ask")
    async def ask(request: Request) -> Response:
        """What will happen, before it does."""
        login = board.door.read(request.cookies.get(COOKIE))
        if login is None:
            return _see(_LOGIN)
        wish = _wish_of(await _proven_form(login, request))
        board.door.demand_standing(login)
        if wish.fault is not None:
            return _told(board, asking.failed(wish.fault), HTTPStatus.UNPROCESSABLE_ENTITY)
        try:
            if wish.verb == "sessions":
                found = await board.hands.sessions_of(wish)
                return _told(board, asking.sessions(found, wish, login, board.now()))
            return _told(board, asking.asked(await board.hands.question(wish), wish, login))
        except AragoraRedisError as error:
            return _told(board, asking.failed(str(error)), problem_of(error).status)

    @router.post("/do")
    async def do(request: Request) -> Response:
        """Do what was asked about."""
        login = board.door.read(request.cookies.get(COOKIE))
        if login is None:
            return _see(_LOGIN)
        form = await _proven_form(login, request)
        board.door.demand_standing(login)
        wish = _wish_of(form)
        if wish.fault is not None or wish.verb == "sessions":
            raise ProblemError(_NO_ACT)
        try:
            said = await board.hands.do(wish, form.get("reason", "")[: asking.REASON])
        except AragoraRedisError as error:
            return _told(board, asking.failed(str(error), error.ran), problem_of(error).status)
        finally:
            board.acted()
        return _see(PATH) if said is None else _told(board, asking.told(said))


async def _proven_form(login: Login, request: Request) -> Mapping[str, str]:
    """The form of an act.

    Raises:
        ProblemError: it is not of this login's page, or this login may only look.
    """
    form = await form_of(request)
    prove(login, form)
    _demand_admin(login)
    return form


def _wish_of(form: Mapping[str, str]) -> Wish:
    wish = Wish.parse(form)
    if wish is None:
        raise ProblemError(_NO_ACT)
    return wish


def _told(board: Dashboard, content: Html, status: int = HTTPStatus.OK) -> HTMLResponse:
    return HTMLResponse(page.asking(content, board.assets), status, _HEADERS)


def _refused(board: Dashboard, refused: Refused) -> Response:
    if not refused.wait:
        return _html(page.login(board.assets, fault=_WRONG), HTTPStatus.FORBIDDEN)
    fault = f"Too many wrong tokens: wait {refused.wait} s."
    response = _html(page.login(board.assets, fault=fault), HTTPStatus.TOO_MANY_REQUESTS)
    response.headers["Retry-After"] = str(refused.wait)
    return response


def _demand_admin(login: Login) -> None:
    if login.role < Role.ADMIN:
        raise ProblemError(
            Problem(HTTPStatus.FORBIDDEN, "this needs the admin token", "log in with it")
        )


def _html(content: Html, status: HTTPStatus = HTTPStatus.OK) -> HTMLResponse:
    return HTMLResponse(content, status, _HEADERS)


def _see(path: str) -> RedirectResponse:
    return RedirectResponse(path, HTTPStatus.SEE_OTHER, _HEADERS)
