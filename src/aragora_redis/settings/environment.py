"""Every variable, once: its name, what it takes, its default and its meaning.

The reference in `docs/ENVIRONMENT.md` is written from here, and so are the error messages.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Struct
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from ..address import Address
from . import values
from .credentials import Auth
from .doc import Doc, Group
from .model import Level, LogFormat, LogLevel, Mode, OnOutage, Plaintext, Settings
from .secret import Secret
from .session_keys import KEYS_FORM, NamedKey, parse_keys
from .tls import Tls, Verify
from .urls import MAX_DB, RedisUrl

PREFIX = "ARAGORA_"

_DEFAULTS = Settings()


Url = Annotated[RedisUrl, BeforeValidator(values.url)]
Hosts = Annotated[tuple[Address, ...], BeforeValidator(values.sentinel_hosts)]
Nodes = Annotated[tuple[Address, ...], BeforeValidator(values.cluster_nodes)]
ModeName = Annotated[Mode, BeforeValidator(str.lower)]
ClusterMode = Annotated[Literal["auto", "true", "false"], BeforeValidator(values.cluster_mode)]
Duration = Annotated[float, BeforeValidator(values.duration), Field(gt=0, le=10 * 365 * 86_400)]
Deadline = Annotated[float, BeforeValidator(values.duration), Field(ge=0.001, le=60)]
Skew = Annotated[float, BeforeValidator(values.duration), Field(ge=0, le=300)]
SecretText = Annotated[Secret, BeforeValidator(Secret)]
LongSecret = Annotated[Secret, BeforeValidator(values.long_secret)]
Tokens = Annotated[tuple[Secret, ...], BeforeValidator(values.rotating)]
Words = Annotated[tuple[str, ...], BeforeValidator(values.words)]
Claim = Annotated[str, Field(pattern=r"^[^\s\x00-\x1f]{1,128}$")]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.:-]{1,128}$")]

_BOOLEAN = "`true` or `false`"
_DURATION = "seconds, or a number with a unit such as `30 days`"
_DB = f"a whole number from 0 to {MAX_DB}"
_PEM = "the path of a PEM file"


class Environment(BaseModel):
    """The variables, each read on its own. A field is a name in lower case without `ARAGORA_`."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        arbitrary_types_allowed=True,
        hide_input_in_errors=True,
    )

    redis_mode: Annotated[
        ModeName | None,
        Doc(
            Group.WHERE,
            "`sentinel`, `cluster`, `standalone` or `embedded`",
            "Demands a mode, so that a variable that is missing is an error instead of another "
            "mode.",
            default="by what is set, see above",
        ),
    ] = None
    redis_url: Annotated[
        Url | None,
        Doc(
            Group.WHERE,
            "a URL such as `redis://user:password@host:6379/0`",
            "One server or a managed service; `rediss://` adds TLS, `unix:///path/redis.sock` is "
            "a socket, `redis+sentinel://host1:26379,host2:26379/master/0` names Sentinels (user "
            "name and password are those of Redis, not of the Sentinels), and "
            "`redis+cluster://host1:6379,host2:6379` or `rediss+cluster://` nodes of a Redis "
            "Cluster. Percent-encode `/ ? # @ %` in the user name and password.",
            secret=True,
        ),
    ] = None
    redis_sentinel_hosts: Annotated[
        Hosts,
        Doc(
            Group.WHERE,
            "`host[:port],...` (port 26379 where none is given)",
            "The Sentinels. One suffices, the others are learned; name all, so that one that is "
            "down stops nobody from starting.",
        ),
    ] = ()
    redis_sentinel_master: Annotated[
        str | None,
        Doc(
            Group.WHERE,
            "the name after `sentinel monitor`",
            "The name under which the Sentinels know the primary. Needed with the hosts.",
        ),
    ] = None
    redis_cluster_nodes: Annotated[
        Nodes,
        Doc(
            Group.WHERE,
            "`host[:port],...` (port 6379 where none is given)",
            "Nodes of a Redis Cluster. One suffices, the others are learned; name several, so that "
            "one that is down stops nobody from starting.",
        ),
    ] = ()
    redis_cluster_mode: Annotated[
        ClusterMode,
        Doc(
            Group.WHERE,
            "`true`, `auto` or `false`",
            "`true` demands a Redis Cluster: without `ARAGORA_REDIS_CLUSTER_NODES` the server in "
            "`ARAGORA_REDIS_URL` is the node to ask first. `auto` is a cluster where its nodes are "
            "given; `false` is never one.",
        ),
    ] = "auto"
    redis_db: Annotated[
        Annotated[int, Field(ge=0, le=MAX_DB)] | None,
        Doc(
            Group.WHERE,
            _DB,
            "The database. Replaces the one in the URL. A Redis Cluster has only database 0.",
            default="0",
        ),
    ] = None
    redis_hosts_file: Annotated[
        Path | None,
        Doc(
            Group.WHERE,
            "the path of a file in the format of `/etc/hosts`",
            "It is read at each connection, before the system is asked for an address: for a "
            "tunnel to a server whose certificate carries its name.",
        ),
    ] = None
    redis_deadline: Annotated[
        Deadline,
        Doc(
            Group.WHERE,
            "seconds from 0.001 to 60, or `50 ms`",
            "The longest that one operation may take, whatever Redis does; past it the outage "
            "policy answers.",
        ),
    ] = _DEFAULTS.deadline

    redis_username: Annotated[
        str | None,
        Doc(
            Group.CREDENTIALS,
            "an ACL user's name",
            "Replaces the one in the URL.",
            default="Redis's `default` user",
        ),
    ] = None
    redis_password: Annotated[
        SecretText | None,
        Doc(Group.CREDENTIALS, "a password", "Replaces the one in the URL.", secret=True),
    ] = None
    redis_password_file: Annotated[
        Path | None,
        Doc(
            Group.CREDENTIALS,
            "the path of a file that holds the password alone",
            "Read again at each connection and each second: a rotated password needs no restart, "
            "and is presented on the living connections too. Instead of `ARAGORA_REDIS_PASSWORD`.",
        ),
    ] = None
    redis_auth: Annotated[
        Annotated[Auth, BeforeValidator(str.lower)],
        Doc(
            Group.CREDENTIALS,
            "`password`, `aws-iam`, `gcp-iam` or `azure-entra`",
            "Who vouches for us at a managed service. Tokens of AWS IAM, Google Cloud IAM or "
            "Microsoft Entra ID are fetched with what their own libraries find in the environment, "
            "renewed before they expire, and presented again on the living connections. Needs the "
            "extra `aws`, `gcp` or `azure`.",
        ),
    ] = "password"
    redis_aws_cache: Annotated[
        Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9-]{0,62}$"), AfterValidator(str.lower)]
        | None,
        Doc(
            Group.CREDENTIALS,
            "a name",
            "For `aws-iam`: the replication group, or the serverless cache.",
        ),
    ] = None
    redis_aws_serverless: Annotated[
        bool,
        Doc(Group.CREDENTIALS, _BOOLEAN, "For `aws-iam`: whether the cache is a serverless one."),
    ] = False
    redis_sentinel_username: Annotated[
        str | None,
        Doc(Group.CREDENTIALS, "an ACL user's name", "The user at the Sentinels themselves."),
    ] = None
    redis_sentinel_password: Annotated[
        SecretText | None,
        Doc(
            Group.CREDENTIALS,
            "a password",
            "The password of the Sentinels themselves; that of Redis is never tried there.",
            secret=True,
        ),
    ] = None

    redis_tls: Annotated[
        bool | None,
        Doc(
            Group.TLS, _BOOLEAN, "Encrypts connections to Redis.", default="`true` for `rediss://`"
        ),
    ] = None
    redis_sentinel_tls: Annotated[
        bool | None,
        Doc(
            Group.TLS,
            _BOOLEAN,
            "Encrypts connections to the Sentinels.",
            default="as `ARAGORA_REDIS_TLS`",
        ),
    ] = None
    redis_tls_ca: Annotated[
        Path | None,
        Doc(Group.TLS, _PEM, "The authorities to trust.", default="those of the system"),
    ] = None
    redis_tls_cert: Annotated[
        Path | None,
        Doc(Group.TLS, _PEM, "Our certificate, for servers that ask clients for one."),
    ] = None
    redis_tls_key: Annotated[
        Path | None,
        Doc(
            Group.TLS,
            _PEM,
            "Its key, without a passphrase.",
            default="the file of the certificate",
        ),
    ] = None
    redis_tls_verify: Annotated[
        Annotated[Verify, BeforeValidator(values.verify)],
        Doc(
            Group.TLS,
            "`full`, `ca` or `none`",
            "`full` (or `true`) checks the server's chain and host name; `ca` the chain alone, "
            "where Sentinels or nodes announce addresses and certificates carry names; `none` (or "
            "`false`) nothing, so anybody in between can read and answer.",
        ),
    ] = Tls().verify

    rate_limit_fail_open: Annotated[
        bool,
        Doc(
            Group.LIMITS,
            _BOOLEAN,
            "What an outage means for a limit whose policy does not say. `true`: each instance "
            "goes on with its share of the limit. `false`: requests are refused (503 with "
            "`Retry-After`).",
        ),
    ] = _DEFAULTS.fail_open
    rate_limit_x_headers: Annotated[
        bool,
        Doc(
            Group.LIMITS,
            _BOOLEAN,
            "Whether the gateway answers checks with `X-RateLimit-Limit`, `-Remaining` and "
            "`-Reset` (Unix seconds) beside the fields of the IETF.",
        ),
    ] = _DEFAULTS.gateway.x_headers
    policies: Annotated[
        Path | None,
        Doc(
            Group.LIMITS,
            "the path of a TOML file",
            "What limits, circuits and sessions are to be like; read at the start, and again "
            "whenever it changes. A bad new one changes nothing. Every key, with its default: "
            "[POLICIES.md](POLICIES.md).",
        ),
    ] = None
    expected_instances: Annotated[
        Annotated[int, Field(ge=1, le=100_000)] | None,
        Doc(
            Group.LIMITS,
            "a whole number from 1 to 100000",
            "How many instances share a limit in an outage, for one that starts during it and "
            "has never seen the fleet; without it such an instance refuses.",
        ),
    ] = None

    tokens_on_outage: Annotated[
        Annotated[OnOutage, BeforeValidator(str.lower)],
        Doc(
            Group.TOKENS,
            "`known` or `deny`",
            "When this instance may have missed revocations: enforce those it knows, or deny "
            "every token.",
        ),
    ] = _DEFAULTS.tokens.on_outage
    tokens_max_staleness: Annotated[
        Duration,
        Doc(
            Group.TOKENS,
            _DURATION,
            "How long after the last proof of freshness `ARAGORA_TOKENS_ON_OUTAGE` applies.",
        ),
    ] = _DEFAULTS.tokens.max_staleness
    tokens_level: Annotated[
        Annotated[Level, BeforeValidator(str.lower)] | None,
        Doc(
            Group.TOKENS,
            "`local`, `primary`, `replicated` or `fsynced`",
            "What a revocation waits for before it is confirmed.",
            default="`replicated` where a replica exists, else `primary`",
        ),
    ] = None
    tokens_max_lifetime: Annotated[
        Duration,
        Doc(
            Group.TOKENS,
            _DURATION,
            "How long the revocation of all of a user's tokens is kept: at least the longest "
            "lifetime of a token.",
            default="30 days",
        ),
    ] = _DEFAULTS.tokens.max_lifetime
    tokens_skew: Annotated[
        Skew,
        Doc(
            Group.TOKENS,
            "seconds from 0 to 300",
            "How far the clocks of instances and issuers may differ.",
        ),
    ] = _DEFAULTS.tokens.skew
    tokens_tenant_claim: Annotated[
        Claim,
        Doc(
            Group.TOKENS,
            "a claim's name",
            "The claim of a token that names its tenant, for `revoke_tenant`. Auth0 calls it "
            "`org_id`, Microsoft Entra `tid`.",
        ),
    ] = _DEFAULTS.tokens.tenant_claim
    tokens_family_claim: Annotated[
        Claim,
        Doc(
            Group.TOKENS,
            "a claim's name",
            "The claim of a token that names the login it goes back to, for `revoke_family`; "
            "`sid` in OpenID Connect.",
        ),
    ] = _DEFAULTS.tokens.family_claim
    tokens_outbox: Annotated[
        Path | None,
        Doc(
            Group.TOKENS,
            "the path of a directory of ours alone (mode 0700); it is made where it is missing",
            "Keeps what this instance revokes on disk until it expires, so that it outlives the "
            "end of the instance while Redis is away: whoever starts next with the same directory "
            "publishes it again. It holds digests only. Several instances of one machine may share "
            "it.",
            default="memory only",
        ),
    ] = None
    pardon_key: Annotated[
        LongSecret | None,
        Doc(
            Group.TOKENS,
            f"a random text of at least {values.MIN_SECRET} characters, the same on every instance",
            "Authenticates pardons, which undo a revocation. An instance without it makes none and "
            "heeds none. It is never derived from another key: who may revoke need not be able to "
            "undo that.",
            secret=True,
            default="nothing is undone",
        ),
    ] = None
    digest_key: Annotated[
        LongSecret | None,
        Doc(
            Group.TOKENS,
            f"a random text of at least {values.MIN_SECRET} characters, the same on every instance",
            "Keys the digests under which tokens and users are stored. Without it they are made "
            "with a public key, and whoever can read Redis can test guesses of user ids and weak "
            "token ids. What was revoked under another key is not found again.",
            secret=True,
            default="a public key, with a warning",
        ),
    ] = None

    sessions_on_outage: Annotated[
        Annotated[OnOutage, BeforeValidator(str.lower)],
        Doc(
            Group.SESSIONS,
            "`known` or `deny`",
            "While Redis cannot be asked: give a session as it was read within the last ten "
            "seconds, or none.",
        ),
    ] = _DEFAULTS.sessions.on_outage
    session_keys: Annotated[
        Annotated[tuple[NamedKey, ...], BeforeValidator(parse_keys)],
        Doc(
            Group.SESSIONS,
            KEYS_FORM,
            "Encrypts sessions in Redis (AES-256-GCM), the same on every instance; needs the extra "
            "`crypto`. The first key encrypts, all decrypt. To rotate: add the new key at the end "
            "everywhere, then move it to the front, and drop the old one after the longest life "
            "of a session.",
            secret=True,
        ),
    ] = ()
    session_keys_file: Annotated[
        Path | None,
        Doc(
            Group.SESSIONS,
            "the path of a file that holds the keys, one on each line",
            "Read again each second: rotated keys need no restart. Instead of "
            "`ARAGORA_SESSION_KEYS`.",
        ),
    ] = None
    session_plaintext: Annotated[
        Annotated[Plaintext, BeforeValidator(str.lower)],
        Doc(
            Group.SESSIONS,
            "`accept` or `refuse`",
            "Where there are keys: whether sessions that were stored without are read. Refuse once "
            "none of those is left: until then who can write to Redis can put values in.",
        ),
    ] = _DEFAULTS.sessions.plaintext

    key_prefix: Annotated[
        Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,32}$")],
        Doc(
            Group.GENERAL,
            "1 to 32 letters, digits, `_`, `.` or `-`",
            "The first part of every key and channel, the same on every instance. Services that "
            "share a server need different ones even in different databases: published messages "
            "know no database.",
        ),
    ] = _DEFAULTS.prefix
    instance_id: Annotated[
        Name | None,
        Doc(
            Group.GENERAL,
            "up to 128 letters, digits, `_`, `.`, `:` or `-`",
            "This instance's name in logs and metrics, different on each.",
            default="16 hexadecimal digits, new at each start",
        ),
    ] = None
    log_level: Annotated[
        Annotated[LogLevel, BeforeValidator(str.upper)],
        Doc(
            Group.GENERAL,
            "`DEBUG`, `INFO`, `WARNING`, `ERROR` or `CRITICAL`",
            "The least severe message that `serve`, its workers, `proxy` and `label-keeper` log. A "
            "service configures its own logging.",
        ),
    ] = _DEFAULTS.log_level
    log_format: Annotated[
        LogFormat,
        Doc(
            Group.GENERAL,
            "`text` or `json`",
            "One line of text or one JSON object for each message of theirs. A service may call "
            "`aragora_redis.telemetry.logs.configure_logging`, see METRICS.md.",
        ),
    ] = _DEFAULTS.log_format

    host: Annotated[
        Annotated[str, Field(pattern=r"^[^\s/@]+$")],
        Doc(
            Group.GATEWAY,
            "a host name or address",
            "Where the gateway listens. Loopback keeps it to this machine. The `Host` of requests "
            "has to be this very value, `localhost`, `127.0.0.1` or `::1`, or they are answered "
            "421; `/authz` takes any, and so does all where this is `0.0.0.0` or `::`, which needs "
            "a token.",
        ),
    ] = _DEFAULTS.gateway.host
    port: Annotated[
        Annotated[int, Field(ge=1, le=65535)],
        Doc(Group.GATEWAY, "a port from 1 to 65535", "The port of the gateway."),
    ] = _DEFAULTS.gateway.port
    workers: Annotated[
        Annotated[int, Field(ge=1, le=256)],
        Doc(
            Group.GATEWAY,
            "a number from 1 to 256",
            "How many processes serve that port: as many as cores that the gateway may use. Each "
            "is an instance of its own, which `ARAGORA_EXPECTED_INSTANCES` counts.",
        ),
    ] = _DEFAULTS.gateway.workers
    gateway_token: Annotated[
        Tokens,
        Doc(
            Group.GATEWAY,
            f"`current` or `current,previous`, each of at least {values.MIN_SECRET} characters",
            "The bearer token of services: limits, checks of tokens, calls through circuits, and "
            "sessions, those of any user among them; not: revoke, end, force, set limits. See "
            "[SECURITY.md](../SECURITY.md).",
            secret=True,
        ),
    ] = ()
    admin_token: Annotated[
        Tokens,
        Doc(
            Group.GATEWAY,
            f"`current` or `current,previous`, each of at least {values.MIN_SECRET} characters",
            "The bearer token of operators and issuers: it may do everything, such as revoke.",
            secret=True,
        ),
    ] = ()
    trusted_proxies: Annotated[
        Annotated[tuple[str, ...], BeforeValidator(values.networks)],
        Doc(
            Group.GATEWAY,
            "addresses and networks such as `10.0.0.0/8`, `localhost`; `forwarded`",
            "The proxies that may ask at `/authz`, and whose `X-Forwarded-For` is believed there "
            "and at the dashboard's login, from "
            "the right to the first address that is none of theirs; with `forwarded` their "
            "`Forwarded` (RFC 7239) in its place. Name no network in which clients are.",
            default="`127.0.0.1,::1`",
        ),
    ] = _DEFAULTS.gateway.trusted_proxies
    http_max_connections: Annotated[
        Annotated[int, Field(ge=8, le=1_000_000)],
        Doc(
            Group.GATEWAY,
            "a number from 8",
            "How many connections a worker holds. When one more comes, the longest idle are "
            "closed, unauthenticated ones first. It is lowered to what `ulimit -Hn` leaves.",
        ),
    ] = _DEFAULTS.gateway.http.max_connections
    http_max_per_address: Annotated[
        Annotated[int, Field(ge=0, le=1_000_000)],
        Doc(
            Group.GATEWAY,
            "a number; 0 is no limit of its own",
            "How many of them one address, or IPv6 network of 64 bits, may have. Leave it 0 behind "
            "a proxy, from whose address all come.",
        ),
    ] = _DEFAULTS.gateway.http.max_per_address
    http_head_timeout: Annotated[
        Duration,
        Doc(
            Group.GATEWAY,
            _DURATION,
            "How long a client may take to send the request line and headers; then it is answered "
            "408.",
        ),
    ] = _DEFAULTS.gateway.http.head_timeout
    http_body_timeout: Annotated[
        Duration,
        Doc(
            Group.GATEWAY,
            _DURATION,
            "How long a client may take to send the body; then it is answered 408. Imports of "
            "revocations have their own rule.",
        ),
    ] = _DEFAULTS.gateway.http.body_timeout
    http_send_timeout: Annotated[
        Duration,
        Doc(
            Group.GATEWAY,
            _DURATION,
            "How long a client may leave an answer unread before its connection is closed.",
        ),
    ] = _DEFAULTS.gateway.http.send_timeout
    http_keep_alive: Annotated[
        Annotated[int, Field(ge=1, le=3600)],
        Doc(
            Group.GATEWAY,
            "seconds from 1 to 3600",
            "How long an idle connection is kept open after an answer.",
        ),
    ] = _DEFAULTS.gateway.http.keep_alive
    http_max_head: Annotated[
        Annotated[int, Field(ge=1024, le=1_048_576)],
        Doc(
            Group.GATEWAY,
            "bytes from 1024 to 1048576",
            "Largest request line and headers together (431 beyond); at most 100 header fields.",
        ),
    ] = _DEFAULTS.gateway.http.max_head
    http_max_body: Annotated[
        Annotated[int, Field(ge=1024, le=16_777_216)],
        Doc(
            Group.GATEWAY,
            "bytes from 1024 to 16777216",
            "How long a body may be (413 beyond). Those of sessions may hold what a session may.",
        ),
    ] = _DEFAULTS.gateway.http.max_body
    jwt_secret: Annotated[
        SecretText | None,
        Doc(
            Group.JWT,
            "the shared key of an HS algorithm, or a public key (PEM) for the others",
            "Verifies tokens that are handed over whole; without a key only a `jti` can be given.",
            secret=True,
        ),
    ] = None
    jwt_secret_previous: Annotated[
        SecretText | None,
        Doc(
            Group.JWT,
            "a key as in `ARAGORA_JWT_SECRET`",
            "The key before: tokens that it has signed are still accepted. Unset it when the last "
            "of them has expired.",
            secret=True,
        ),
    ] = None
    jwt_secret_file: Annotated[
        Path | None,
        Doc(
            Group.JWT,
            "the path of a file that holds the key alone",
            "Looked at each second: a rotated key needs no restart, and the one before is accepted "
            "for `ARAGORA_JWT_SECRET_GRACE`. Instead of `ARAGORA_JWT_SECRET`.",
        ),
    ] = None
    jwt_secret_grace: Annotated[
        Duration,
        Doc(
            Group.JWT,
            _DURATION,
            "How long a key that the file held before is still accepted: at least as long as "
            "tokens live.",
            default="1 day",
        ),
    ] = _DEFAULTS.jwt.grace
    jwt_jwks_url: Annotated[
        Annotated[str, BeforeValidator(values.key_set_url)] | None,
        Doc(
            Group.JWT,
            "an https URL, or http on loopback",
            "Where the issuer publishes its keys (RFC 7517); instead of `ARAGORA_JWT_SECRET`. They "
            "are fetched in the background, and once more for a `kid` that is not known. "
            "Redirections are not followed.",
        ),
    ] = None
    jwt_jwks_hold: Annotated[
        Duration,
        Doc(
            Group.JWT,
            _DURATION,
            "How long the keys that were fetched last are used while the issuer cannot be asked; "
            "after it no token can be judged (503).",
            default="1 day",
        ),
    ] = _DEFAULTS.jwt.hold
    jwt_algorithms: Annotated[
        Annotated[tuple[str, ...], BeforeValidator(values.algorithms)],
        Doc(
            Group.JWT,
            "names separated by commas, such as `HS256` or `RS256,ES256`",
            "The algorithms that are accepted, either all of shared keys (HS) or none of them.",
            default="`HS256`; `RS256,ES256,EdDSA` with `ARAGORA_JWT_JWKS_URL`",
        ),
    ] = _DEFAULTS.jwt.algorithms
    jwt_issuer: Annotated[
        str | None, Doc(Group.JWT, "a text", "The `iss` that a token must carry.")
    ] = None
    jwt_required_claims: Annotated[
        Annotated[tuple[str, ...], BeforeValidator(values.claims)],
        Doc(
            Group.JWT,
            "names separated by commas, or `none`",
            "Claims that a token must have. One without `exp` never expires, and what is revoked "
            "is kept until a token's expiry.",
        ),
    ] = _DEFAULTS.jwt.required
    jwt_audience: Annotated[
        Words,
        Doc(
            Group.JWT,
            "names separated by commas",
            "The `aud` of which a token must carry at least one.",
        ),
    ] = ()


class Variable(Struct, frozen=True):
    """One variable as the reference shows it."""

    name: str
    default: Any
    doc: Doc


@cache
def variables() -> Mapping[str, Variable]:
    """All variables by name, in the order of the reference."""
    found = {}
    for field, info in Environment.model_fields.items():
        name = PREFIX + field.upper()
        (doc,) = (each for each in info.metadata if isinstance(each, Doc))
        found[name] = Variable(name, info.default, doc)
    return found
