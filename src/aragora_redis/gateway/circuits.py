"""`/v1/circuits`: ask whether a call may be made, tell how it went, hold a circuit by hand."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from ..circuit.machine import Shown
from ..circuit.operations import REASON_LIMIT
from ..errors import CircuitOpenError
from ..state.circuits import Forced
from ..state.shared import SharedState
from ..web.headers import retry_after
from .auth import Role, needs
from .bodies import Body, JsonRoute, Note
from .permits import Permits
from .problems import JSON_ANSWERS, answers


class Result(Body):
    """How a call went that was let through: `duration` in seconds."""

    permit: Annotated[str, Field(max_length=160)]
    ok: bool
    duration: Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False)]


class Force(Body):
    """What to hold the circuit at; `auto` lets its calls decide again."""

    state: Forced
    reason: Annotated[Note, Field(max_length=REASON_LIMIT)] = ""


class PermitBody(BaseModel):
    """Leave to make one call; report its result with it."""

    permit: str


class RefusalBody(BaseModel):
    """The circuit does not let the call through. `retry_after` is in seconds."""

    state: Shown
    retry_after: float


class CircuitBody(BaseModel):
    """A circuit, see `aragora_redis.state.circuit.CircuitStatus`."""

    name: str
    state: Shown
    retry_after: float
    opens: int
    calls: int
    failure_rate: float
    slow_rate: float
    reason: str
    source: str


class CircuitsBody(BaseModel):
    """The circuits in use in the fleet, by name."""

    circuits: list[CircuitBody]


_REFUSED = {"model": RefusalBody, "description": "Not let through, see Retry-After"}


def routes(state: SharedState) -> APIRouter:
    """The routes over one state."""
    permits = Permits(state.settings.digest_key.reveal_bytes())
    router = APIRouter(
        prefix="/v1/circuits",
        tags=["circuits"],
        route_class=JsonRoute,
        dependencies=[needs(Role.GATEWAY)],
        responses=answers(*JSON_ANSWERS),
    )

    @router.get("")
    async def every() -> CircuitsBody:
        """All circuits."""
        found = await state.circuits.all()
        return CircuitsBody.model_validate({"circuits": found}, from_attributes=True)

    @router.post("/{name}/acquire", response_model=PermitBody, responses={503: _REFUSED})
    async def acquire(name: str) -> PermitBody | Response:
        """Leave to make one call: 200 with a permit, else 503 with the state."""
        try:
            return PermitBody(permit=permits.seal(name, await state.circuits[name].acquire()))
        except CircuitOpenError as error:
            refusal = {"state": error.state, "retry_after": error.retry_after}
            headers = {"Retry-After": retry_after(error.retry_after)}
            return JSONResponse(refusal, HTTPStatus.SERVICE_UNAVAILABLE, headers)

    @router.post("/{name}/report", status_code=HTTPStatus.NO_CONTENT)
    async def report(name: str, body: Result) -> Response:
        """How the call went, told once. A result for a state that is over is dropped."""
        permit = permits.open(name, body.permit)
        if permits.take(body.permit):
            await state.circuits[name].report(permit, ok=body.ok, duration=body.duration)
        return Response(status_code=HTTPStatus.NO_CONTENT)

    @router.post("/{name}/force", dependencies=[needs(Role.ADMIN)])
    async def force(name: str, body: Force) -> CircuitBody:
        """Hold the circuit open or closed, or let its calls decide again."""
        forced = await state.circuits.force(name, body.state, body.reason)
        return CircuitBody.model_validate(forced, from_attributes=True)

    return router
