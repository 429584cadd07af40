"""The settings as one value: everything else takes this and never reads the environment."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Literal

from msgspec import Struct, field
from msgspec.structs import replace

from ..address import Address
from . import names
from .credentials import ANONYMOUS, Credentials
from .hosts import Hosts
from .secret import Secret
from .session_keys import NO_KEYS, SessionKeySource
from .tls import Tls

Mode = Literal["sentinel", "cluster", "standalone", "embedded"]
OnOutage = Literal["known", "deny"]
Plaintext = Literal["accept", "refuse"]
Level = Literal["local", "primary", "replicated", "fsynced"]
LogFormat = Literal["text", "json"]
LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]

# Digests must agree on every instance, so without a key of its own a fleet shares this one. It is
# public: whoever can read Redis can test guesses of user ids and weak jtis against it.
DEFAULT_DIGEST_KEY = Secret("aragora-redis/digest/v1")


class Sentinel(Struct, frozen=True):
    """The primary is whatever the Sentinels say. One host suffices; the others are learned."""

    master: str
    hosts: tuple[Address, ...]


class Cluster(Struct, frozen=True):
    """Slots on several primaries. One node suffices; the others are learned."""

    nodes: tuple[Address, ...]


class Standalone(Struct, frozen=True):
    """One server, or a managed service behind one name: TCP, or the path of a Unix socket."""

    address: Address | Path


class Embedded(Struct, frozen=True):
    """No Redis: the state lives in this process and ends with it."""


Topology = Sentinel | Cluster | Standalone | Embedded


class Feature(StrEnum):
    """What may have a Redis of its own."""

    TOKENS = "tokens"
    SESSIONS = "sessions"
    LIMITS = "limits"
    CIRCUITS = "circuits"

    @property
    def variables(self) -> str:
        """What the names of its variables begin with, as those of all do with `names.REDIS`."""
        return f"ARAGORA_{'RATE_LIMIT' if self is Feature.LIMITS else self.value.upper()}_REDIS_"


class Redis(Struct, frozen=True, kw_only=True):
    """A Redis of their own for some features: nothing but the deadline is taken over from others.

    Attributes: see those of `Settings`.
    """

    topology: Topology
    credentials: Credentials = ANONYMOUS
    sentinel_credentials: Credentials = ANONYMOUS
    db: int = 0
    tls: Tls | None = None
    sentinel_tls: Tls | None = None
    hosts: Hosts | None = None
    deadline: float | None = None
    sources: Mapping[str, str] = field(default_factory=dict)

    def __eq__(self, other: object) -> bool:
        """Whether they lead to the same in the same way, wherever that was said."""
        return isinstance(other, Redis) and self._said() == other._said()

    def __hash__(self) -> int:
        return hash(self._said())

    def _said(self) -> tuple[object, ...]:
        return tuple(getattr(self, name) for name in self.__struct_fields__ if name != "sources")


class TokenSettings(Struct, frozen=True):
    """Revoked tokens. Durations are seconds."""

    on_outage: OnOutage = "known"
    """During an outage, or when staler than `max_staleness`: enforce what is known, or deny all."""
    max_staleness: float = 5.0
    level: Level | None = None
    """What `revoke` waits for; None is replicated where a replica exists, else primary."""
    max_lifetime: float = 30 * 86_400.0
    """How long a cut-off is kept: no token may live longer."""
    skew: float = 2.0
    """How far the clocks of instances and issuers may differ."""
    tenant_claim: str = "org_id"
    """The claim that names a token's tenant."""
    family_claim: str = "sid"
    """The claim that names the login that a token goes back to."""
    pardon_key: Secret | None = None
    """Authenticates what undoes a revocation; None undoes none."""
    outbox: Path | None = None
    """A directory in which revocations outlive their instance; None keeps them in memory."""


