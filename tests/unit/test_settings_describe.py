"""Where each value came from."""

import subprocess
import sys

from aragora_redis.settings import (
    Settings,
    describe,
    from_env,
)
from aragora_redis.settings.environment import variables
from aragora_redis.settings.provenance import _VARIABLES

KEY = {"ARAGORA_DIGEST_KEY": "a-digest-key-of-some-length"}
SENTINELS = {
    "ARAGORA_REDIS_SENTINEL_HOSTS": "s0,s1:26380",
    "ARAGORA_REDIS_SENTINEL_MASTER": "aragora-master",
}
URL = {"ARAGORA_REDIS_URL": "redis://h"}


def redis(**more: str) -> dict[str, str]:
    """Variables by what follows `ARAGORA_REDIS_`."""
    return {f"ARAGORA_REDIS_{name}": value for name, value in more.items()}


def origins(settings: Settings) -> dict[str, tuple[str, str]]:
    return {row.name: (row.value, row.source) for row in describe(settings)}


def test_each_value_says_where_it_came_from():
    rows = origins(from_env(redis(URL="rediss://u:p@h/1", DB="2")))
    url = "the URL in ARAGORA_REDIS_URL"
    assert rows["mode"] == ("standalone", url)
    assert rows["topology.address"] == ("h:6379", url)
    assert rows["credentials.username"] == ("u", url)
    assert rows["credentials.secret"] == ("********", url)
    assert rows["db"] == ("2", "ARAGORA_REDIS_DB")
    assert rows["tls"] == ("true", url)
    assert rows["deadline"] == ("0.05", "default")
    assert rows["tokens.max_lifetime"] == ("2592000", "default")


def test_the_origins_of_sentinel_settings():
    rows = origins(from_env(SENTINELS | URL | redis(TLS="true", TLS_CA=__file__)))
    assert rows["mode"] == ("sentinel", "ARAGORA_REDIS_SENTINEL_HOSTS")
    assert rows["topology.hosts"] == ("s0:26379, s1:26380", "ARAGORA_REDIS_SENTINEL_HOSTS")
    assert rows["sentinel_tls"] == ("true", "ARAGORA_REDIS_TLS")
    assert rows["sentinel_tls.ca"] == (__file__, "ARAGORA_REDIS_TLS_CA")
    assert rows["db"] == ("0", "default")


def test_the_origins_of_cluster_settings():
    nodes = redis(CLUSTER_NODES="c0,c1:7001")
    rows = origins(from_env(nodes | URL))
    assert rows["mode"] == ("cluster", "ARAGORA_REDIS_CLUSTER_NODES")
    assert rows["topology.nodes"] == ("c0:6379, c1:7001", "ARAGORA_REDIS_CLUSTER_NODES")
    assert origins(from_env(nodes | redis(MODE="cluster")))["mode"][1] == "ARAGORA_REDIS_MODE"
    rows = origins(from_env(URL | redis(CLUSTER_MODE="true")))
    assert rows["mode"] == ("cluster", "ARAGORA_REDIS_CLUSTER_MODE")
    assert rows["topology.nodes"] == ("h:6379", "the URL in ARAGORA_REDIS_URL")


def test_every_variable_is_the_origin_of_a_value():
    # A URL is the origin of several values, and says so itself; so does what decides the mode.
    without = {"ARAGORA_REDIS_URL", "ARAGORA_REDIS_CLUSTER_MODE"}
    assert set(variables()) - set(_VARIABLES.values()) == without


def test_every_origin_is_the_name_of_a_value():
    sentinel = from_env(SENTINELS | redis(TLS="true"))
    names = {row.name for row in describe(sentinel)}
    names |= {"topology.address", "topology.nodes", "hosts.path"}
    names |= {"credentials.cache.name", "credentials.cache.serverless"}
    assert set(_VARIABLES) <= names


def test_the_model_costs_no_pydantic():
    program = (
        "import sys; import aragora_redis.settings.model; "
        "sys.exit(any(name.startswith('pydantic') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
