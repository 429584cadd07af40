"""Read the text of one variable. A `ValueError` says what is wrong with it, without quoting it."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

from ..address import Address
from ..errors import InvalidInputError, SettingsError
from .secret import Secret
from .urls import REDIS_PORT, SENTINEL_PORT, RedisUrl, parse_hosts, parse_url

MIN_SECRET = 16
_HMAC = frozenset({"HS256", "HS384", "HS512"})
_SIGNATURES = frozenset(
    {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}
)
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
FORWARDED = "forwarded"
"""Among proxies: they write the field of that name (RFC 7239), see `web.client_address`."""
_YES, _NO = ("1", "yes", "on"), ("0", "no", "off")
_SCALES = {"second": 1.0, "minute": 60.0, "hour": 3600.0, "day": 86_400.0}
_UNITS = {"ms": 0.001, "": 1.0, "s": 1.0} | _SCALES | {f"{k}s": v for k, v in _SCALES.items()}
_DURATION = re.compile(r"(\d+(?:\.\d+)?|\.\d+)\s*([a-z]*)", re.ASCII)


def duration(text: str) -> float:
    """Seconds, from a plain number or a number with a unit: `0.05`, `50 ms`, `30 days`."""
    match = _DURATION.fullmatch(text.strip().lower())
    if match is None or match[2] not in _UNITS:
        raise ValueError("it is no duration")
    return float(match[1]) * _UNITS[match[2]]


def url(text: str) -> RedisUrl:
    """A Redis URL."""
    try:
        return parse_url(text.strip())
    except SettingsError as error:
        raise ValueError(str(error)) from None


def sentinel_hosts(text: str) -> tuple[Address, ...]:
    """Addresses of Sentinels."""
    return _hosts(text, SENTINEL_PORT)


def cluster_nodes(text: str) -> tuple[Address, ...]:
    """Addresses of nodes of a Redis Cluster."""
    return _hosts(text, REDIS_PORT)


def cluster_mode(text: str) -> str:
    """`auto`, `true` or `false`, in the words that other switches take too."""
    lowered = text.lower()
    if lowered in _YES:
        return "true"
    return "false" if lowered in _NO else lowered


def verify(text: str) -> str:
    """How far a certificate is checked; `true` and `false` are taken for full and none."""
    lowered = text.lower()
    return {"true": "full", "1": "full", "false": "none", "0": "none"}.get(lowered, lowered)


def long_secret(text: str) -> Secret:
    """A secret that is not guessed by trying."""
    if len(text) < MIN_SECRET:
        raise ValueError(f"it is shorter than {MIN_SECRET} characters")
    return Secret(text)


def rotating(text: str) -> tuple[Secret, ...]:
    """`current` or `current,previous`: tokens that a client can send in a header."""
    tokens = [token.strip() for token in text.split(",")]
    if len(tokens) > 2:
        raise ValueError("it holds more than the current and the previous token")
    if not all(token.isascii() and token.isprintable() and " " not in token for token in tokens):
        raise ValueError("a token holds a space or a character that no HTTP header carries")
    return tuple(long_secret(token) for token in tokens)


def algorithms(text: str) -> tuple[str, ...]:
    """JWT algorithms, all of one family of keys."""
    names = words(text)
    if not set(names) <= _HMAC | _SIGNATURES:
        raise ValueError("it names an algorithm that is not accepted here")
    # A public key taken for an HMAC secret lets anybody sign (CVE-2022-29217).
    if len({asymmetric(name) for name in names}) > 1:
        raise ValueError("it mixes shared-key (HS) and public-key algorithms")
    return names


def key_set_url(text: str) -> str:
    """Where keys are published: over TLS, or on this machine."""
    parts = urlsplit(text.strip())
    host = parts.hostname or ""
    if parts.scheme == "http" and host not in _LOOPBACK:
        raise ValueError("it is not https, and whoever sits in between could answer")
    if parts.scheme not in {"http", "https"} or not host:
        raise ValueError("it is no https URL")
    if parts.username is not None or parts.fragment:
        raise ValueError("it holds a user name or a fragment")
    _ = parts.port  # raises where it is none
    return text.strip()


def asymmetric(algorithm: str) -> bool:
    """Whether the algorithm verifies with a public key."""
    return algorithm in _SIGNATURES


def claims(text: str) -> tuple[str, ...]:
    """Names of claims, or `none`."""
    names = words(text)
    return () if names == ("none",) else names


def networks(text: str) -> tuple[str, ...]:
    """Addresses and networks; `localhost` is this machine in both families.

    With `forwarded` beside them, that too: the field in which they say for whom they ask.
    """
    found: list[str] = []
    entries = words(text.lower())
    for word in entries:
        if word == FORWARDED:
            continue
        if word == "localhost":
            found += ("127.0.0.1", "::1")
            continue
        try:
            found.append(str(ipaddress.ip_network(word, strict=False)))
        except ValueError:
            raise ValueError("an entry is no address or network") from None
    if FORWARDED in entries:
        if not found:
            raise ValueError("there is no address or network beside `forwarded`")
        found.append(FORWARDED)
    return tuple(dict.fromkeys(found))


def words(text: str) -> tuple[str, ...]:
    """Entries separated by commas; at least one, or a stray comma would lift what they demand."""
    found = tuple(word.strip() for word in text.split(",") if word.strip())
    if not found:
        raise ValueError("it has no entry")
    return found


def _hosts(text: str, default_port: int) -> tuple[Address, ...]:
    try:
        return parse_hosts(text, default_port=default_port)
    except InvalidInputError as error:
        raise ValueError(str(error)) from None
