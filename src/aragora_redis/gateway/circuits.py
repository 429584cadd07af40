"""`/v1/circuits`: ask whether a call may be made, tell how it went, hold a circuit by hand."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.types import Receive

from ..circuit.machine import Shown
from ..circuit.note import BY_LIMIT, REASON_LIMIT
from ..circuit.permit import Permit
from ..clock import SYSTEM_CLOCK, Clock
from ..errors import CircuitOpenError, OutageError, OutcomeUnknownError
from ..state.circuits.circuit import Circuit
from ..state.circuits.circuits import LONGEST_FORCE, Forced
from ..state.shared import SharedState
from ..web.headers import retry_after
from ..web.problems import Problem, ProblemError
from .auth import Caller, Role, needs
from .bodies import Body, JsonRoute, Note
from .permits import Permits
from .problems import JSON_ANSWERS, answers
from .waiting import Received, unless_gone


class Returned(Body):
    """A permit that is given back."""

    permit: Annotated[str, Field(max_length=160)]


class Result(Returned):
    """How a call went that was let through."""

    ok: bool
    duration: Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False)]
    """Seconds until its answer; of a stream, until that began."""


class Force(Body):
    """What to hold the circuit at; `auto` lets its calls decide again."""

    state: Forced
    reason: Annotated[Note, Field(max_length=REASON_LIMIT)] = ""
    by: Annotated[Note, Field(max_length=BY_LIMIT)] = ""
    """Who does it, as they name themselves; by default, by which token."""
    lasts: Annotated[float, Field(ge=0.001, le=LONGEST_FORCE)] | None = None
    """Seconds for which it holds; null until it is told otherwise."""


class KeptBody(BaseModel):
    """For how many seconds the places of a call are held from now."""

    kept_for: float


class PermitBody(KeptBody):
    """Leave to make one call; report its result with it.

    A call that takes longer than `kept_for` seconds is to be kept before they are over.
    """

    permit: str


class RefusalBody(BaseModel):
    """The circuit does not let the call through. `retry_after` is in seconds."""

    state: Shown
    retry_after: float


class CircuitBody(BaseModel):
    """A circuit, see `aragora_redis.state.circuits.status.CircuitStatus`."""

    name: str
    state: Shown
    retry_after: float
    opens: int
    calls: int
    failure_rate: float
    slow_rate: float
    reason: str
    forced_by: str
    forced_at: float | None
    forced_until: float | None
    in_flight: int
    waiting: int
    source: str


class ReporterBody(BaseModel):
    """What one instance has told of the calls, `age` seconds ago."""

    instance: str
    age: float
    calls: int
    failures: int
    slow: int


class ShownBody(BaseModel):
    """A circuit, and who has reported what of it; `reporters` is null where nobody can be asked."""

    circuit: CircuitBody
    reporters: list[ReporterBody] | None


class CircuitsBody(BaseModel):
    """The circuits in use in the fleet, by name."""

    circuits: list[CircuitBody]


_REFUSED = answers(HTTPStatus.SERVICE_UNAVAILABLE)[503]
_REFUSED |= {"model": RefusalBody, "description": "Not let through, see Retry-After"}

_SPREAD = Problem(
    HTTPStatus.CONFLICT,
    "the policy of this circuit bounds its calls, and several workers share this port: what "
    "becomes of a call may be told to another worker than the one that counts it",
    "serve with one worker, or take max_concurrent out of the policy",
)


def routes(state: SharedState, *, shared: bool = False, clock: Clock = SYSTEM_CLOCK) -> APIRouter:
    """The routes over one state; `shared` where other workers answer on the same port."""
    router = APIRouter(
        prefix="/v1/circuits",
        tags=["circuits"],
        route_class=JsonRoute,
        dependencies=[needs(Role.GATEWAY)],
        responses=answers(*JSON_ANSWERS),
    )
    _add_looks(router, state)
    _add_calls(router, state, clock, shared=shared)
    return router


def _add_looks(router: APIRouter, state: SharedState) -> None:
    @router.get("")
    async def every() -> CircuitsBody:
        """All circuits."""
        found = await state.circuits.all()
        return CircuitsBody.model_validate({"circuits": found}, from_attributes=True)

    @router.get("/{name}")
    async def show(name: str) -> ShownBody:
        """One circuit, and who has reported what of it."""
        circuit = await state.circuits.look(name)
        try:
            reporters = [each._asdict() for each in await state.circuits.reporters(name)]
        except (OutageError, OutcomeUnknownError):
            reporters = None
        return ShownBody.model_validate(
            {
                "circuit": CircuitBody.model_validate(circuit, from_attributes=True),
                "reporters": reporters,
            }
        )

    @router.post("/{name}/force", dependencies=[needs(Role.ADMIN)])
    async def force(name: str, body: Force, caller: Caller) -> CircuitBody:
        """Hold the circuit open or closed, or let its calls decide again."""
        forced = await state.circuits.force(
            name, body.state, reason=body.reason, actor=body.by or caller, ttl=body.lasts
        )
        return CircuitBody.model_validate(forced, from_attributes=True)


async def _permit(circuit: Circuit, receive: Receive) -> Permit | None:
    """Leave to make a call, or nothing for who went away while it was waited for."""
    if circuit.policy.max_waiting:
        return await unless_gone(receive, circuit.acquire(), undo=circuit.give_up)
    return await circuit.acquire()


def _add_calls(router: APIRouter, state: SharedState, clock: Clock, *, shared: bool) -> None:
    permits = Permits(state.settings.digest_key.reveal_bytes(), clock)

    @router.post(
        "/{name}/acquire",
        response_model=PermitBody,
        responses=answers(HTTPStatus.CONFLICT) | {503: _REFUSED},
    )
    async def acquire(name: str, receive: Received) -> PermitBody | Response:
        """Leave to make one call: 200 with a permit, else 503 with the state.

        503 as a problem (`circuit-full`) where as many calls are under way as the policy allows.
        Where the policy bounds calls, a permit holds one of this gateway's places until its report,
        or for twice the time from which a call is slow (at least 5 seconds), unless it is kept.
        409 where it does, and several workers share the port: the report may reach another one.
        """
        circuit = state.circuits[name]
        if shared and circuit.policy.max_concurrent:
            raise ProblemError(_SPREAD)
        try:
            permit = await _permit(circuit, receive)
            if permit is None:
                return Response(status_code=HTTPStatus.SERVICE_UNAVAILABLE)  # to nobody
            return PermitBody(permit=permits.seal(name, permit), kept_for=circuit.lease)
        except CircuitOpenError as error:
            refusal = {"state": error.state, "retry_after": error.retry_after}
            headers = {"Retry-After": retry_after(error.retry_after)}
            return JSONResponse(refusal, HTTPStatus.SERVICE_UNAVAILABLE, headers)

    @router.post("/{name}/keep")
    async def keep(name: str, body: Returned) -> KeptBody:
        """Keep the places of a call that goes on, such as a stream: for `kept_for` seconds more.

        Ask again before they are over, best after a third of them, and for a day at most. 0 says
        that a place is lost: another call may be under way in its stead, and the result of a trial
        call is dropped. Where the policy bounds calls, ask the gateway that gave the permit. 503
        where Redis cannot be asked about a trial call: ask again at once.
        """
        permit = permits.open_to_keep(name, body.permit)
        kept_for = 0.0 if permit is None else await state.circuits[name].keep(permit)
        return KeptBody(kept_for=kept_for)

    @router.post("/{name}/report", status_code=HTTPStatus.NO_CONTENT)
    async def report(name: str, body: Result) -> Response:
        """How the call went, told once. A result for a state that is over is dropped."""
        permit = permits.open(name, body.permit)
        if permits.take(body.permit):
            await state.circuits[name].report(permit, ok=body.ok, duration=body.duration)
        return Response(status_code=HTTPStatus.NO_CONTENT)

    @router.post("/{name}/release", status_code=HTTPStatus.NO_CONTENT)
    async def release(name: str, body: Returned) -> Response:
        """Give a permit back: the call was not made, or says nothing of the dependency."""
        permit = permits.open(name, body.permit)
        if permits.take(body.permit):
            await state.circuits[name].release(permit)
        return Response(status_code=HTTPStatus.NO_CONTENT)
