"""`/v1/sessions` and `/v1/users/{user}/sessions`.

An id opens a session, so it need not stand in a path, which proxies log: every route also exists
without it and then takes it from the header `X-Session-Id`, or from the body as `id`.
"""

from __future__ import annotations

import re
from dataclasses import replace
from http import HTTPStatus
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Path, Response
from pydantic import BaseModel, Field

from ..errors import InvalidInputError, SessionConflictError, SessionGoneError
from ..sessions.client import Client as SessionClient
from ..sessions.policy import LONGEST
from ..sessions.stored import Session
from ..state.sessions.endable import EndedSessions
from ..state.sessions.sessions import ALIAS_FOR, Sessions
from ..state.shared import SharedState
from ..web.problems import ProblemError, problem_of
from .auth import Caller, Role, needs
from .bodies import Body, JsonRoute, Note, QuerySigned, Signed, Text, Unshown
from .problems import JSON_ANSWERS, answers
from .tokens import LevelWord

Id = Annotated[str, Field(max_length=128)]
PathId = Annotated[str | None, Path(max_length=128)]
HeaderId = Annotated[str | None, Header(alias="X-Session-Id", max_length=128)]
Seen = Annotated[str | None, Header(alias="X-Session-Seen", max_length=128)]
"""The `cookie` of the session as the client has seen it: where Redis holds an older one, the
session is ended. It is signed, since nobody may end a session by making up a version."""
IfMatch = Annotated[str | None, Header(alias="If-Match", max_length=64)]
"""The entity tag that was read (RFC 9110 section 13.1.1): nothing may have changed since."""
Version = Annotated[int, Field(ge=0, lt=2**53)]


class Client(Body):
    """Where a session is used from, which its user is shown; see `[sessions] remember`."""

    device: Note | None = None
    """Such as the `User-Agent`."""
    address: Note | None = None

    @property
    def client(self) -> SessionClient | None:
        """It as the sessions take it; None where nothing is said."""
        return SessionClient(self.device, self.address) if self.device or self.address else None


class Life(Client):
    """How long a session lives, in seconds; as `[sessions]` says where that is not said."""

    idle: Annotated[float, Field(ge=1, le=LONGEST)] | None = None
    """Without use; at most `longest` of `[sessions]`, which is `absolute` by default."""
    absolute: Annotated[float, Field(ge=1, le=LONGEST)] | None = None
    """In any case; likewise."""


class Creation(Life):
    """Whose session, and what it holds; without a user it is nobody's yet."""

    user: Text | None = None
    data: dict[str, Any] = Field(default_factory=dict)


class Change(Client):
    """Fields to set and to remove, built on the version that was read."""

    version: Version | None = None
    """The one that was read; not needed with `If-Match`."""
    set: dict[str, Any] = Field(default_factory=dict)
    unset: list[str] = Field(default_factory=list)
    exact: bool = False
    """Refuse where anything has changed since, and not only the fields named here."""
    id: Id | None = None


class Rotation(Life):
    """A new id; with a user, an anonymous session becomes the user's, with a life that is said."""

    user: Text | None = None
    grace: Annotated[float, Field(ge=0, le=300)] = ALIAS_FOR
    """Seconds for which the old id leads to the new one; a login ends it at once."""
    id: Id | None = None


class Named(Body):
    """Which session."""

    id: Id


class Everybody(Signed):
    """Says that everybody is meant."""

    confirm: Literal["everybody"]


class SessionBody(Unshown):
    """A session. `id` is null where it was reached through the id that it had before."""

    id: str | None
    user: str | None
    data: dict[str, Any]
    version: int
    created_at: float
    expires_at: float
    idle: float
    seen_at: float
    handle: str
    """Names it in the list of its user's sessions, and opens nothing."""
    source: str
    """`redis`, `local` where there is none, or `copy`: read within the last seconds, since Redis
    cannot be asked now."""
    cookie: str | None
    """The id and the version, signed: the client's next `X-Session-Seen`. Null where the id is."""


class InfoBody(BaseModel):
    """A session in a list: the handle names it and opens nothing."""

    handle: str
    created_at: float
    expires_at: float
    idle_until: float
    seen_at: float
    device: str | None
    address: str | None


class ListBody(BaseModel):
    """The sessions of a user that live, oldest first."""

    sessions: list[InfoBody]


class EndedBody(BaseModel):
    """How many sessions were ended, and how far that got.

    `ended` is null where Redis could not be asked: they have ended here, and wait for it.
    """

    ended: int | None
    level: LevelWord


class EndBody(BaseModel):
    """How far the end of a session got."""

    level: LevelWord


_GONE = answers(HTTPStatus.NOT_FOUND)
_CHANGED = answers(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT, HTTPStatus.PRECONDITION_FAILED)


