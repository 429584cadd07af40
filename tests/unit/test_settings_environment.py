"""Each variable: what it takes, what is said of what it does not take, and that nothing leaks."""

import traceback
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from aragora_redis.errors import SettingsError
from aragora_redis.settings import (
    Secret,
    describe,
    from_env,
    lookalikes,
)
from aragora_redis.settings.environment import Environment, variables

KEY = {"ARAGORA_DIGEST_KEY": "a-digest-key-of-some-length"}
SENTINELS = {
    "ARAGORA_REDIS_SENTINEL_HOSTS": "s0,s1:26380",
    "ARAGORA_REDIS_SENTINEL_MASTER": "aragora-master",
}
URL = {"ARAGORA_REDIS_URL": "redis://h"}


def redis(**more: str) -> dict[str, str]:
    """Variables by what follows `ARAGORA_REDIS_`."""
    return {f"ARAGORA_REDIS_{name}": value for name, value in more.items()}


def problem(environ: dict[str, str]) -> str:
    with pytest.raises(SettingsError) as caught:
        from_env(environ)
    return str(caught.value)


def test_the_environment_of_the_process_is_read_by_default(monkeypatch):
    monkeypatch.setenv("ARAGORA_KEY_PREFIX", "from-the-process")
    assert from_env().prefix == "from-the-process"


def test_empty_counts_as_unset():
    assert from_env(dict.fromkeys(variables(), " ")) == from_env({})


def test_the_variables_themselves_never_quote_a_secret():
    with pytest.raises(ValueError, match="digest_key") as caught:
        Environment(digest_key="hunter2")  # type: ignore[arg-type]
    assert "hunter2" not in str(caught.value)


def test_all_problems_are_told_at_once():
    wrong = {
        "ARAGORA_REDIS_DB": "-1",
        "ARAGORA_REDIS_DEADLINE": "soon",
        "ARAGORA_REDIS_SENTINEL_HOSTS": "s:99999",
        "ARAGORA_REDIS_CLUSTER_MODE": "perhaps",
        "ARAGORA_REDIS_TLS": "perhaps",
        "ARAGORA_REDIS_TLS_VERIFY": "half",
        "ARAGORA_PORT": "0",
        "ARAGORA_POLICIES": "/absent/policies.toml",
        "ARAGORA_EXPECTED_INSTANCES": "0",
        "ARAGORA_TOKENS_ON_OUTAGE": "hope",
        "ARAGORA_TOKENS_MAX_STALENESS": "0",
        "ARAGORA_TOKENS_MAX_LIFETIME": "nan",
        "ARAGORA_TOKENS_LEVEL": "everywhere",
        "ARAGORA_TOKENS_SKEW": "inf",
        "ARAGORA_DIGEST_KEY": "short",
        "ARAGORA_KEY_PREFIX": "a:b",
        "ARAGORA_LOG_LEVEL": "loud",
        "ARAGORA_GATEWAY_TOKEN": "0123456789abcdef,short",
        "ARAGORA_ADMIN_TOKEN": "0123456789abcdef,0123456789abcdeg,0123456789abcdeh",
        "ARAGORA_JWT_ALGORITHMS": "none",
        "ARAGORA_RATE_LIMIT_FAIL_OPEN": "maybe",
        "ARAGORA_INSTANCE_ID": "a b",
        "ARAGORA_HOST": "a b",
    }
    message = problem(wrong)
    for name in wrong:
        assert f"\n- {name} " in message
    # The only addition: the hosts lack their master.
    assert message.startswith(f"the settings have {len(wrong) + 1} problems:")
    assert "short" not in message.replace("shorter", "")
    assert "0123456789abcde" not in message


