"""What a JSON body may hold: strict types, no unknown fields, nothing that breaks further in."""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Callable, Coroutine, Iterable
from http import HTTPStatus
from typing import Annotated, Any, NamedTuple

from fastapi import Depends, Query, Request, Response
from fastapi.routing import APIRoute
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from ..audit.act import ACTOR_LIMIT
from ..jwt.reading import unix_seconds
from ..web.problems import Problem, ProblemError

_RFC_3339 = re.compile(
    r"(\d{4}-\d{2}-\d{2})[Tt ](\d{2}:\d{2}:\d{2})(\.\d{1,9})?([Zz]|[+-]\d{2}:\d{2})", re.ASCII
)


class Unshown(BaseModel):
    """Holds tokens or ids, which must not reach a log."""

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        return ()


class Body(Unshown):
    """A request's body."""

    model_config = ConfigDict(
        strict=True, extra="forbid", frozen=True, use_attribute_docstrings=True
    )


def _instant(value: Any) -> float:
    try:
        return _rfc_3339(value) if isinstance(value, str) else unix_seconds(value)
    except (ValueError, OverflowError):
        raise ValueError("give Unix seconds, or a text such as 2030-01-31T12:00:00Z") from None


def _rfc_3339(text: str) -> float:
    found = _RFC_3339.fullmatch(text)
    if found is None:
        raise ValueError("it is not of RFC 3339")
    date, time, fraction, zone = found.groups()
    offset = "+00:00" if zone in "Zz" else zone
    return dt.datetime.fromisoformat(f"{date}T{time}{offset}").timestamp() + float(fraction or 0)


def _without_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("it holds a NUL")
    return text


def _printable(text: str) -> str:
    if text and not text.isprintable():
        raise ValueError("it holds a control character")
    return text


Note = Annotated[str, Field(max_length=1024), AfterValidator(_without_nul)]
"""Words for people."""
Text = Annotated[Note, Field(min_length=1)]
"""An id or a subject."""
Actor = Annotated[str, Field(max_length=ACTOR_LIMIT), AfterValidator(_printable)]
"""Who acts, as they name themselves."""
Jwt = Annotated[str, Field(max_length=16_384)]
"""A token, whole."""
Instant = Annotated[
    float,
    BeforeValidator(_instant),
    WithJsonSchema({"anyOf": [{"type": "number"}, {"type": "string", "format": "date-time"}]}),
]
"""Unix seconds; RFC 3339 is accepted."""


class Signed(Body):
    """Why something is done, and by whom, for the record (`/v1/audit`)."""

    reason: Note = ""
    """Only its first 200 characters are kept."""
    actor: Actor = ""


class Signature(NamedTuple):
    """The same in the query, where there is no body for it."""

    reason: str
    actor: str


def _signature(
    reason: Annotated[Note, Query()] = "", actor: Annotated[Actor, Query()] = ""
) -> Signature:
    return Signature(reason, actor)


QuerySigned = Annotated[Signature, Depends(_signature)]


class JsonRequest(Request):
    """A request whose body is JSON, or is refused as such."""

    async def json(self) -> Any:
        """The parsed body."""
        try:
            return await super().json()
        except (ValueError, RecursionError) as error:  # also an integer of 5000 digits
            raise json.JSONDecodeError("not JSON", "", 0) from error


class JsonRoute(APIRoute):
    """A route whose body, where it takes one, is JSON."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The route's handler, behind a look at the media type."""
        handle = super().get_route_handler()
        field = self.body_field
        needs_body = field is not None and field.field_info.is_required()

        async def handle_json(request: Request) -> Response:
            read = JsonRequest(request.scope, request.receive)
            if field is not None and (needs_body or await read.body()):
                _require_json(request.headers.get("content-type", ""))
            return await handle(read)

        return handle_json


def is_json(content_type: str) -> bool:
    """Whether a `Content-Type` declares JSON."""
    return content_type.partition(";")[0].strip().lower() == "application/json"


def _require_json(content_type: str) -> None:
    if not is_json(content_type):
        raise ProblemError(
            Problem(
                HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
                "the body is not declared as JSON",
                "send Content-Type: application/json",
            )
        )