def routes(state: SharedState) -> APIRouter:
    """The routes over one state."""
    router = APIRouter(
        prefix="/v1",
        tags=["sessions"],
        route_class=JsonRoute,
        dependencies=[needs(Role.GATEWAY)],
        responses=answers(*JSON_ANSWERS),
    )
    _add_sessions(router, state)
    _add_ends(router, state)
    _add_users(router, state)
    return router


def _add_sessions(router: APIRouter, state: SharedState) -> None:
    sessions = state.sessions

    @router.post(
        "/sessions", status_code=HTTPStatus.CREATED, responses=answers(HTTPStatus.CONFLICT)
    )
    async def create(body: Creation, response: Response) -> SessionBody:
        """Begin a session."""
        made = await sessions.create(
            body.user, body.data, idle=body.idle, absolute=body.absolute, client=body.client
        )
        return _told(sessions, response, made)

    @router.get("/sessions/{session_id}", responses=_GONE)
    async def read(
        response: Response, session_id: PathId, header: HeaderId = None, seen: Seen = None
    ) -> SessionBody:
        """Read a session, which counts as use of it."""
        named = _one_id(session_id, header)
        return _told(
            sessions, response, await _found(state, named, _version_seen(state, named, seen))
        )

    @router.get("/sessions", responses=_GONE)
    async def read_named(
        response: Response, header: HeaderId = None, seen: Seen = None
    ) -> SessionBody:
        """Read a session, which counts as use of it."""
        return await read(response, None, header, seen)

    @router.patch("/sessions/{session_id}", responses=_CHANGED)
    async def change(
        body: Change,
        response: Response,
        session_id: PathId,
        header: HeaderId = None,
        if_match: IfMatch = None,
    ) -> SessionBody:
        """Change fields, if nobody else has changed them since `version`: 200, else 409.

        With `If-Match` no field may have changed since: else 412.
        """
        try:
            changed = await sessions.update(
                _one_id(session_id, header, body.id),
                version=_version_of(body, if_match),
                set=body.set,
                unset=body.unset,
                exact=body.exact or if_match is not None,
                client=body.client,
            )
        except SessionConflictError as error:
            if if_match is None:
                raise
            problem = problem_of(error)
            raise ProblemError(replace(problem, status=HTTPStatus.PRECONDITION_FAILED)) from error
        return _told(sessions, response, changed)

    @router.patch("/sessions", responses=_CHANGED)
    async def change_named(
        body: Change, response: Response, header: HeaderId = None, if_match: IfMatch = None
    ) -> SessionBody:
        """Change fields, if nobody else has changed them since `version`: 200, else 409.

        With `If-Match` no field may have changed since: else 412.
        """
        return await change(body, response, None, header, if_match)


def _add_ends(router: APIRouter, state: SharedState) -> None:
    sessions = state.sessions

    @router.post("/sessions/{session_id}/rotate", responses=_CHANGED)
    async def rotate(
        session_id: PathId, body: Rotation | None = None, header: HeaderId = None
    ) -> SessionBody:
        """Give a session a new id: after each login and each change of what its user may do."""
        wanted = body or Rotation()
        session = await _found(state, _one_id(session_id, header, wanted.id))
        anew = wanted.idle is not None or wanted.absolute is not None
        if anew and wanted.user is None:
            raise InvalidInputError(
                "a rotation does not change how long a session lives",
                remedy="send the `user` too, who logs in by that",
            )
        if wanted.user is not None and (anew or wanted.user != session.user):
            made = await sessions.authenticate(
                session,
                wanted.user,
                idle=wanted.idle,
                absolute=wanted.absolute,
                client=wanted.client,
            )
            return _body_of(sessions, made)
        grace = wanted.grace if wanted.user is None else 0
        return _body_of(sessions, await sessions.rotate(session, grace=grace))

    @router.post("/sessions/rotate", responses=_CHANGED)
    async def rotate_named(body: Rotation | None = None, header: HeaderId = None) -> SessionBody:
        """Give a session a new id: after each login and each change of what its user may do."""
        return await rotate(None, body, header)

    accepted = {"model": EndBody, "description": "In force here, and published as soon as may be"}

    @router.post("/sessions/end-all", dependencies=[needs(Role.ADMIN)], responses={202: accepted})
    async def end_all(body: Everybody, caller: Caller, response: Response) -> EndBody:
        """End all sessions of everybody that exist now: 202 where not all replicas have it yet."""
        receipt = await sessions.end_all(reason=body.reason, actor=body.actor or caller)
        if receipt.level < receipt.wanted:
            response.status_code = HTTPStatus.ACCEPTED
        return EndBody.model_validate({"level": receipt.level.word})

    ended: dict[str, Any] = {
        "dependencies": [needs(Role.ADMIN)],
        "status_code": HTTPStatus.NO_CONTENT,
        "responses": _GONE | {202: accepted},
    }

    @router.delete("/sessions/{session_id}", **ended)
    async def end(
        session_id: PathId,
        signed: QuerySigned,
        body: Named | None = None,
        header: HeaderId = None,
    ) -> Response:
        """End a session for good: 204, or 202 with the level where not all replicas have it yet.

        It is recorded (`/v1/audit`) where it names an actor.
        """
        named = _one_id(session_id, header, body.id if body else None)
        receipt = await sessions.end(named, reason=signed.reason, actor=signed.actor)
        if receipt.level >= receipt.wanted:
            return Response(status_code=HTTPStatus.NO_CONTENT)
        content = EndBody.model_validate({"level": receipt.level.word}).model_dump_json()
        return Response(content, HTTPStatus.ACCEPTED, media_type="application/json")

    @router.delete("/sessions", **ended)
    async def end_named(
        signed: QuerySigned, body: Named | None = None, header: HeaderId = None
    ) -> Response:
        """End a session for good: 204, or 202 with the level where not all replicas have it yet.

        It is recorded (`/v1/audit`) where it names an actor.
        """
        return await end(None, signed, body, header)