@pytest.mark.parametrize(
    "environ",
    [
        URL | redis(PASSWORD="${REDIS_PASSWORD}"),
        SENTINELS | redis(PASSWORD="$(REDIS_PASSWORD)"),
        redis(URL="redis://:${REDIS_PASSWORD}@h"),
        redis(SENTINEL_HOSTS="${HOST}:26379", SENTINEL_MASTER="m"),
        {"ARAGORA_JWT_SECRET": "${JWT:-a-default-that-is-secret}"},
        {"ARAGORA_GATEWAY_TOKEN": "${GATEWAY_TOKEN_OF_THIS}"},
    ],
)
def test_a_placeholder_that_was_never_expanded_is_refused(environ):
    message = problem(environ)
    assert "never expanded" in message
    assert "problems" not in message
    assert "a-default" not in message


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", "is empty"), (b"\n", "is empty"), (b"${P}", "never expanded"), (b"\xff", "UTF-8")],
)
def test_a_password_file_is_checked_at_start_with_all_else(tmp_path, content, said):
    path = tmp_path / "password"
    path.write_bytes(content)
    message = problem(URL | redis(PASSWORD_FILE=str(path), DB="x"))
    assert said in message
    assert "ARAGORA_REDIS_PASSWORD_FILE" in message
    assert "ARAGORA_REDIS_DB" in message


@pytest.mark.parametrize("nodes", ["c:99999", ",", "c@d"])
def test_nodes_that_are_no_addresses_are_refused(nodes):
    assert problem(redis(CLUSTER_NODES=nodes)).startswith("ARAGORA_REDIS_CLUSTER_NODES cannot be")


@pytest.mark.parametrize("where", ["absent", "."])
@pytest.mark.parametrize("name", ["REDIS_PASSWORD_FILE", "REDIS_TLS_CA", "POLICIES"])
def test_a_file_that_cannot_be_read_is_a_problem(tmp_path, name, where):
    environ = {"ARAGORA_REDIS_URL": "rediss://h", f"ARAGORA_{name}": str(tmp_path / where)}
    assert problem(environ).startswith(f"ARAGORA_{name} names {tmp_path}")


def test_text_that_is_no_utf8_is_a_problem():
    assert "UTF-8" in problem(URL | redis(PASSWORD="p\udcff"))


def test_a_final_line_break_is_no_part_of_a_secret_and_blanks_are():
    settings = from_env(redis(URL=" redis://h \n", PASSWORD=" p \n", DB=" 1 \n"))
    assert settings.credentials.password() == Secret(" p ")
    assert settings.db == 1


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0.05", 0.05),
        (".5", 0.5),
        ("50 ms", 0.05),
        ("5s", 5),
        ("30 days", 2_592_000),
        ("1 Day", 86_400),
    ],
)
def test_durations(text, seconds):
    settings = from_env({"ARAGORA_TOKENS_MAX_LIFETIME": text})
    assert settings.tokens.max_lifetime == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["1 month", "1 m", "-1", "1e3", "day", "1 2", "1 mss", "٣", ""])
def test_what_is_no_duration(text):
    assert "ARAGORA_TOKENS_SKEW" in problem({"ARAGORA_TOKENS_SKEW": text or "?"})


