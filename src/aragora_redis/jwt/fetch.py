"""Fetch a document over HTTP: with an end, of a bounded size, from where it was asked for."""

from __future__ import annotations

import asyncio
import re
import ssl
from http import HTTPStatus
from typing import NamedTuple

import httpx

from .key_set import KeySetError

FETCH_LIMIT = 5.0
"""Seconds that an attempt may take, from the look-up of the name to the last byte."""
DOCUMENT_LIMIT = 256 * 1024
"""Bytes that a document may have."""
_MAX_AGE = re.compile(r"\bmax-age=(\d{1,9})\b")


class Fetched(NamedTuple):
    """A document, and the seconds that it lives, where its server says so."""

    document: bytes
    life: float | None


class Fetcher:
    """Fetches one document, again and again."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._trust: ssl.SSLContext | None = None

    async def fetch(self) -> Fetched:
        """The document as it is now.

        Raises:
            KeySetError: it cannot be had; the text is a reason that may be shown.
        """
        try:
            async with asyncio.timeout(FETCH_LIMIT):
                return await self._fetch()
        except TimeoutError:
            raise KeySetError(f"no answer within {FETCH_LIMIT:g} s") from None
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
            raise KeySetError(f"it cannot be reached ({type(error).__name__})") from None

    async def _fetch(self) -> Fetched:
        if self._trust is None:
            self._trust = await asyncio.to_thread(ssl.create_default_context)
        # A redirection could lead anywhere, and a compressed answer could unpack to any size.
        headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
        async with (
            httpx.AsyncClient(verify=self._trust, timeout=None, follow_redirects=False) as client,  # noqa: S113 - see `fetch`
            client.stream("GET", self._url, headers=headers) as answer,
        ):
            if answer.status_code != HTTPStatus.OK:
                raise KeySetError(f"it answers {answer.status_code}")
            document = b""
            async for chunk in answer.aiter_raw():
                document += chunk
                if len(document) > DOCUMENT_LIMIT:
                    raise KeySetError(f"it is larger than {DOCUMENT_LIMIT} bytes")
            said = _MAX_AGE.search(answer.headers.get("cache-control", ""))
            return Fetched(document, float(said[1]) if said else None)