def _add_users(router: APIRouter, state: SharedState) -> None:
    # A user id may hold a slash.
    @router.get("/users/{user:path}/sessions")
    async def of_user(user: str) -> ListBody:
        """The sessions that a user has."""
        found = await state.sessions.of_user(user)
        return ListBody.model_validate({"sessions": [info._asdict() for info in found]})

    @router.delete(
        "/users/{user:path}/sessions/{handle}", dependencies=[needs(Role.ADMIN)], responses=_GONE
    )
    async def end_one(user: str, handle: str, signed: QuerySigned) -> EndedBody:
        """End the one that a handle of the list names.

        It is recorded (`/v1/audit`) where it names an actor.
        """
        ended = await state.sessions.end_one_of(
            user, handle, reason=signed.reason, actor=signed.actor
        )
        return _ended(ended)

    @router.delete("/users/{user:path}/sessions", dependencies=[needs(Role.ADMIN)])
    async def end_user(
        user: str, caller: Caller, signed: QuerySigned, keep: str | None = None
    ) -> EndedBody:
        """End all of them for good, but for the one with the handle `keep`."""
        ended = await state.sessions.end_user(
            user, keep=keep, reason=signed.reason, actor=signed.actor or caller
        )
        return _ended(ended)


def _ended(ended: EndedSessions) -> EndedBody:
    return EndedBody.model_validate({"ended": ended.count, "level": ended.receipt.level.word})


def _one_id(*given: str | None) -> str:
    """The id of the path, the header or the body.

    Raises:
        InvalidInputError: there is none, or there are two.
    """
    ids = {each for each in given if each is not None}
    if len(ids) != 1:
        raise InvalidInputError(
            "the request names no session" if not ids else "the request names two sessions",
            remedy="send one id: in the path, in X-Session-Id, or in the body",
        )
    return ids.pop()


def _version_of(body: Change, if_match: str | None) -> int:
    """The version on which a change builds.

    Raises:
        InvalidInputError: none is given, two are, or the entity tag is none of ours.
    """
    tag = re.fullmatch(r'"(\d{1,16})"', if_match, re.ASCII) if if_match is not None else None
    if (if_match is None) is (body.version is None) or (if_match is not None and tag is None):
        raise InvalidInputError(
            "the change does not say on which version it builds",
            remedy="send `version`, or the ETag that was read as If-Match, and not both",
        )
    return int(tag[1]) if tag else body.version or 0


def _version_seen(state: SharedState, session_id: str, cookie: str | None) -> int:
    """The version that a client has seen; 0 where it says nothing.

    Raises:
        InvalidInputError: nobody of this fleet has given that for this session.
    """
    if cookie is None:
        return 0
    presented = state.sessions.witness.read(cookie)
    if presented is None or presented.session_id != session_id:
        raise InvalidInputError(
            "X-Session-Seen is not what was given for this session",
            remedy="send the `cookie` of the session as it was read last",
        )
    return presented.seen


async def _found(state: SharedState, session_id: str, seen: int = 0) -> Session:
    session = await state.sessions.get(session_id, seen=seen)
    if session is None:
        raise SessionGoneError("there is no such session", remedy="begin a new one")
    return session


def _body_of(sessions: Sessions, session: Session) -> SessionBody:
    cookie = None if session.id is None else sessions.cookie(session)
    said = {name: getattr(session, name) for name in SessionBody.model_fields if name != "cookie"}
    return SessionBody.model_validate(said | {"cookie": cookie})


def _told(sessions: Sessions, response: Response, session: Session) -> SessionBody:
    response.headers["ETag"] = f'"{session.version}"'
    return _body_of(sessions, session)