def test_everything_arrives():
    settings = from_env(
        KEY
        | redis(URL="rediss://h", DEADLINE="0.1", TLS_VERIFY="ca", TLS_CA=__file__)
        | {
            "ARAGORA_RATE_LIMIT_FAIL_OPEN": "true",
            "ARAGORA_POLICIES": __file__,
            "ARAGORA_EXPECTED_INSTANCES": "3",
            "ARAGORA_TOKENS_ON_OUTAGE": "deny",
            "ARAGORA_TOKENS_MAX_STALENESS": "7",
            "ARAGORA_TOKENS_LEVEL": "primary",
            "ARAGORA_TOKENS_SKEW": "0",
            "ARAGORA_KEY_PREFIX": "p",
            "ARAGORA_INSTANCE_ID": "pod-1",
            "ARAGORA_LOG_LEVEL": "debug",
            "ARAGORA_HOST": "0.0.0.0",  # noqa: S104
            "ARAGORA_PORT": "9000",
            "ARAGORA_GATEWAY_TOKEN": "a-current-gateway-token, a-previous-gateway-token",
            "ARAGORA_ADMIN_TOKEN": "an-admin-token-of-length",
            "ARAGORA_JWT_SECRET": "-----BEGIN PUBLIC KEY-----\nMFk\n-----END PUBLIC KEY-----\n",
            "ARAGORA_JWT_ALGORITHMS": "ES256, RS256",
            "ARAGORA_JWT_ISSUER": "iss",
            "ARAGORA_JWT_AUDIENCE": "a,b",
        }
    )
    assert (settings.deadline, settings.fail_open, settings.expected_instances) == (0.1, True, 3)
    assert settings.policies == Path(__file__)
    assert settings.tls is not None
    assert settings.tls.verify == "ca"
    assert (settings.tokens.on_outage, settings.tokens.max_staleness) == ("deny", 7)
    assert (settings.tokens.level, settings.tokens.skew) == ("primary", 0)
    assert settings.digest_key.reveal_bytes() == b"a-digest-key-of-some-length"
    assert (settings.prefix, settings.instance_id, settings.log_level) == ("p", "pod-1", "DEBUG")
    gateway = settings.gateway
    assert (gateway.host, gateway.port) == ("0.0.0.0", 9000)  # noqa: S104
    assert [token.reveal() for token in gateway.gateway_tokens] == [
        "a-current-gateway-token",
        "a-previous-gateway-token",
    ]
    assert [token.reveal() for token in gateway.admin_tokens] == ["an-admin-token-of-length"]
    assert settings.jwt.algorithms == ("ES256", "RS256")
    assert (settings.jwt.issuer, settings.jwt.audience) == ("iss", ("a", "b"))
    (warning,) = settings.warnings
    assert warning.startswith("ARAGORA_RATE_LIMIT_FAIL_OPEN is true")


@pytest.mark.parametrize(
    "name", ["JWT_ALGORITHMS", "JWT_AUDIENCE", "JWT_REQUIRED_CLAIMS", "TRUSTED_PROXIES"]
)
def test_separators_alone_switch_no_check_off(name):
    assert "it has no entry" in problem({f"ARAGORA_{name}": " , ,"})


def test_no_claim_is_required_where_it_says_none():
    assert from_env({"ARAGORA_JWT_REQUIRED_CLAIMS": "none"}).jwt.required == ()


@pytest.mark.parametrize(
    ("secret", "algorithms"),
    [("-----BEGIN PUBLIC KEY-----", "HS256"), ("k" * 32, "RS256"), ("k" * 32, "HS256,RS256")],
)
def test_a_key_of_the_wrong_kind_for_its_algorithm_is_refused(secret, algorithms):
    environ = {"ARAGORA_JWT_SECRET": secret, "ARAGORA_JWT_ALGORITHMS": algorithms}
    assert "ARAGORA_JWT_ALGORITHMS" in problem(environ)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("ARAGORA_REDIS_SENTINAL_HOSTS", "ARAGORA_REDIS_SENTINEL_HOSTS"),
        ("ARAGORA_REDIS_SENTINEL_MASTER_NAME", "ARAGORA_REDIS_SENTINEL_MASTER"),
        ("ARAGORA_REDIS_PASWORD", "ARAGORA_REDIS_PASSWORD"),
        ("ARAGORA_TOKENS_MAX_STALNESS", "ARAGORA_TOKENS_MAX_STALENESS"),
        ("ARAGORA_REDIS_URI", "ARAGORA_REDIS_URL"),
        ("ARAGORA_REDIS_USER", "ARAGORA_REDIS_USERNAME"),
        ("ARAGORA_REDIS_SENTINELS", "ARAGORA_REDIS_SENTINEL_HOSTS"),
        ("ARAGORA_REDIS_PASSWORDFILE", "ARAGORA_REDIS_PASSWORD_FILE"),
        ("ARAGORA_SESSION_KEY", "ARAGORA_SESSION_KEYS"),
        ("ARAGORA_DIGEST_KEYS", "ARAGORA_DIGEST_KEY"),
        ("ARAGORA_JWT_AUDIENCES", "ARAGORA_JWT_AUDIENCE"),
        ("ARAGORA_ADMIN_TOKENS", "ARAGORA_ADMIN_TOKEN"),
        ("ARAGORA_RATE_LIMIT_FAILOPEN", "ARAGORA_RATE_LIMIT_FAIL_OPEN"),
        ("ARAGORA_POLICY", "ARAGORA_POLICIES"),
        ("ARAGORA_TRUSTED_PROXY", "ARAGORA_TRUSTED_PROXIES"),
        ("ARAGORA_LOG_FROMAT", "ARAGORA_LOG_FORMAT"),
    ],
)
def test_a_typo_is_met_with_the_name_that_is_meant(name, meant):
    others = {ours: text for ours, text in (KEY | URL).items() if ours != meant}
    told = [each for each in from_env(others | {name: "x"}).warnings if name in each]
    assert told == [f"{name} is not read here: is {meant} meant?"]


