"""Where each value of the settings came from. Pure."""

from __future__ import annotations

from . import names
from .choice import cluster_asked, ignored, mode_of, url_in_use
from .reading import Reading

_VARIABLES = {
    "mode": names.MODE,
    "topology.hosts": names.HOSTS,
    "topology.master": names.MASTER,
    "topology.nodes": names.CLUSTER_NODES,
    "credentials.username": names.USERNAME,
    "credentials.secret": names.PASSWORD,
    "credentials.password_file": names.PASSWORD_FILE,
    "credentials.auth": names.AUTH,
    "credentials.cache.name": names.AWS_CACHE,
    "credentials.cache.serverless": names.AWS_SERVERLESS,
    "sentinel_credentials.username": names.SENTINEL_USERNAME,
    "sentinel_credentials.secret": names.SENTINEL_PASSWORD,
    "db": names.DB,
    "tls": names.TLS,
    "tls.ca": names.TLS_CA,
    "tls.cert": names.TLS_CERT,
    "tls.key": names.TLS_KEY,
    "tls.verify": names.TLS_VERIFY,
    "sentinel_tls": names.SENTINEL_TLS,
    "sentinel_tls.ca": names.TLS_CA,
    "sentinel_tls.cert": names.TLS_CERT,
    "sentinel_tls.key": names.TLS_KEY,
    "sentinel_tls.verify": names.TLS_VERIFY,
    "hosts.path": names.HOSTS_FILE,
    "deadline": names.DEADLINE,
    "fail_open": names.FAIL_OPEN,
    "policies": "ARAGORA_POLICIES",
    "sessions.on_outage": "ARAGORA_SESSIONS_ON_OUTAGE",
    "sessions.keys.keys": names.SESSION_KEYS,
    "sessions.keys.file": names.SESSION_KEYS_FILE,
    "sessions.plaintext": "ARAGORA_SESSION_PLAINTEXT",
    "tokens.on_outage": "ARAGORA_TOKENS_ON_OUTAGE",
    "tokens.max_staleness": "ARAGORA_TOKENS_MAX_STALENESS",
    "tokens.level": "ARAGORA_TOKENS_LEVEL",
    "tokens.max_lifetime": "ARAGORA_TOKENS_MAX_LIFETIME",
    "tokens.skew": "ARAGORA_TOKENS_SKEW",
    "tokens.tenant_claim": "ARAGORA_TOKENS_TENANT_CLAIM",
    "tokens.family_claim": "ARAGORA_TOKENS_FAMILY_CLAIM",
    "tokens.pardon_key": "ARAGORA_PARDON_KEY",
    "tokens.outbox": names.TOKENS_OUTBOX,
    "digest_key": names.DIGEST_KEY,
    "prefix": "ARAGORA_KEY_PREFIX",
    "expected_instances": "ARAGORA_EXPECTED_INSTANCES",
    "instance_id": "ARAGORA_INSTANCE_ID",
    "log_level": "ARAGORA_LOG_LEVEL",
    "log_format": "ARAGORA_LOG_FORMAT",
    "gateway.host": "ARAGORA_HOST",
    "gateway.port": "ARAGORA_PORT",
    "gateway.workers": "ARAGORA_WORKERS",
    "gateway.x_headers": "ARAGORA_RATE_LIMIT_X_HEADERS",
    "gateway.gateway_tokens": names.GATEWAY_TOKEN,
    "gateway.admin_tokens": names.ADMIN_TOKEN,
    "gateway.trusted_proxies": names.TRUSTED_PROXIES,
    "gateway.http.max_connections": "ARAGORA_HTTP_MAX_CONNECTIONS",
    "gateway.http.max_per_address": "ARAGORA_HTTP_MAX_PER_ADDRESS",
    "gateway.http.head_timeout": "ARAGORA_HTTP_HEAD_TIMEOUT",
    "gateway.http.body_timeout": "ARAGORA_HTTP_BODY_TIMEOUT",
    "gateway.http.send_timeout": "ARAGORA_HTTP_SEND_TIMEOUT",
    "gateway.http.keep_alive": "ARAGORA_HTTP_KEEP_ALIVE",
    "gateway.http.max_head": "ARAGORA_HTTP_MAX_HEAD",
    "gateway.http.max_body": "ARAGORA_HTTP_MAX_BODY",
    "jwt.secret": names.JWT_SECRET,
    "jwt.previous": names.JWT_SECRET_PREVIOUS,
    "jwt.secret_file": names.JWT_SECRET_FILE,
    "jwt.grace": names.JWT_SECRET_GRACE,
    "jwt.jwks_url": names.JWT_JWKS_URL,
    "jwt.hold": names.JWT_JWKS_HOLD,
    "jwt.algorithms": names.JWT_ALGORITHMS,
    "jwt.issuer": "ARAGORA_JWT_ISSUER",
    "jwt.audience": "ARAGORA_JWT_AUDIENCE",
    "jwt.required": "ARAGORA_JWT_REQUIRED_CLAIMS",
}


def sources(reading: Reading) -> dict[str, str]:
    """The origin of each value that is not a default, by the value's dotted name."""
    effective = reading.given - set(ignored(reading))
    own = {path: name for path, name in _VARIABLES.items() if name in effective}
    return _said_by_url(reading) | _inferred(reading) | own


def _inferred(reading: Reading) -> dict[str, str]:
    found = {}
    if names.HOSTS in reading.given and mode_of(reading) == "sentinel":
        found["mode"] = names.HOSTS
    elif (asked := cluster_asked(reading)) and mode_of(reading) == "cluster":
        found["mode"] = asked[0]
    if names.TLS in reading.given:
        found["sentinel_tls"] = names.TLS
    return found


def _said_by_url(reading: Reading) -> dict[str, str]:
    url = url_in_use(reading)
    if url is None:
        return {}
    said = {
        "mode": True,
        "topology.address": True,
        "topology.hosts": True,
        "topology.master": True,
        "topology.nodes": True,
        "credentials.username": url.username is not None,
        "credentials.secret": url.password is not None and names.PASSWORD_FILE not in reading.given,
        "db": url.db is not None,
        "tls": url.tls,
    }
    return {path: f"the URL in {names.URL}" for path, is_said in said.items() if is_said}
