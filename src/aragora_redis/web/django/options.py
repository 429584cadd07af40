"""What `ARAGORA` in the settings of a Django project says. Everything else is `ARAGORA_*`."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Annotated, Any, Literal

import msgspec
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.http import HttpRequest
from django.utils.module_loading import import_string
from msgspec import Meta, Struct, field

from ...errors import InvalidInputError, SettingsError
from ..client_address import proxies
from ..paths import listed_paths

NAME = "ARAGORA"

Subject = Callable[[HttpRequest], str | None]


def _validate_paths(paths: tuple[str, ...], exempt: tuple[str, ...]) -> None:
    try:
        listed_paths(paths, "paths")
        listed_paths(exempt, "exempt")
    except InvalidInputError as error:
        raise ValueError(str(error)) from None


class LimitOptions(Struct, frozen=True, forbid_unknown_fields=True):
    """What the middleware does with one policy.

    Attributes:
        paths: paths, with all below them, that it limits.
        exempt: those that it does not.
        subject: the dotted path of a function, or the function, that says for whom a request
            counts; None is the client's address.
        cost: tokens that a request takes.
    """

    paths: tuple[str, ...] = ("/",)
    exempt: tuple[str, ...] = ()
    subject: Any = None
    cost: Annotated[int, Meta(ge=1)] = 1

    def __post_init__(self) -> None:
        _validate_paths(self.paths, self.exempt)


class TokenOptions(Struct, frozen=True, forbid_unknown_fields=True):
    """What the middleware demands of a token.

    Attributes:
        paths: paths, with all below them, that need one.
        exempt: those that do not.
        scopes: what it must allow, all of it.
        realm: what clients are told that it is for.
    """

    paths: tuple[str, ...] = ("/",)
    exempt: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()
    realm: str = "api"

    def __post_init__(self) -> None:
        _validate_paths(self.paths, self.exempt)


class SessionOptions(Struct, frozen=True, forbid_unknown_fields=True):
    """How sessions are written.

    Attributes:
        on_conflict: `overwrite` writes what a request has set over what another has; by default
            it is refused with 400.
    """

    on_conflict: Literal["refuse", "overwrite"] = "refuse"


class Options(Struct, frozen=True, forbid_unknown_fields=True, rename=str.upper):
    """All of it.

    Attributes:
        limits: by the name of the policy, in the order in which they are asked.
        trusted_proxies: networks of our own proxies, and `unix`, see `client_address.proxies`.
        x_headers: send `X-RateLimit-*` beside the fields of the IETF.
        state: the dotted path of a `sync.SharedState` of the project's own.
    """

    limits: dict[str, LimitOptions] = field(default_factory=dict)
    tokens: TokenOptions = TokenOptions()
    sessions: SessionOptions = SessionOptions()
    trusted_proxies: tuple[str, ...] = ()
    x_headers: bool = False
    state: str | None = None

    def __post_init__(self) -> None:
        try:
            proxies(self.trusted_proxies)
        except SettingsError as error:
            raise ValueError(str(error)) from None


@lru_cache(maxsize=1)
def options() -> Options:
    """What the settings say now.

    Raises:
        ImproperlyConfigured: it is not what can be said there.
    """
    try:
        return msgspec.convert(getattr(settings, NAME, {}), Options)
    except msgspec.ValidationError as error:
        raise ImproperlyConfigured(f"{NAME} in the settings: {error}") from None


def subject_of(given: Any, default: Subject) -> Subject:
    """The function that an option names.

    Raises:
        ImproperlyConfigured: it names none.
    """
    if given is None:
        return default
    try:
        found = import_string(given) if isinstance(given, str) else given
    except ImportError as error:
        raise ImproperlyConfigured(f"a subject of {NAME}['LIMITS']: {error}") from None
    if not callable(found):
        raise ImproperlyConfigured(f"a subject of {NAME}['LIMITS'] is no function: {given!r}")
    subject: Subject = found
    return subject


def _forget(*, setting: str, **_: Any) -> None:
    if setting == NAME:
        options.cache_clear()


setting_changed.connect(_forget)
