"""From variables, each read on its own, to one deployment. Pure: files are not looked at."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec.structs import replace

from ..address import Address
from . import names
from .advice import advice, advice_on_redis
from .apart import none_is_left
from .choice import first, jwt_algorithms, mode_of, tls_choice, url_in_use
from .credentials import ANONYMOUS, AwsCache, Credentials
from .environment import Environment
from .features import renamed
from .hosts import Hosts
from .model import (
    DEFAULT_DIGEST_KEY,
    Cluster,
    Embedded,
    Feature,
    GatewaySettings,
    HttpLimits,
    JwtSettings,
    Redis,
    Sentinel,
    SessionSettings,
    Settings,
    Standalone,
    TokenSettings,
    Topology,
)
from .provenance import sources
from .reading import Reading
from .session_keys import SessionKeySource
from .tls import Tls
from .urls import RedisUrl


def redis_of(reading: Reading) -> Redis:
    """Where Redis is, of a reading that has no problems and no contradictions."""
    env = reading.values
    url = url_in_use(reading)
    tls_on, sentinel_tls_on = tls_choice(reading)
    tls = Tls(
        ca=env.redis_tls_ca,
        cert=env.redis_tls_cert,
        key=env.redis_tls_key,
        verify=env.redis_tls_verify,
    )
    connected = mode_of(reading) != "embedded"
    return Redis(
        topology=_topology(reading),
        credentials=_credentials(env, url) if connected else ANONYMOUS,
        sentinel_credentials=Credentials(env.redis_sentinel_username, env.redis_sentinel_password)
        if mode_of(reading) == "sentinel"
        else ANONYMOUS,
        db=first(env.redis_db, url.db if url else None, default=0) if connected else 0,
        tls=tls if tls_on else None,
        sentinel_tls=tls if sentinel_tls_on else None,
        hosts=Hosts(env.redis_hosts_file) if env.redis_hosts_file else None,
        deadline=env.redis_deadline if names.DEADLINE in reading.given else None,
        sources=sources(reading),
    )


def build(reading: Reading, apart: Mapping[Feature, Reading]) -> Settings:
    """The settings of such a reading, and of those of features that have a Redis of their own."""
    env, own = reading.values, {each: _redis_apart(each, said) for each, said in apart.items()}
    redis = own[Feature.TOKENS] if none_is_left(reading, apart) else redis_of(reading)
    return Settings(
        topology=redis.topology,
        credentials=redis.credentials,
        sentinel_credentials=redis.sentinel_credentials,
        db=redis.db,
        tls=redis.tls,
        sentinel_tls=redis.sentinel_tls,
        hosts=redis.hosts,
        deadline=env.redis_deadline,
        apart=tuple(own.items()),
        fail_open=env.rate_limit_fail_open,
        policies=env.policies,
        tokens=TokenSettings(
            on_outage=env.tokens_on_outage,
            max_staleness=env.tokens_max_staleness,
            level=env.tokens_level,
            max_lifetime=env.tokens_max_lifetime,
            skew=env.tokens_skew,
            tenant_claim=env.tokens_tenant_claim,
            family_claim=env.tokens_family_claim,
            pardon_key=env.pardon_key,
            outbox=env.tokens_outbox,
        ),
        sessions=SessionSettings(
            on_outage=env.sessions_on_outage,
            keys=SessionKeySource(env.session_keys, env.session_keys_file),
            plaintext=env.session_plaintext,
        ),
        digest_key=first(env.digest_key, None, default=DEFAULT_DIGEST_KEY),
        prefix=env.key_prefix,
        expected_instances=env.expected_instances,
        instance_id=env.instance_id,
        log_level=env.log_level,
        log_format=env.log_format,
        gateway=GatewaySettings(
            host=env.host,
            port=env.port,
            workers=env.workers,
            x_headers=env.rate_limit_x_headers,
            gateway_tokens=env.gateway_token,
            admin_tokens=env.admin_token,
            trusted_proxies=env.trusted_proxies,
            http=HttpLimits(
                max_connections=env.http_max_connections,
                max_per_address=env.http_max_per_address,
                head_timeout=env.http_head_timeout,
                body_timeout=env.http_body_timeout,
                send_timeout=env.http_send_timeout,
                keep_alive=env.http_keep_alive,
                max_head=env.http_max_head,
                max_body=env.http_max_body,
            ),
        ),
        jwt=JwtSettings(
            secret=env.jwt_secret,
            previous=env.jwt_secret_previous,
            secret_file=env.jwt_secret_file,
            jwks_url=env.jwt_jwks_url,
            algorithms=jwt_algorithms(reading),
            issuer=env.jwt_issuer,
            audience=env.jwt_audience,
            required=env.jwt_required_claims,
            grace=env.jwt_secret_grace,
            hold=env.jwt_jwks_hold,
        ),
        warnings=(
            *reading.warnings,
            *advice(reading, alone=isinstance(redis.topology, Embedded)),
            *(
                renamed(warning, feature)
                for feature, said in apart.items()
                for warning in advice_on_redis(said)
            ),
        ),
        sources=redis.sources,
    )


def _redis_apart(feature: Feature, own: Reading) -> Redis:
    redis = redis_of(own)
    sources = {name: renamed(source, feature) for name, source in redis.sources.items()}
    return replace(redis, sources=sources)


def _topology(reading: Reading) -> Topology:
    env, url, mode = reading.values, url_in_use(reading), mode_of(reading)
    match url.topology if url else None:
        case Standalone(Address() as seed) if mode == "cluster":
            return Cluster((seed,))
        case None if mode == "sentinel":
            return Sentinel(env.redis_sentinel_master or "", env.redis_sentinel_hosts)
        case None if mode == "cluster":
            return Cluster(env.redis_cluster_nodes)
        case None:
            return Embedded()
        case said:
            return said


def _credentials(env: Environment, url: RedisUrl | None) -> Credentials:
    in_url = url.password if url and env.redis_password_file is None else None
    return Credentials(
        username=first(env.redis_username, url.username if url else None, default=None),
        secret=first(env.redis_password, in_url, default=None),
        password_file=env.redis_password_file,
        auth=env.redis_auth,
        cache=AwsCache(env.redis_aws_cache, serverless=env.redis_aws_serverless)
        if env.redis_aws_cache
        else None,
    )
