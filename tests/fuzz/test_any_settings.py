"""Settings of any text: settings, or one error that names what is wrong and shows no secret."""

from __future__ import annotations

import os
import traceback

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fuzz.effort import effort
from tests.fuzz.strategies import SPELLINGS, damaged, texts

from aragora_redis.address import Address
from aragora_redis.errors import AragoraRedisError, InvalidInputError, SettingsError
from aragora_redis.settings import Feature, describe, from_env, names
from aragora_redis.settings.environment import variables
from aragora_redis.settings.hosts import Hosts, dialed
from aragora_redis.settings.session_keys import SessionKeySource
from aragora_redis.settings.tls import Tls
from aragora_redis.settings.urls import parse_url


def with_those_of_features(given):
    """Each that says where Redis is, for one feature too."""
    starts = (names.REDIS, *(feature.variables for feature in Feature))
    return sorted({name.replace(names.REDIS, start, 1) for name in given for start in starts})


NAMES = with_those_of_features(variables())
SECRETS = with_those_of_features(
    name for name, variable in variables().items() if variable.doc.secret
)
FILES = sorted(
    name for name in NAMES if name.endswith(("_FILE", "_CA", "_CERT", "_KEY", "POLICIES"))
)
HIDDEN = "hidden-from-all-eyes"
SOUND = {
    "ARAGORA_REDIS_URL": "redis://u:p@h:6379/1",
    "ARAGORA_REDIS_SENTINEL_HOSTS": "s0,s1:26380",
    "ARAGORA_REDIS_SENTINEL_MASTER": "m",
    "ARAGORA_REDIS_CLUSTER_NODES": "c0,c1:7001",
    "ARAGORA_REDIS_MODE": "sentinel",
    "ARAGORA_REDIS_TLS": "true",
    "ARAGORA_REDIS_AUTH": "aws-iam",
    "ARAGORA_SESSION_KEYS": "a:" + "k" * 32,
    "ARAGORA_JWT_ALGORITHMS": "RS256,ES256",
    "ARAGORA_JWT_JWKS_URL": "https://issuer.example/keys",
    "ARAGORA_TOKENS_MAX_LIFETIME": "30 days",
    "ARAGORA_GATEWAY_TOKEN": "0123456789abcdef,0123456789abcdeg",
}

nearly = st.sampled_from(sorted(set(SOUND.values()))).flatmap(
    lambda text: damaged(text.encode()).map(lambda data: data.decode("utf-8", "surrogateescape"))
)
values = texts | nearly | st.sampled_from(sorted(set(SOUND.values())))
environments = st.dictionaries(st.sampled_from(NAMES), values, max_size=6)


def told(environ):
    """What anybody may see of these settings."""
    try:
        settings = from_env(environ)
    except SettingsError as error:
        assert "ARAGORA_" in str(error)
        return "".join(traceback.format_exception(error))
    return f"{settings!r} {settings.warnings} {list(describe(settings))}"


@effort(80)
@given(environments, st.dictionaries(st.sampled_from(SECRETS), st.tuples(texts, texts), max_size=2))
def test_any_environment(environ, marked):
    secrets = {name: f"{before}{HIDDEN}{after}" for name, (before, after) in marked.items()}
    assert HIDDEN not in told(environ | secrets)


@effort(60)
@given(st.sampled_from(NAMES), values)
def test_one_variable_that_is_wrong_is_named(name, text):
    try:
        from_env({name: text})
    except SettingsError as error:
        assert name in str(error)
        assert len(str(error)) < 1000


@effort(20)
@given(
    st.sampled_from(FILES),
    st.binary(max_size=80) | st.sampled_from(SPELLINGS).map(lambda t: t.encode("utf-8", "replace")),
)
def test_files_that_hold_anything(tmp_path, name, content):
    path = tmp_path / "file"
    path.write_bytes(content)
    path.chmod(0o600)
    for more in ({}, {"ARAGORA_REDIS_URL": "rediss://h"}):
        told({name: str(path)} | more)
    for use in (
        Hosts(path).addresses,
        lambda host: dialed(Hosts(path), host),
        lambda _: SessionKeySource(file=path).read(),
        lambda _: Tls(ca=path).context(),
        lambda _: Tls(cert=path).context(),
    ):
        try:
            use("h")
        except SettingsError as error:
            assert str(path) in str(error) or error.remedy


@pytest.mark.parametrize("text", ["/", "/dev/null", "/proc/self/mem", ".", "", "\0", "a" * 5000])
@pytest.mark.parametrize("name", FILES)
def test_paths_of_what_is_no_file(name, text):
    told({name: text, "ARAGORA_REDIS_URL": "rediss://h"})


@effort(100)
@given(texts | nearly)
def test_any_url(text):
    try:
        parse_url(text)
    except SettingsError as error:
        assert error.remedy
    with_secret = f"redis://{text}:{HIDDEN}@{text}"
    try:
        assert HIDDEN not in repr(parse_url(with_secret))
    except AragoraRedisError as error:
        assert HIDDEN not in "".join(traceback.format_exception(error))


@effort(100)
@given(
    texts
    | st.sampled_from(["h:1", "[::1]:2", "a:b:c"]).flatmap(
        lambda text: damaged(text.encode()).map(os.fsdecode)
    )
)
def test_any_address(text):
    try:
        found = Address.parse(text, default_port=6379)
    except InvalidInputError:
        return
    assert Address.parse(str(found), default_port=1) == found
