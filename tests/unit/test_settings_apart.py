"""A Redis for one feature: what `ARAGORA_TOKENS_REDIS_*` and its like say."""

import pytest

from aragora_redis.address import Address
from aragora_redis.errors import SettingsError
from aragora_redis.settings import (
    Cluster,
    Feature,
    Redis,
    Sentinel,
    Settings,
    Standalone,
    describe,
    from_env,
    lookalikes,
)

KEY = {"ARAGORA_DIGEST_KEY": "a-digest-key-of-some-length"}
URL = {"ARAGORA_REDIS_URL": "redis://:common@h/1"}
NAMES = {
    Feature.TOKENS: "TOKENS",
    Feature.SESSIONS: "SESSIONS",
    Feature.LIMITS: "RATE_LIMIT",
    Feature.CIRCUITS: "CIRCUITS",
}


def own(feature="TOKENS", **more):
    return {f"ARAGORA_{feature}_REDIS_{name}": text for name, text in more.items()}


def problem(environ):
    with pytest.raises(SettingsError) as caught:
        from_env(environ)
    return str(caught.value)


@pytest.mark.parametrize("feature", Feature)
def test_a_feature_has_the_redis_that_its_variables_say(feature):
    found = from_env(KEY | URL | own(NAMES[feature], URL="rediss://user:own@elsewhere:7000/2"))
    its = found.of(feature)
    assert its.topology == Standalone(Address("elsewhere", 7000))
    assert (its.db, its.credentials.username, its.tls is not None) == (2, "user", True)
    for other in set(Feature) - {feature}:
        assert found.of(other).topology == Standalone(Address("h", 6379))
        assert found.of(other).db == 1


def test_nothing_but_the_deadline_is_taken_over():
    """A password that is sent to another server is given away."""
    common = URL | {"ARAGORA_REDIS_DEADLINE": "70ms", "ARAGORA_REDIS_USERNAME": "somebody"}
    its = from_env(KEY | common | own(URL="redis://elsewhere")).of(Feature.TOKENS)
    assert its.credentials.password() is None
    assert its.credentials.username is None
    assert (its.db, its.deadline) == (0, 0.07)
    slower = from_env(KEY | common | own(URL="redis://elsewhere", DEADLINE="0.2"))
    assert (slower.of(Feature.TOKENS).deadline, slower.deadline) == (0.2, 0.07)


def test_it_may_be_of_any_kind():
    sentinels = own(SENTINEL_HOSTS="s0,s1", SENTINEL_MASTER="secure", PASSWORD="one")
    nodes = own("SESSIONS", CLUSTER_NODES="c0,c1")
    found = from_env(KEY | URL | sentinels | nodes)
    assert found.of(Feature.TOKENS).topology == Sentinel(
        "secure", (Address("s0", 26379), Address("s1", 26379))
    )
    assert found.of(Feature.SESSIONS).mode == "cluster"
    assert found.of(Feature.LIMITS).mode == found.mode == "standalone"


def test_what_leads_to_the_same_is_one_redis():
    found = from_env(KEY | URL | own("SESSIONS", URL="redis://:common@h/1"))
    assert list(found.each_redis().values()) == [tuple(Feature)]
    other = from_env(
        KEY | URL | own("SESSIONS", URL="redis://s") | own("CIRCUITS", URL="redis://s")
    )
    assert list(other.each_redis().values()) == [
        (Feature.TOKENS, Feature.LIMITS),
        (Feature.SESSIONS, Feature.CIRCUITS),
    ]


