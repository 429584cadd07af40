"""What the operator should hear once at start. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from . import names
from .choice import ignored, tls_choice, url_in_use
from .reading import Reading

# An HMAC key shorter than its digest weakens it (RFC 7518 section 3.2).
_HMAC_KEY_BYTES = 32
_LONG = 5
"""Seconds above which a deadline is hardly meant: it is for each check of a limit too."""


def advice(reading: Reading, *, alone: bool) -> Iterator[str]:
    """One sentence for each thing that works otherwise than the operator may think.

    Args:
        reading: what is said.
        alone: there is no Redis.
    """
    env, given = reading.values, reading.given
    if alone and names.MODE not in given:
        yield (
            "no Redis is configured: limits and revocations are kept in this process alone and "
            f"are lost when it ends; set {names.HOSTS} and {names.MASTER}, {names.URL}, "
            f"or {names.CLUSTER_NODES}"
        )
    yield from advice_on_redis(reading)
    if not alone and env.digest_key is None:
        yield (
            f"{names.DIGEST_KEY} is not set: whoever can read Redis can guess user ids and weak "
            "token ids; set it to the same random text on every instance"
        )
    if not alone and env.rate_limit_fail_open:
        yield (
            f"{names.FAIL_OPEN} is true: during an outage each instance goes on with "
            "its share of a limit"
        )
    yield from _of_the_gateway(reading)
    for name, secret in (
        (names.JWT_SECRET, env.jwt_secret),
        (names.JWT_SECRET_PREVIOUS, env.jwt_secret_previous),
    ):
        if secret is None or len(secret.reveal_bytes()) >= _HMAC_KEY_BYTES:
            continue
        yield (
            f"{name} is shorter than {_HMAC_KEY_BYTES} bytes and may be found by "
            "trying; set a longer one"
        )


def advice_on_redis(reading: Reading) -> Iterator[str]:
    """That of it which is about the way to Redis."""
    env = reading.values
    for name, reason in ignored(reading).items():
        yield f"{name} is ignored, because {reason}"
    if env.redis_deadline > _LONG:
        said = f"{env.redis_deadline:g}"
        yield (
            f"{names.DEADLINE} is {said} s, and a check of a limit takes as long where Redis does "
            f"not answer: is it {said} ms that is meant?"
        )
    yield from _overrides(reading)
    if any(tls_choice(reading)) and env.redis_tls_verify == "none":
        yield (
            f"{names.TLS_VERIFY} is none: whoever sits in between can read and answer; "
            f"set {names.TLS_CA} instead"
        )
    if any(tls_choice(reading)) and env.redis_tls_verify == "ca" and env.redis_tls_ca is None:
        yield (
            f"{names.TLS_VERIFY} is ca and {names.TLS_CA} is not set: whoever has a certificate "
            f"of any public authority can sit in between; set {names.TLS_CA}"
        )


def _of_the_gateway(reading: Reading) -> Iterator[str]:
    env = reading.values
    if set(env.gateway_token) & set(env.admin_token):
        yield (
            f"{names.GATEWAY_TOKEN} and {names.ADMIN_TOKEN} share a token: every service may do "
            "what an operator may; use different ones"
        )
    if any(network.endswith("/0") for network in env.trusted_proxies):
        yield (
            f"{names.TRUSTED_PROXIES} trusts everybody: whoever reaches the gateway may say at "
            "/authz whom a request is from; name the networks of the proxies alone"
        )


def _overrides(reading: Reading) -> Iterator[str]:
    env, url = reading.values, url_in_use(reading)
    if url is None:
        return
    differing = {
        names.DB: url.db is not None and env.redis_db not in (None, url.db),
        names.USERNAME: url.username is not None and env.redis_username not in (None, url.username),
        names.PASSWORD: url.password is not None and env.redis_password not in (None, url.password),
        names.PASSWORD_FILE: url.password is not None and env.redis_password_file is not None,
    }
    for name, differs in differing.items():
        if differs:
            yield f"{name} replaces what {names.URL} says about it; leave that out of the URL"