class SessionSettings(Struct, frozen=True):
    """Sessions; how long they live is said in the policies file."""

    on_outage: OnOutage = "known"
    """While Redis cannot be asked: give what was read within the last seconds, or nothing."""
    keys: SessionKeySource = NO_KEYS
    """What they are encrypted with in Redis; empty leaves them readable there."""
    plaintext: Plaintext = "accept"
    """Where there are keys: whether what was stored without is read."""


class JwtSettings(Struct, frozen=True):
    """One issuer of tokens: where its keys are, and what a token of it must be like.

    Attributes:
        secret: the shared key of the HS algorithms, or the public key (PEM) of the others,
        secret_file: or a file that holds it and is looked at again and again,
        jwks_url: or where the issuer publishes its keys (RFC 7517).
        previous: the key before, which is still accepted.
        grace: seconds for which a key that a new content of the file replaced is still accepted.
        hold: seconds for which published keys are used while the issuer cannot be asked.
        issuer: the `iss` that a token must carry.
        audience: the `aud` of which it must carry one.
        required: claims that a token must have.
    """

    secret: Secret | None = None
    previous: Secret | None = None
    secret_file: Path | None = None
    jwks_url: str | None = None
    algorithms: tuple[str, ...] = ("HS256",)
    issuer: str | None = None
    audience: tuple[str, ...] = ()
    # What never expires cannot stay revoked: revocations are kept until the token's own expiry.
    required: tuple[str, ...] = ("exp",)
    grace: float = 86_400.0
    hold: float = 86_400.0

    @property
    def has_key(self) -> bool:
        """Whether there is anything to verify tokens with."""
        return (self.secret or self.secret_file or self.jwks_url) is not None


class HttpLimits(Struct, frozen=True):
    """What the clients of one process of the gateway may take. Times are seconds."""

    max_connections: int = 4096
    """Open at a time. Where one more comes, who has been waited for longest has to go."""
    max_per_address: int = 0
    """Of them from one address, or IPv6 network of 64 bits; 0 is as many as there may be."""
    head_timeout: float = 10.0
    """In which the head of a request has to be there, from when it was waited for."""
    body_timeout: float = 30.0
    """In which a body has to be there that is read before it is used."""
    send_timeout: float = 30.0
    """In which a client has to take what it is sent."""
    keep_alive: int = 5
    """After which a connection without a request is closed."""
    max_head: int = 16_384
    """Bytes of a request's line and fields."""
    max_body: int = 65_536
    """Bytes of a body; those of sessions may have what a session holds."""


class GatewaySettings(Struct, frozen=True):
    """The HTTP service. Of each kind of token there is the current one and perhaps a previous."""

    host: str = "127.0.0.1"
    port: int = 8080
    workers: int = 1
    x_headers: bool = False
    gateway_tokens: tuple[Secret, ...] = ()
    admin_tokens: tuple[Secret, ...] = ()
    trusted_proxies: tuple[str, ...] = ("127.0.0.1", "::1")
    """Networks of the proxies that may ask at `/authz`, and whose `X-Forwarded-For` is believed."""
    http: HttpLimits = HttpLimits()


