"""Whom a request of Django comes from."""

from __future__ import annotations

from functools import lru_cache

from django.core.signals import setting_changed
from django.http import HttpRequest

from ...sessions.client import Client
from ..client_address import AddressSubjects, Proxies, client_address, proxies
from .options import NAME, options


def by_address(request: HttpRequest) -> str:
    """Counts for the address of the client, behind the trusted proxies of the settings."""
    return _subjects().subject(*_told(request))


def client_of(request: HttpRequest) -> Client:
    """What a user is shown of where a session is used from."""
    address = client_address(*_told(request), _trusted())
    return Client(request.META.get("HTTP_USER_AGENT"), address)


def _told(request: HttpRequest) -> tuple[str | None, list[str]]:
    """Who has connected, and what the proxies' field says: servers join fields of one name."""
    told = request.META.get("HTTP_" + _trusted().field.upper().replace("-", "_"))
    return request.META.get("REMOTE_ADDR"), [] if told is None else [told]


@lru_cache(maxsize=1)
def _trusted() -> Proxies:
    return proxies(options().trusted_proxies)


@lru_cache(maxsize=1)
def _subjects() -> AddressSubjects:
    return AddressSubjects(_trusted())


def _forget(*, setting: str, **_: object) -> None:
    if setting == NAME:
        _trusted.cache_clear()
        _subjects.cache_clear()


setting_changed.connect(_forget)