def test_those_in_code_say_the_same():
    redis = Redis(topology=Cluster((Address("c", 6379),)), deadline=0.2)
    made = Settings(topology=Standalone(Address("h", 6379)), apart=((Feature.SESSIONS, redis),))
    assert made.of(Feature.SESSIONS).mode == "cluster"
    assert made.of(Feature.SESSIONS).deadline == 0.2
    assert made.of(None).mode == made.of(Feature.TOKENS).mode == "standalone"
    assert made == Settings(topology=made.topology, apart=((Feature.SESSIONS, redis),))
    assert hash(made) != hash(made.of(None))


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        (own(DB="-1", URL="redis://h"), "ARAGORA_TOKENS_REDIS_DB cannot be '-1'"),
        (own(SENTINEL_HOSTS="s"), "ARAGORA_TOKENS_REDIS_SENTINEL_HOSTS is set, but ARAGORA_TOKENS"),
        (
            own(URL="redis://h", MODE="sentinel"),
            "ARAGORA_TOKENS_REDIS_MODE is sentinel, but ARAGORA_TOKENS_REDIS_URL leads to one",
        ),
        (
            own(URL="redis://h", PASSWORD_FILE="/absent"),
            "ARAGORA_TOKENS_REDIS_PASSWORD_FILE names /absent, which cannot be read",
        ),
        (
            own(URL="redis://h", PASSWORD="${SECRET}"),
            "ARAGORA_TOKENS_REDIS_PASSWORD holds a placeholder",
        ),
        (
            own("RATE_LIMIT", DB="3"),
            "ARAGORA_RATE_LIMIT_REDIS_DB is set, but nothing says where the Redis of limits is",
        ),
        (
            own(URL=" ", DB="3", PASSWORD="p"),
            "ARAGORA_TOKENS_REDIS_DB and ARAGORA_TOKENS_REDIS_PASSWORD are set, but nothing says",
        ),
        (
            own("SESSIONS", MODE="embedded"),
            "ARAGORA_SESSIONS_REDIS_MODE is set, but nothing says where the Redis of sessions is",
        ),
    ],
)
def test_mistakes_are_told_of_the_variables_that_were_set(environ, said):
    told = problem(KEY | URL | environ)
    assert told.startswith(said)
    assert " ARAGORA_REDIS_" not in told


def test_where_the_others_are_must_be_said_too():
    told = problem(KEY | own(URL="redis://:hunter2@h"))
    assert told.startswith(
        "ARAGORA_TOKENS_REDIS_URL is set, but nothing says where the Redis of the other features "
    )
    assert "ARAGORA_REDIS_URL" in told
    assert "hunter2" not in told


def test_all_is_told_at_once():
    told = problem(KEY | {"ARAGORA_REDIS_DB": "-1"} | URL | own(DB="-1") | own("CIRCUITS", DB="2"))
    assert told.startswith("the settings have 4 problems:")
    for name in ("", "TOKENS_", "CIRCUITS_"):
        assert f"\n- ARAGORA_{name}REDIS_DB" in told


@pytest.mark.parametrize(
    ("environ", "refused"),
    [
        (own(SENTINEL_HOSTS="s", SENTINEL_MASTER="m"), False),
        (own("SESSIONS", SENTINEL_HOSTS="s", SENTINEL_MASTER="m"), True),
    ],
)
def test_the_level_is_that_of_the_redis_of_tokens(environ, refused):
    given = KEY | URL | environ | {"ARAGORA_TOKENS_LEVEL": "replicated"}
    if refused:
        assert problem(given).startswith("ARAGORA_TOKENS_LEVEL is replicated, which mode stand")
        alone = problem(given | own(URL="redis://h"))
        assert "set ARAGORA_TOKENS_REDIS_SENTINEL_HOSTS and ARAGORA_TOKENS_REDIS_SENT" in alone
    else:
        assert from_env(given).tokens.level == "replicated"


def test_an_empty_one_counts_as_unset():
    assert from_env(KEY | URL | own(URL=" ", DB="")) == from_env(KEY | URL)