class Settings(Struct, frozen=True, kw_only=True):
    """One deployment's settings, complete and free of contradictions.

    Attributes:
        sentinel_credentials: for the Sentinels themselves; empty where they ask for none.
        tls: for Redis; None is plain TCP.
        sentinel_tls: for the Sentinels; None is plain TCP.
        hosts: where names are looked up first; None asks the system at once.
        deadline: seconds that one operation may take.
        fail_open: whether rate limits go on locally, at this instance's share, during an outage.
        policies: the TOML file of rate limits.
        jwt: who issues the tokens that are verified here.
        issuers: further ones, told apart by their `iss`; by code only.
        digest_key: keys the digests under which tokens and users are stored.
        prefix: first part of every key.
        expected_instances: what the fleet's size is taken for while it was never seen.
        instance_id: this instance's name in logs and presence; None lets it name itself.
        apart: features that have a Redis of their own, and which; the others use the one above.
        feature: that whose own Redis this is, see `of`.
        warnings: what the operator should hear once at start.
        sources: where each value came from, by its dotted name; what is absent is a default.
    """

    topology: Topology = Embedded()
    credentials: Credentials = ANONYMOUS
    sentinel_credentials: Credentials = ANONYMOUS
    db: int = 0
    tls: Tls | None = None
    sentinel_tls: Tls | None = None
    hosts: Hosts | None = None
    deadline: float = 0.05
    fail_open: bool = False
    policies: Path | None = None
    tokens: TokenSettings = TokenSettings()
    sessions: SessionSettings = SessionSettings()
    jwt: JwtSettings = JwtSettings()
    issuers: tuple[JwtSettings, ...] = ()
    digest_key: Secret = DEFAULT_DIGEST_KEY
    prefix: str = "aragora"
    expected_instances: int | None = None
    instance_id: str | None = None
    log_level: LogLevel = "INFO"
    log_format: LogFormat = "text"
    gateway: GatewaySettings = GatewaySettings()
    apart: tuple[tuple[Feature, Redis], ...] = ()
    feature: Feature | None = None
    warnings: tuple[str, ...] = ()
    sources: Mapping[str, str] = field(default_factory=dict)

    def __eq__(self, other: object) -> bool:
        """Whether they say the same, wherever that came from."""
        return isinstance(other, Settings) and self._said() == other._said()

    def __hash__(self) -> int:
        return hash(self._said())

    def _said(self) -> tuple[object, ...]:
        unsaid = ("feature", "sources")
        return tuple(getattr(self, name) for name in self.__struct_fields__ if name not in unsaid)

    def of(self, feature: Feature | None) -> Settings:
        """These with one Redis alone: a feature's, or that of all which have none of their own."""
        own = dict(self.apart).get(feature) if feature is not None else None
        if own is None:
            return replace(self, apart=()) if self.apart else self
        others = {
            name: source
            for name, source in self.sources.items()
            if name.split(".", 1)[0] not in (*_OF_REDIS, "mode")
        }
        found = {name: getattr(own, name) for name in _OF_REDIS}
        if own.deadline is None:
            found["deadline"] = self.deadline
        return replace(self, **found, apart=(), feature=feature, sources={**others, **own.sources})

    def each_redis(self) -> dict[Settings, tuple[Feature, ...]]:
        """These for each Redis that any feature uses, see `of`, and which features do."""
        found: dict[Settings, tuple[Feature, ...]] = {}
        for feature in Feature:
            own = self.of(feature)
            found[own] = (*found.get(own, ()), feature)
        return found

    @property
    def fingerprint(self) -> str:
        """Tells digest keys apart, see `fingerprint_of`."""
        return fingerprint_of(self.digest_key.reveal_bytes())

    @property
    def password_setting(self) -> str:
        """Which setting proves to Redis who we are, or would where none does."""
        if self.credentials.auth != "password":
            return self.variable(names.AUTH)
        found = (self.sources.get(f"credentials.{name}") for name in ("password_file", "secret"))
        return self.variable(next(filter(None, found), names.PASSWORD))

    def variable(self, name: str) -> str:
        """The variable that is for this Redis what another is for the one of all.

        The same of all in a sentence, such as a remedy.
        """
        return name if self.feature is None else name.replace(names.REDIS, self.feature.variables)

    @property
    def mode(self) -> Mode:
        """The name of the topology's kind, as `ARAGORA_REDIS_MODE` spells it."""
        match self.topology:
            case Sentinel():
                return "sentinel"
            case Cluster():
                return "cluster"
            case Standalone():
                return "standalone"
            case Embedded():
                return "embedded"


_OF_REDIS = tuple(name for name in Redis.__struct_fields__ if name != "sources")


def fingerprint_of(key: bytes) -> str:
    """Tells keys apart and does not give them away: 32 bits of an HMAC (RFC 2104)."""
    return hmac.digest(key, b"fingerprint", "sha256")[:4].hex()
