"""`/v1/tokens` for operators: undo, list, and carry to another Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from http import HTTPStatus
from typing import Annotated, Self

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse
from msgspec.structs import asdict
from pydantic import BaseModel, model_validator

from ..errors import InvalidInputError
from ..state.shared import SharedState
from ..web.problems import Problem, ProblemError
from .auth import Caller, Role, needs
from .bodies import JsonRoute, QuerySigned, Signed, Text
from .problems import JSON_ANSWERS, answers
from .tokens import LevelWord, ReceiptBody, body_of, one_of
from .upload import UPLOADS, Upload

LINES = "application/x-ndjson"
_BUSY = Problem(
    HTTPStatus.SERVICE_UNAVAILABLE,
    f"{UPLOADS} imports are under way here",
    "send it again once one of them has ended",
    headers={"Retry-After": "10", "Connection": "close"},
)


class Pardon(Signed):
    """What to pardon."""

    jti: Text | None = None
    user: Text | None = None
    tenant: Text | None = None
    family: Text | None = None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        one_of(jti=self.jti, user=self.user, tenant=self.tenant, family=self.family)
        return self


class RevocationBody(BaseModel):
    """One revocation, or a `pardon`; instants are Unix seconds."""

    digest: str
    what: str
    moment: float
    reason: str | None
    actor: str | None
    pardoned: bool


class ListBody(BaseModel):
    """Some revocations, how many are kept, and where the next page begins, if there is one."""

    total: int
    shown: list[RevocationBody]
    after: str | None


class LoadedBody(BaseModel):
    """How many revocations were read, how many of them were over, and how far the others got."""

    entries: int
    expired: int
    level: LevelWord


def routes(state: SharedState) -> APIRouter:
    """The routes over one state."""
    router = APIRouter(
        prefix="/v1/tokens",
        tags=["tokens"],
        route_class=JsonRoute,
        dependencies=[needs(Role.ADMIN)],
        responses=answers(*JSON_ANSWERS),
    )
    accepted = {"model": ReceiptBody, "description": "In force, at a lower level than asked for"}

    @router.post("/pardon", responses={202: accepted})
    async def pardon(body: Pardon, response: Response, caller: Caller) -> ReceiptBody:
        """Undo the revocation of exactly one token, user, tenant or family, as it stands now.

        Needs `ARAGORA_PARDON_KEY`. What is not revoked cannot be pardoned: 422. The refresh tokens
        of a family that was ended because one was presented again stay ended.
        """
        receipt = await state.tokens.pardon(
            **{name: getattr(body, name) for name in ("jti", "user", "tenant", "family")},
            reason=body.reason,
            actor=body.actor or caller,
        )
        if receipt.level < receipt.wanted:
            response.status_code = HTTPStatus.ACCEPTED
        return body_of(receipt)

    @router.get("")
    async def list_(
        limit: Annotated[int, Query(ge=1, le=1000)] = 50,
        after: Annotated[Text | None, Query()] = None,
    ) -> ListBody:
        """What is revoked, what may be forgotten first in front: digests, since ids are not stored.

        A page tells the `after` of the one that follows; null is the end.
        """
        return ListBody.model_validate((await state.tokens.list(limit, after=after)).as_dict())

    router.include_router(_transfers(state))
    return router


def _transfers(state: SharedState) -> APIRouter:
    router = APIRouter()

    @router.get(
        "/export",
        response_class=StreamingResponse,
        responses={200: {"content": {LINES: {}}, "description": "JSON lines of digests"}},
    )
    async def export() -> StreamingResponse:
        """All revocations. What ends without its last line was cut short, and is refused later."""
        pieces = state.tokens.export_all()
        # An outage is told by the status: the first page is read before anything is sent.
        begun = [await anext(pieces), await anext(pieces)]

        async def whole() -> AsyncIterator[bytes]:
            for piece in begun:
                yield piece
            async for piece in pieces:
                yield piece

        return StreamingResponse(whole(), media_type=LINES)

    under_way = asyncio.Semaphore(UPLOADS)

    @router.post(
        "/import",
        openapi_extra={"requestBody": {"content": {LINES: {}}, "required": True}},
    )
    async def load(request: Request, caller: Caller, signed: QuerySigned) -> LoadedBody:
        """Join exported revocations to those here, as they arrive: 1 GiB of lines at most.

        It may be repeated, and takes nothing back. What breaks off says after which line: all
        before it is joined. 408 where less than 64 KiB a second come, 503 where two imports are
        under way here.
        """
        if under_way.locked():
            raise ProblemError(_BUSY)
        upload = Upload(request.receive)
        async with under_way:
            try:
                imported = await state.tokens.import_all(
                    upload.lines(), reason=signed.reason, actor=signed.actor or caller
                )
            except InvalidInputError as error:
                raise _of_upload(upload, error) from error
        return LoadedBody.model_validate(asdict(imported) | {"level": imported.level.word})

    return router


def _of_upload(upload: Upload, error: InvalidInputError) -> Exception:
    """What ended an import: an upload that broke only looks as if it had been cut short."""
    if upload.broken is None:
        return error
    detail = f"{upload.broken.detail}: {error.message}, and what came before is joined"
    return ProblemError(replace(upload.broken, detail=detail, ran=error.ran))