def test_what_looks_mistyped_is_told():
    given = (
        KEY | URL | own(URL="redis://h", SENTINEL_PASWORD="x") | own("SESSIONS", URI="redis://h")
    )
    told = lookalikes(given)
    assert told == tuple(
        f"ARAGORA_{said} is not read here: is ARAGORA_{meant} meant?"
        for said, meant in (
            ("TOKENS_REDIS_SENTINEL_PASWORD", "TOKENS_REDIS_SENTINEL_PASSWORD"),
            ("SESSIONS_REDIS_URI", "SESSIONS_REDIS_URL"),
        )
    )


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("LIMITS", "RATE_LIMIT"),
        ("LIMIT", "RATE_LIMIT"),
        ("RATE_LIMITS", "RATE_LIMIT"),
        ("RATELIMIT", "RATE_LIMIT"),
        ("SESSION", "SESSIONS"),
        ("CIRCUIT", "CIRCUITS"),
        ("CIRCUIT_BREAKERS", "CIRCUITS"),
        ("TOKEN", "TOKENS"),
        ("REVOCATIONS", "TOKENS"),
    ],
)
def test_a_feature_that_is_called_otherwise_is_told(word, meant):
    given = KEY | URL | own(word, URL="redis://h")
    assert from_env(given).warnings == (
        f"ARAGORA_{word}_REDIS_URL is not read here: is ARAGORA_{meant}_REDIS_URL meant?",
    )


def test_what_features_do_not_have_is_told():
    given = KEY | URL | own(URL="redis://h", KEY_PREFIX="mine")
    assert from_env(given).warnings == (
        "ARAGORA_TOKENS_REDIS_KEY_PREFIX is not read: ARAGORA_REDIS_* has no such variable",
    )
    assert not from_env(KEY | URL | {"ARAGORA_CACHE_REDIS_URL": "redis://h"}).warnings


def test_nothing_is_left_where_each_has_its_own():
    each: dict[str, str] = {}
    for feature, name in NAMES.items():
        each |= own(name, URL=f"redis://{feature}")
    found = from_env(KEY | each)
    assert found.warnings == ()
    assert len(found.each_redis()) == 4
    assert (found.mode, found.of(None).topology) == (
        "standalone",
        found.of(Feature.TOKENS).topology,
    )
    assert "the other features" in problem(KEY | each | {"ARAGORA_REDIS_MODE": "embedded"})


def test_advice_is_about_the_way_there_alone():
    given = KEY | URL | own(URL="rediss://:a@h", TLS_VERIFY="none", PASSWORD="b")
    replaces, unverified = from_env(given).warnings
    assert replaces.startswith(
        "ARAGORA_TOKENS_REDIS_PASSWORD replaces what ARAGORA_TOKENS_REDIS_URL says about it"
    )
    assert unverified.startswith("ARAGORA_TOKENS_REDIS_TLS_VERIFY is none")
    assert unverified.endswith("set ARAGORA_TOKENS_REDIS_TLS_CA instead")


def test_what_is_in_effect_is_shown_with_its_origin_and_no_secret():
    rows = {
        row.name: row for row in describe(from_env(KEY | URL | own(URL="redis://:hunter2@e/3")))
    }
    assert rows["tokens.redis.mode"].value == "standalone"
    assert rows["tokens.redis.topology.address"].value == "e:6379"
    assert rows["tokens.redis.db"].source == "the URL in ARAGORA_TOKENS_REDIS_URL"
    assert rows["tokens.redis.deadline"].value == rows["deadline"].value
    assert rows["db"].value == "1"
    assert not any("hunter2" in row.value or "common" in row.value for row in rows.values())


@pytest.mark.parametrize(
    ("environ", "named"),
    [
        (own(URL="redis://h"), "ARAGORA_TOKENS_REDIS_PASSWORD"),
        (own(URL="redis://:x@h"), "the URL in ARAGORA_TOKENS_REDIS_URL"),
        (own(URL="redis://h", PASSWORD="x"), "ARAGORA_TOKENS_REDIS_PASSWORD"),
    ],
)
def test_who_is_refused_learns_which_variable_it_is(environ, named):
    found = from_env(KEY | URL | environ)
    assert found.of(Feature.TOKENS).password_setting == named
    assert found.of(None).password_setting == "the URL in ARAGORA_REDIS_URL"
