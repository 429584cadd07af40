"""What cannot be meant together. Pure: files are not looked at."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from . import names, values
from .choice import cluster_asked, first, jwt_algorithms, mode_of, tls_choice, url_in_use
from .model import Cluster, Level, Mode, Sentinel, Standalone
from .reading import Reading
from .secret import Secret
from .urls import RedisUrl


def contradictions(reading: Reading) -> tuple[str, ...]:
    """What cannot be meant together; each sentence names the variables and a way out."""
    return (
        *_cluster(reading),
        *_sentinel_pair(reading),
        *_demanded_mode(reading),
        *_passwords(reading),
        *_auth(reading),
        *_tls(reading),
        *_jwt(reading),
    )


def _cluster(reading: Reading) -> Iterator[str]:
    env, asking, sentinels = reading.values, cluster_asked(reading), _sentinels(reading)
    if env.redis_mode is None and sentinels:
        for name in asking:
            yield (
                f"{sentinels[0]} and {name} are both set, and a deployment has either Sentinels or "
                "a Redis Cluster; unset one of the two"
            )
    elif mode_of(reading) == "cluster":
        if env.redis_cluster_mode == "false":
            yield from _denied_cluster(reading)
        else:
            yield from _seedless_cluster(reading)
        yield from _cluster_database(reading)


def _denied_cluster(reading: Reading) -> Iterator[str]:
    start = f"{names.CLUSTER_MODE} is false, but"
    if reading.values.redis_mode == "cluster":
        yield f"{start} {names.MODE} is cluster; correct one of the two"
    elif names.CLUSTER_NODES in reading.given:
        yield f"{start} {names.CLUSTER_NODES} is set; unset one of the two"
    else:
        yield f"{start} {names.URL} leads to a Redis Cluster; correct one of the two"


def _seedless_cluster(reading: Reading) -> Iterator[str]:
    if names.CLUSTER_NODES in reading.given:
        return
    asked = reading.values.redis_mode == "cluster"
    start = f"{names.MODE} is cluster" if asked else f"{names.CLUSTER_MODE} is true"
    if names.URL not in reading.given:
        yield f"{start}, but {names.CLUSTER_NODES} is not set; set it to host:6379,..."
    match reading.values.redis_url:
        case RedisUrl(topology=Sentinel()):
            yield f"{start}, but {names.URL} leads to Sentinels; correct one of the two"
        case RedisUrl(topology=Standalone(Path())):
            yield (
                f"{start}, but {names.URL} is a Unix socket, and nodes of a cluster are reached "
                f"over TCP; set {names.CLUSTER_NODES}"
            )


def _cluster_database(reading: Reading) -> Iterator[str]:
    own, url = reading.values.redis_db, url_in_use(reading)
    if db := first(own, url.db if url else None, default=0):
        who = names.URL if own is None else names.DB
        yield f"{who} names database {db}, but a Redis Cluster has only database 0; leave it out"


def _sentinel_pair(reading: Reading) -> Iterator[str]:
    sentinels = _sentinels(reading)
    if len(sentinels) == 1 and reading.values.redis_mode in (None, "sentinel"):
        (missing,) = {names.HOSTS, names.MASTER}.difference(sentinels)
        yield f"{sentinels[0]} is set, but {missing} is not; set both"


def _demanded_mode(reading: Reading) -> Iterator[str]:
    asked, url = reading.values.redis_mode, reading.values.redis_url
    sentinels, url_given = _sentinels(reading), names.URL in reading.given
    leads_to = _leads_to(url)
    start = f"{names.MODE} is {asked}, but"
    match asked:
        case "sentinel" if not sentinels and not url_given:
            yield f"{start} {names.HOSTS} and {names.MASTER} are not set; set both"
        case "sentinel" if not sentinels and url and leads_to != "Sentinels":
            yield (
                f"{start} {names.URL} leads to {leads_to}; "
                f"set {names.HOSTS} and {names.MASTER}, or correct {names.MODE}"
            )
        case "standalone" if not url_given:
            yield f"{start} {names.URL} is not set; set it to redis://host:6379"
        case "standalone" if url and leads_to != "one server":
            yield f"{start} {names.URL} leads to {leads_to}; correct one of the two"
        case "embedded" if url_given:
            yield f"{start} {names.URL} is set; unset one of the two"
    if asked is not None:
        of_sentinel = [] if asked == "sentinel" else sentinels
        of_cluster = [] if asked == "cluster" else cluster_asked(reading)
        for name in (*of_sentinel, *of_cluster):
            yield f"{start} {name} is set; unset one of the two"


def _leads_to(url: RedisUrl | None) -> str:
    match url.topology if url else None:
        case Sentinel():
            return "Sentinels"
        case Cluster():
            return "a Redis Cluster"
        case _:
            return "one server"


def _passwords(reading: Reading) -> Iterator[str]:
    if reading.given >= {names.PASSWORD, names.PASSWORD_FILE}:
        yield f"{names.PASSWORD} and {names.PASSWORD_FILE} are both set; unset one of the two"
    if reading.given >= {names.SESSION_KEYS, names.SESSION_KEYS_FILE}:
        yield (
            f"{names.SESSION_KEYS} and {names.SESSION_KEYS_FILE} are both set; unset one of the two"
        )


def _auth(reading: Reading) -> Iterator[str]:
    env, url = reading.values, url_in_use(reading)
    if env.redis_auth == "password":
        for name in sorted({names.AWS_CACHE, names.AWS_SERVERLESS} & reading.given):
            yield f"{name} is set, but {names.AUTH} is not aws-iam; set it, or unset {name}"
        return
    start = f"{names.AUTH} is {env.redis_auth}, but"
    for name in sorted({names.PASSWORD, names.PASSWORD_FILE} & reading.given):
        yield f"{start} {name} is set; unset one of the two"
    if url is not None and url.password is not None:
        yield f"{start} {names.URL} holds a password; leave one of the two out"
    if mode_of(reading) != "embedded" and not tls_choice(reading)[0]:
        yield f"{start} TLS is off, and the token would travel in clear; set {names.TLS} to true"
    if env.redis_auth == "aws-iam":
        if names.AWS_CACHE not in reading.given:
            yield f"{start} {names.AWS_CACHE} is not set; set it to the name of the cache"
        if first(env.redis_username, url.username if url else None, default=None) is None:
            yield f"{start} {names.USERNAME} is not set; set it to the user with IAM authentication"


def _tls(reading: Reading) -> Iterator[str]:
    env, url = reading.values, url_in_use(reading)
    if url and url.tls and env.redis_tls is False:
        yield (
            f"{names.URL} is rediss://, but {names.TLS} is false; "
            f"unset {names.TLS}, or write redis://"
        )
    if url and _socket(url) and env.redis_tls:
        yield f"{names.URL} is a Unix socket, but {names.TLS} is true; unset {names.TLS}"
    if names.TLS_KEY in reading.given and names.TLS_CERT not in reading.given:
        yield f"{names.TLS_KEY} is set, but {names.TLS_CERT} is not; set both"
    # Silence would be taken for encryption, and the password would travel in clear.
    encrypted = any(tls_choice(reading)) or names.TLS in reading.given
    unread = mode_of(reading) == "embedded" or (
        names.URL in reading.given and env.redis_url is None
    )
    details = [name for name in names.TLS_DETAILS if name in reading.given]
    if details and not encrypted and not unread:
        yield (
            f"TLS is off, which leaves {', '.join(details)} without effect; "
            f"set {names.TLS} to true or write the URL as rediss://, or unset what is not used"
        )


def level_contradiction(asked: Level | None, reading: Reading) -> Iterator[str]:
    """A sentence where what `revoke` waits for is more than the Redis of the tokens can give."""
    mode = mode_of(reading)
    beyond: dict[Mode, tuple[Level, ...]] = {
        "standalone": ("replicated",),
        "embedded": ("primary", "replicated", "fsynced"),
    }
    if asked is not None and asked in beyond.get(mode, ()):
        yield (
            f"{names.TOKENS_LEVEL} is {asked}, which mode {mode} cannot give; "
            f"unset it, or set {names.HOSTS} and {names.MASTER}"
        )


def _jwt(reading: Reading) -> Iterator[str]:
    env, given = reading.values, reading.given
    keys = [
        name for name in (names.JWT_SECRET, names.JWT_SECRET_FILE, names.JWT_JWKS_URL)
        if name in given
    ]  # fmt: skip
    if len(keys) > 1:
        yield f"{' and '.join(keys)} are set, and the keys come from one place; set one of them"
    for name, of in (
        (names.JWT_SECRET_PREVIOUS, names.JWT_SECRET),
        (names.JWT_SECRET_GRACE, names.JWT_SECRET_FILE),
        (names.JWT_JWKS_HOLD, names.JWT_JWKS_URL),
    ):
        if name in given and of not in given:
            yield f"{name} is set, but {of} is not; set both, or unset {name}"
    algorithms = jwt_algorithms(reading)
    if names.JWT_JWKS_URL in given and not values.asymmetric(algorithms[0]):
        # What is published is known to all: as a shared key it would let anybody sign.
        yield (
            f"{names.JWT_JWKS_URL} is set, but {names.JWT_ALGORITHMS} is "
            f"{','.join(algorithms)}; set {names.JWT_ALGORITHMS} to the issuer's, such as RS256"
        )
    if env.jwt_secret is not None:
        yield from _jwt_secret(env.jwt_secret, algorithms)


def _jwt_secret(secret: Secret, accepted: tuple[str, ...]) -> Iterator[str]:
    public_key = "-----BEGIN" in secret.reveal()
    algorithms = ",".join(accepted)
    if public_key and not values.asymmetric(accepted[0]):
        # A public key is known to all: as a shared key it would let anybody sign.
        yield (
            f"{names.JWT_SECRET} holds a PEM key, but {names.JWT_ALGORITHMS} is {algorithms}; "
            f"set {names.JWT_ALGORITHMS} to the key's own, such as RS256"
        )
    if not public_key and values.asymmetric(accepted[0]):
        yield (
            f"{names.JWT_ALGORITHMS} is {algorithms}, but {names.JWT_SECRET} is no PEM key; "
            f"set {names.JWT_SECRET} to the issuer's public key"
        )


def _sentinels(reading: Reading) -> list[str]:
    return [name for name in (names.HOSTS, names.MASTER) if name in reading.given]


def _socket(url: RedisUrl) -> bool:
    return isinstance(url.topology, Standalone) and isinstance(url.topology.address, Path)
