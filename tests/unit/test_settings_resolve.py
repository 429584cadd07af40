"""From variables to one deployment: precedence, contradictions, and what takes no effect."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from aragora_redis.address import Address
from aragora_redis.errors import SettingsError
from aragora_redis.settings import (
    AwsCache,
    Cluster,
    Credentials,
    Embedded,
    Secret,
    Sentinel,
    Settings,
    Standalone,
    from_env,
)

KEY = {"ARAGORA_DIGEST_KEY": "a-digest-key-of-some-length"}
SENTINELS = {
    "ARAGORA_REDIS_SENTINEL_HOSTS": "s0,s1:26380",
    "ARAGORA_REDIS_SENTINEL_MASTER": "aragora-master",
}
NODES = {"ARAGORA_REDIS_CLUSTER_NODES": "c0,c1:7001"}
URL = {"ARAGORA_REDIS_URL": "redis://h"}


def redis(**more: str) -> dict[str, str]:
    """Variables by what follows `ARAGORA_REDIS_`."""
    return {f"ARAGORA_REDIS_{name}": value for name, value in more.items()}


def problem(environ: dict[str, str]) -> str:
    with pytest.raises(SettingsError) as caught:
        from_env(environ)
    return str(caught.value)


def test_nothing_set_is_embedded_and_every_default_is_that_of_the_model():
    settings = from_env({})
    (warning,) = settings.warnings
    assert "this process alone" in warning
    assert settings == Settings(warnings=(warning,))


@pytest.mark.parametrize(
    ("environ", "mode"),
    [
        ({}, "embedded"),
        (URL, "standalone"),
        (redis(URL="redis+sentinel://s/m"), "sentinel"),
        (SENTINELS, "sentinel"),
        (SENTINELS | URL, "sentinel"),
        (SENTINELS | redis(URL="redis+sentinel://other/m"), "sentinel"),
        (redis(MODE="embedded"), "embedded"),
        (URL | redis(MODE="Standalone"), "standalone"),
        (SENTINELS | redis(MODE="sentinel"), "sentinel"),
        (redis(MODE="sentinel", URL="redis+sentinel://s/m"), "sentinel"),
        (URL | redis(CLUSTER_MODE="auto"), "standalone"),
        (URL | redis(CLUSTER_MODE="false"), "standalone"),
        (SENTINELS | redis(CLUSTER_MODE="auto"), "sentinel"),
        (SENTINELS | redis(URL="redis+cluster://c"), "sentinel"),
        (redis(CLUSTER_MODE="auto"), "embedded"),
        (NODES, "cluster"),
        (NODES | redis(CLUSTER_MODE="auto"), "cluster"),
        (NODES | redis(CLUSTER_MODE="Yes", MODE="Cluster"), "cluster"),
        (NODES | URL, "cluster"),
        (NODES | redis(URL="redis+sentinel://s/m"), "cluster"),
        (URL | redis(CLUSTER_MODE="true"), "cluster"),
        (URL | redis(MODE="cluster"), "cluster"),
        (redis(URL="redis+cluster://c"), "cluster"),
        (redis(URL="redis+cluster://c", CLUSTER_MODE="true"), "cluster"),
    ],
)
def test_precedence(environ, mode):
    assert from_env(environ).mode == mode


def test_topologies():
    assert from_env(SENTINELS | URL).topology == Sentinel(
        "aragora-master", (Address("s0", 26379), Address("s1", 26380))
    )
    assert from_env(URL).topology == Standalone(Address("h", 6379))
    assert from_env({}).topology == Embedded()
    nodes = Cluster((Address("c0", 6379), Address("c1", 7001)))
    assert from_env(NODES | redis(URL="redis+cluster://elsewhere")).topology == nodes
    assert from_env(redis(URL="redis+cluster://c0,c1:7001")).topology == nodes


@pytest.mark.parametrize("asked", [redis(CLUSTER_MODE="1"), redis(MODE="cluster")])
def test_a_url_of_one_server_is_the_seed_of_a_cluster_that_is_asked_for(asked):
    settings = from_env(KEY | asked | redis(URL="rediss://u:p@h:7000/0"))
    assert settings.topology == Cluster((Address("h", 7000),))
    assert (settings.credentials.username, settings.credentials.password()) == ("u", Secret("p"))
    assert settings.tls is not None
    assert settings.warnings == ()


@pytest.mark.parametrize(
    ("environ", "named"),
    [
        (redis(SENTINEL_HOSTS="s"), ["SENTINEL_HOSTS", "SENTINEL_MASTER"]),
        (redis(SENTINEL_MASTER="m"), ["SENTINEL_HOSTS", "SENTINEL_MASTER"]),
        (URL | redis(SENTINEL_MASTER="m"), ["SENTINEL_HOSTS", "SENTINEL_MASTER"]),
        (redis(MODE="sentinel"), ["MODE", "SENTINEL_HOSTS", "SENTINEL_MASTER"]),
        (URL | redis(MODE="sentinel"), ["MODE", "URL", "SENTINEL_HOSTS"]),
        (redis(MODE="standalone"), ["MODE", "URL"]),
        (URL | SENTINELS | redis(MODE="standalone"), ["MODE", "SENTINEL_HOSTS"]),
        (redis(MODE="standalone", URL="redis+sentinel://s/m"), ["MODE", "URL"]),
        (URL | redis(MODE="embedded"), ["MODE", "URL"]),
        (SENTINELS | redis(MODE="embedded"), ["MODE", "SENTINEL_HOSTS"]),
        (SENTINELS | redis(CLUSTER_NODES="a:1"), ["SENTINEL_HOSTS", "CLUSTER_NODES"]),
        (SENTINELS | redis(CLUSTER_MODE="true"), ["SENTINEL_HOSTS", "CLUSTER_MODE"]),
        (SENTINELS | NODES | redis(MODE="sentinel"), ["MODE", "CLUSTER_NODES"]),
        (SENTINELS | NODES | redis(MODE="cluster"), ["MODE", "SENTINEL_HOSTS"]),
        (NODES | redis(CLUSTER_MODE="false"), ["CLUSTER_MODE", "CLUSTER_NODES"]),
        (URL | redis(MODE="cluster", CLUSTER_MODE="off"), ["MODE", "CLUSTER_MODE"]),
        (redis(URL="redis+cluster://c", CLUSTER_MODE="false"), ["CLUSTER_MODE", "URL"]),
        (redis(MODE="cluster"), ["MODE", "CLUSTER_NODES"]),
        (redis(CLUSTER_MODE="true"), ["CLUSTER_MODE", "CLUSTER_NODES"]),
        (redis(URL="redis+sentinel://s/m", CLUSTER_MODE="true"), ["CLUSTER_MODE", "URL"]),
        (redis(URL="redis+sentinel://s/m", MODE="cluster"), ["MODE", "URL"]),
        (redis(URL="unix:///s", CLUSTER_MODE="true"), ["CLUSTER_MODE", "URL"]),
        (URL | NODES | redis(MODE="standalone"), ["MODE", "CLUSTER_NODES"]),
        (URL | redis(MODE="standalone", CLUSTER_MODE="true"), ["MODE", "CLUSTER_MODE"]),
        (redis(MODE="standalone", URL="redis+cluster://c"), ["MODE", "URL"]),
        (redis(MODE="sentinel", URL="redis+cluster://c"), ["MODE", "URL", "SENTINEL_HOSTS"]),
        (NODES | redis(MODE="embedded"), ["MODE", "CLUSTER_NODES"]),
        (URL | redis(PASSWORD="p", PASSWORD_FILE=__file__), ["PASSWORD", "PASSWORD_FILE"]),
        (redis(URL="rediss://h", TLS="false"), ["URL", "TLS"]),
        (redis(URL="unix:///s", TLS="true"), ["URL", "TLS"]),
        (redis(URL="rediss://h", TLS_KEY=__file__), ["TLS_KEY", "TLS_CERT"]),
        (URL | redis(TLS_CA=__file__), ["TLS_CA", "TLS"]),
    ],
)
def test_a_contradiction_names_both_variables(environ, named):
    message = problem(environ)
    for name in named:
        assert f"ARAGORA_REDIS_{name} " in message.replace(";", " ").replace(",", " ")


@pytest.mark.parametrize(
    ("environ", "named"),
    [
        (NODES | redis(DB="3"), "DB"),
        (redis(URL="redis+cluster://c/3"), "URL"),
        (redis(URL="redis://h?db=3", CLUSTER_MODE="true"), "URL"),
    ],
)
def test_a_cluster_has_one_database(environ, named):
    assert f"ARAGORA_REDIS_{named} names database 3" in problem(environ)


def test_a_database_that_a_cluster_has_or_that_is_not_asked_for_is_no_error():
    assert from_env(NODES | redis(DB="0")).db == 0
    assert from_env(NODES | redis(URL="redis://h/3")).db == 0


@pytest.mark.parametrize("value", ["true", "false"])
@pytest.mark.parametrize(
    ("environ", "ignored"),
    [
        (SENTINELS | URL, "ARAGORA_REDIS_URL"),
        (NODES | redis(URL="rediss://u:p@h/5"), "ARAGORA_REDIS_URL"),
        (NODES | redis(SENTINEL_PASSWORD="p"), "ARAGORA_REDIS_SENTINEL_PASSWORD"),
        (redis(PASSWORD="p"), "ARAGORA_REDIS_PASSWORD"),
        (redis(MODE="embedded", PASSWORD_FILE="/absent"), "ARAGORA_REDIS_PASSWORD_FILE"),
        (URL | redis(SENTINEL_PASSWORD="p"), "ARAGORA_REDIS_SENTINEL_PASSWORD"),
        (URL | redis(TLS="false", TLS_CA="/absent"), "ARAGORA_REDIS_TLS_CA"),
    ],
)
def test_what_takes_no_effect_is_said_and_never_looked_at(environ, ignored, value):
    settings = from_env(environ | KEY | {"ARAGORA_RATE_LIMIT_FAIL_OPEN": value})
    (warning,) = (each for each in settings.warnings if "is ignored" in each)
    assert warning.startswith(ignored)
    assert settings.tls is None
    assert settings.credentials.password() is None
    assert ignored not in settings.sources.values()


def test_a_variable_replaces_its_part_of_the_url():
    settings = from_env(
        KEY | redis(URL="redis://u:p@h/1", USERNAME="v", PASSWORD="q", DB="2", TLS="true")
    )
    assert settings.credentials.username == "v"
    assert settings.credentials.password() == Secret("q")
    assert settings.db == 2
    assert settings.tls is not None
    assert [each.split()[0] for each in settings.warnings] == [
        "ARAGORA_REDIS_DB",
        "ARAGORA_REDIS_USERNAME",
        "ARAGORA_REDIS_PASSWORD",
    ]


def test_a_deadline_that_was_meant_in_milliseconds_is_told():
    (told,) = from_env(KEY | URL | redis(DEADLINE="50")).warnings
    assert told.startswith("ARAGORA_REDIS_DEADLINE is 50 s")
    assert told.endswith("is it 50 ms that is meant?")
    assert from_env(KEY | URL | redis(DEADLINE="5")).warnings == ()


def test_saying_the_same_twice_is_no_warning():
    same = redis(URL="redis://u:p@h/1", USERNAME="u", PASSWORD="p", DB="1")
    assert from_env(KEY | same).warnings == ()


def test_a_password_file_replaces_the_password_of_the_url(tmp_path):
    path = tmp_path / "password"
    path.write_text("from-the-file\n")
    settings = from_env(KEY | redis(URL="redis://:p@h", PASSWORD_FILE=str(path)))
    assert settings.credentials.password() == Secret("from-the-file")
    assert settings.credentials.secret is None
    (warning,) = settings.warnings
    assert warning.startswith("ARAGORA_REDIS_PASSWORD_FILE replaces")
    assert settings.sources["credentials.password_file"] == "ARAGORA_REDIS_PASSWORD_FILE"
    assert "credentials.secret" not in settings.sources
    assert settings.password_setting == "ARAGORA_REDIS_PASSWORD_FILE"


def test_the_url_of_another_mode_lends_nothing():
    settings = from_env(SENTINELS | redis(URL="rediss://u:p@h/5"))
    assert settings.credentials.username is None
    assert settings.credentials.password() is None
    assert (settings.db, settings.tls) == (0, None)


def test_sentinels_have_credentials_and_tls_of_their_own():
    both = from_env(SENTINELS | redis(TLS="true", PASSWORD="p"))
    assert both.sentinel_tls == both.tls is not None
    assert both.sentinel_credentials.password() is None
    one = from_env(SENTINELS | redis(SENTINEL_TLS="true", SENTINEL_PASSWORD="s", TLS_CA=__file__))
    assert one.tls is None
    assert one.sentinel_tls is not None
    assert one.sentinel_tls.ca == Path(__file__)
    assert one.sentinel_credentials.password() == Secret("s")


def test_a_url_that_is_refused_is_not_taken_for_one_without_tls():
    assert "problems" not in problem(redis(URL="https://h", TLS_CA=__file__))
    assert from_env(redis(TLS_CA=__file__)).mode == "embedded"


@pytest.mark.parametrize(
    ("environ", "start"),
    [
        (URL, "ARAGORA_DIGEST_KEY is not set"),
        (KEY | redis(URL="rediss://h", TLS_VERIFY="false"), "ARAGORA_REDIS_TLS_VERIFY is none"),
        (KEY | redis(URL="rediss://h", TLS_VERIFY="ca"), "ARAGORA_REDIS_TLS_VERIFY is ca"),
        (KEY | URL | {"ARAGORA_JWT_SECRET": "short"}, "ARAGORA_JWT_SECRET is shorter"),
        (
            KEY
            | URL
            | {
                "ARAGORA_GATEWAY_TOKEN": "one-token-for-all-of-it",
                "ARAGORA_ADMIN_TOKEN": "another-token-of-length,one-token-for-all-of-it",
            },
            "ARAGORA_GATEWAY_TOKEN and ARAGORA_ADMIN_TOKEN share",
        ),
    ],
)
def test_what_is_weak_is_said_once(environ, start):
    (warning,) = from_env(environ).warnings
    assert warning.startswith(start)


@pytest.mark.parametrize(
    ("environ", "level"),
    [(URL, "replicated"), ({}, "primary"), ({}, "replicated"), ({}, "fsynced")],
)
def test_a_level_that_the_mode_cannot_give_is_refused_at_once(environ, level):
    found = problem(environ | {"ARAGORA_TOKENS_LEVEL": level})
    assert "ARAGORA_TOKENS_LEVEL" in found
    assert "ARAGORA_REDIS_SENTINEL_HOSTS" in found


def test_levels_that_the_mode_can_give_are_taken():
    assert from_env(SENTINELS | {"ARAGORA_TOKENS_LEVEL": "replicated"}).tokens.level == "replicated"
    assert from_env(NODES | {"ARAGORA_TOKENS_LEVEL": "replicated"}).tokens.level == "replicated"
    assert from_env(URL | {"ARAGORA_TOKENS_LEVEL": "primary"}).tokens.level == "primary"


IAM = redis(AUTH="AWS-IAM", URL="rediss://app@h", AWS_CACHE="Shop")


def test_tokens_of_aws_are_for_a_user_of_a_cache():
    settings = from_env(KEY | IAM | redis(AWS_SERVERLESS="true"))
    assert settings.credentials == Credentials(
        "app", auth="aws-iam", cache=AwsCache("shop", serverless=True)
    )
    assert settings.sources["credentials.auth"] == settings.password_setting == "ARAGORA_REDIS_AUTH"


@pytest.mark.parametrize(
    ("environ", "named"),
    [
        (IAM | redis(PASSWORD="p"), ["AUTH", "PASSWORD"]),
        (IAM | redis(PASSWORD_FILE=__file__), ["AUTH", "PASSWORD_FILE"]),
        (IAM | redis(URL="rediss://app:p@h"), ["AUTH", "URL"]),
        (IAM | redis(URL="redis://app@h"), ["AUTH", "TLS"]),
        (IAM | redis(URL="rediss://h"), ["AUTH", "USERNAME"]),
        (redis(AUTH="aws-iam", URL="rediss://app@h"), ["AUTH", "AWS_CACHE"]),
        (URL | redis(AWS_CACHE="shop"), ["AUTH", "AWS_CACHE"]),
        (URL | redis(AUTH="gcp-iam"), ["AUTH", "TLS"]),
        (URL | redis(AUTH="kerberos"), ["AUTH"]),
        (IAM | redis(AWS_CACHE="no/name"), ["AWS_CACHE"]),
    ],
)
def test_what_does_not_go_with_a_token_is_said(environ, named):
    with pytest.raises(SettingsError) as caught:
        from_env(environ)
    assert "problems" not in str(caught.value)
    assert all(f"ARAGORA_REDIS_{name}" in str(caught.value) for name in named)


def test_settings_are_told_apart_by_what_they_say_and_not_by_where_it_came_from():
    said = from_env(URL)
    alike = replace(said, sources={})
    assert said.sources
    assert (said, hash(said)) == (alike, hash(alike))
    assert said != from_env({"ARAGORA_REDIS_URL": "redis://g"})
