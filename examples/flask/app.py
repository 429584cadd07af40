"""The same uses from threads: a Flask service with a session cookie, limits and a circuit."""

from __future__ import annotations

import os
from http import HTTPStatus

from flask import Flask, Response, jsonify, request

from aragora_redis.errors import (
    AragoraRedisError,
    CircuitOpenError,
    OutageError,
    OutcomeUnknownError,
    SessionConflictError,
)
from aragora_redis.sessions.stored import Session
from aragora_redis.sync import SharedState

PLAIN_HTTP = os.environ.get("EXAMPLE_PLAIN_HTTP") == "1"
COOKIE = "session" if PLAIN_HTTP else "__Host-session"

app = Flask(__name__)
# Started before a server forks its workers, it begins anew in each of them.
state = SharedState.from_env()
state.start()


@app.before_request
def limit() -> Response | None:
    decision = state.rate_limits.check("api", f"ip:{request.remote_addr}")
    if decision.allowed:
        return None
    wait = str(max(1, round(decision.retry_after)))
    return Response("too many requests", HTTPStatus.TOO_MANY_REQUESTS, {"Retry-After": wait})


@app.errorhandler(AragoraRedisError)
def problem(error: AragoraRedisError) -> Response:
    if isinstance(error, OutageError | CircuitOpenError):
        status = HTTPStatus.SERVICE_UNAVAILABLE
    elif isinstance(error, SessionConflictError | OutcomeUnknownError):
        status = HTTPStatus.CONFLICT
    else:
        status = HTTPStatus.BAD_REQUEST
    return Response(error.message, status)


@app.post("/login")
def login() -> Response:
    """Logs in whoever asks; a real service would ask for a password here."""
    session = state.sessions.create(request.form["user"], {"visits": 0})
    answer = jsonify(user=session.user)
    set_cookie(answer, session)
    return answer


def set_cookie(answer: Response, session: Session) -> None:
    """Hands the session out, with the version that the client has seen by that."""
    value = state.sessions.cookie(session)
    answer.set_cookie(COOKIE, value, secure=not PLAIN_HTTP, httponly=True, samesite="Lax")


@app.get("/profile")
def profile() -> Response:
    session = state.sessions.of_cookie(request.cookies.get(COOKIE))
    if session is None:
        return Response("log in first", HTTPStatus.UNAUTHORIZED)
    session = state.sessions.update(session, set={"visits": session.data["visits"] + 1})
    answer = jsonify(user=session.user, visits=session.data["visits"], worker=os.getpid())
    if session.id is not None:  # else it was rotated meanwhile, and another answer tells the new id
        set_cookie(answer, session)
    return answer


@app.post("/logout")
def logout() -> Response:
    """Ends the session for good, in all workers."""
    session = state.sessions.of_cookie(request.cookies.get(COOKIE))
    if session is not None:
        state.sessions.end(session)
    answer = Response(status=HTTPStatus.NO_CONTENT)
    answer.delete_cookie(COOKIE, secure=not PLAIN_HTTP, httponly=True, samesite="Lax")
    return answer


def upstream(*, up: bool) -> str:
    if not up:
        raise ConnectionError("the upstream does not answer")
    return "42"


@app.get("/quote")
def quote() -> Response:
    """Spares the upstream while it fails: 502 at first, then 503 at once until it may be tried."""
    with state.circuits["quotes"]:
        return jsonify(quote=upstream(up=request.args.get("up") != "false"))


@app.errorhandler(ConnectionError)
def bad_gateway(error: ConnectionError) -> Response:
    return Response(str(error), HTTPStatus.BAD_GATEWAY)
