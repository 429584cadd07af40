"""An answer that its endpoint renders itself, so that it is the same whoever has called it."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from types import MappingProxyType

from fastapi import Response

_NONE: Mapping[str, str] = MappingProxyType({})


class Rendered(Response):
    """JSON, with fields of the answer beside it."""

    def __init__(
        self, body: bytes, status: HTTPStatus = HTTPStatus.OK, fields: Mapping[str, str] = _NONE
    ) -> None:
        self.status_code = status
        self.body = body
        self.background = None
        self.raw_headers = [
            (b"content-length", b"%d" % len(body)),
            (b"content-type", b"application/json"),
        ]
        for name, value in fields.items():
            self.raw_headers.append((name.lower().encode("latin-1"), value.encode("latin-1")))