def test_a_typo_that_makes_the_settings_useless_is_told_with_what_is_wrong():
    given = KEY | {"ARAGORA_REDIS_SENTINEL_HOST": "a", "ARAGORA_REDIS_SENTINEL_MASTER": "m"}
    with pytest.raises(SettingsError) as told:
        from_env(given)
    meant = "ARAGORA_REDIS_SENTINEL_HOST is not read here: is ARAGORA_REDIS_SENTINEL_HOSTS meant?"
    assert meant in str(told.value)


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("ARAGORA_REDIS_SSL", "ARAGORA_REDIS_TLS"),
        ("ARAGORA_JWT_ALGORITHM", "ARAGORA_JWT_ALGORITHMS"),
    ],
)
def test_what_stands_beside_the_name_that_would_be_meant_is_no_typo(name, ours):
    assert lookalikes({name: "x", ours: "x"}) == ()
    assert lookalikes({name: "x", ours: " "}) == (f"{name} is not read here: is {ours} meant?",)


@pytest.mark.parametrize(
    "name",
    [
        "ARAGORA_REDIS_SOCKET_TIMEOUT",
        "ARAGORA_REDIS_SOCKET_CONNECT_TIMEOUT",
        "ARAGORA_REDIS_MAX_CONNECTIONS",
        "ARAGORA_REDIS_KEY_PREFIX",
        "ARAGORA_REDIS_TTL",
        "ARAGORA_REDIS_CLUSTER_READ_FROM_REPLICAS",
        "ARAGORA_API_TOKEN",
        "ARAGORA_API_KEY",
        "ARAGORA_BIND_HOST",
        "ARAGORA_HTTP_KEEPALIVE",
        "ARAGORA_JWT_SECRET_ROTATED_AT",
        "ARAGORA_PG_PORT",
        "ARAGORA_RATE_LIMIT",
        "ARAGORA_REDIS_PORT",
        "ARAGORA_TOKEN_TTL",
    ],
)
def test_variables_of_the_aragora_server_are_left_alone(name):
    assert from_env(KEY | URL | {name: "x"}).warnings == ()


def outcome(environ: dict[str, str]) -> str:
    """All that an operator may be shown."""
    try:
        settings = from_env(environ)
    except SettingsError as error:
        return "".join(traceback.format_exception(error))
    return f"{settings!r} {describe(settings)} {settings.warnings}"


MARK = "hunter2-hunter2-hunter2"
NAMES = sorted(variables())
# What a URL says of hosts and paths is shown; test_settings_urls covers its password.
SECRET_NAMES = [
    name for name in NAMES if variables()[name].doc.secret and name != "ARAGORA_REDIS_URL"
]
TEXTS = st.one_of(
    st.text(st.characters(exclude_characters="\0"), max_size=30),
    st.sampled_from(["true", "sentinel", "redis://h", "redis+sentinel://s/m", "RS256", "/", "1"]),
)


@hypothesis_settings(deadline=None)  # a busy machine is no failure
@given(
    plain=st.dictionaries(st.sampled_from(NAMES), TEXTS, max_size=6),
    secrets=st.dictionaries(
        st.sampled_from(SECRET_NAMES), st.tuples(TEXTS, TEXTS), min_size=1, max_size=3
    ),
)
def test_garbage_gives_settings_or_a_settings_error_and_leaks_nothing(plain, secrets):
    marked = {name: f"{before}{MARK}{after}" for name, (before, after) in secrets.items()}
    assert MARK not in outcome(plain | marked)


def test_every_field_is_documented():
    assert len(variables()) == len(Environment.model_fields)
    assert all(variable.doc.text.endswith(".") for variable in variables().values())
