"""An answer that its endpoint renders itself, so that it is the same whoever has called it."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from types import MappingProxyType

from fastapi import Response

_NONE: Mapping[str, str] = MappingProxyType({})


class Rendered(Response):
    """JSON, with fields of the answer beside it."""

    media_type = "application/json"

    def __init__(
        self, body: bytes, status: HTTPStatus = HTTPStatus.OK, fields: Mapping[str, str] = _NONE
    ) -> None:
        super().__init__(body, status, fields)
