"""What the variables amount to: the mode, the URL that counts, TLS or not, and what is ignored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from . import names
from .model import Cluster, Mode, Sentinel
from .reading import Reading
from .urls import RedisUrl

T = TypeVar("T")

PUBLISHED_ALGORITHMS = ("RS256", "ES256", "EdDSA")
"""What is accepted by default of an issuer that publishes its keys."""


def mode_of(reading: Reading) -> Mode:
    """Which mode the variables lead to: the explicit one, Sentinel, Cluster, a URL, or no Redis."""
    if reading.values.redis_mode is not None:
        return reading.values.redis_mode
    if reading.given & {names.HOSTS, names.MASTER}:
        return "sentinel"
    if cluster_asked(reading):
        return "cluster"
    if names.URL in reading.given:
        return _mode_of_url(reading.values.redis_url)
    return "embedded"


def jwt_algorithms(reading: Reading) -> tuple[str, ...]:
    """The algorithms that are accepted; without a word, what fits where the keys come from."""
    if names.JWT_JWKS_URL in reading.given and names.JWT_ALGORITHMS not in reading.given:
        return PUBLISHED_ALGORITHMS
    return reading.values.jwt_algorithms


def cluster_asked(reading: Reading) -> list[str]:
    """The variables, beside the mode and the URL, that ask for a Redis Cluster."""
    asking = {
        names.CLUSTER_NODES: names.CLUSTER_NODES in reading.given,
        names.CLUSTER_MODE: reading.values.redis_cluster_mode == "true",
    }
    return [name for name, asks in asking.items() if asks]


def _mode_of_url(url: RedisUrl | None) -> Mode:
    match url.topology if url else None:
        case Sentinel():
            return "sentinel"
        case Cluster():
            return "cluster"
        case _:
            return "standalone"


def url_in_use(reading: Reading) -> RedisUrl | None:
    """The URL, unless the mode makes nothing of it."""
    given: dict[Mode, set[str]] = {
        "sentinel": {names.HOSTS, names.MASTER},
        "cluster": {names.CLUSTER_NODES},
    }
    mode = mode_of(reading)
    if mode == "embedded" or reading.given & given.get(mode, set()):
        return None
    return reading.values.redis_url


def tls_choice(reading: Reading) -> tuple[bool, bool]:
    """Whether TLS is on for Redis, and for the Sentinels."""
    env, mode, url = reading.values, mode_of(reading), url_in_use(reading)
    if mode == "embedded":
        return False, False
    on = first(env.redis_tls, url.tls if url else None, default=False)
    sentinel_on = mode == "sentinel" and first(env.redis_sentinel_tls, None, default=on)
    return on, sentinel_on


def ignored(reading: Reading) -> Mapping[str, str]:
    """The variables that are set and take no effect, each with the reason."""
    env, mode = reading.values, mode_of(reading)
    found: dict[str, str] = {}
    if mode == "embedded":
        asked = names.MODE in reading.given
        reason = f"{names.MODE} is embedded" if asked else "nothing says where Redis is"
        redis = (name for name in reading.given if name.startswith("ARAGORA_REDIS_"))
        found |= dict.fromkeys(set(redis) - {names.MODE, names.DEADLINE}, reason)
    if mode == "standalone":
        found |= dict.fromkeys(names.SENTINEL_DETAILS, f"{names.URL} leads to one server")
    if mode == "sentinel" and names.HOSTS in reading.given:
        found[names.URL] = f"{names.HOSTS} is set"
    if mode == "cluster":
        found |= dict.fromkeys(names.SENTINEL_DETAILS, "a Redis Cluster has no Sentinels")
        if names.CLUSTER_NODES in reading.given:
            found[names.URL] = f"{names.CLUSTER_NODES} is set"
    if env.redis_tls is False and not any(tls_choice(reading)):
        found |= dict.fromkeys(names.TLS_DETAILS, f"{names.TLS} is false")
    return {name: found[name] for name in sorted(found) if name in reading.given}


def first(variable: T | None, in_url: T | None, *, default: T) -> T:
    """A variable of its own wins over the URL, and the URL over the default."""
    if variable is not None:
        return variable
    return default if in_url is None else in_url
