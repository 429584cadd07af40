"""URLs: what each form means, and that no error ever quotes one."""

import traceback
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aragora_redis.address import Address
from aragora_redis.errors import SettingsError
from aragora_redis.settings import Cluster, Secret, Sentinel, Standalone
from aragora_redis.settings.urls import MAX_DB, RedisUrl, parse_url


def server(host: str, port: int = 6379) -> Standalone:
    return Standalone(Address(host, port))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("redis://h", RedisUrl(server("h"))),
        ("REDIS://h/", RedisUrl(server("h"))),
        ("redis://h:6380/3", RedisUrl(server("h", 6380), db=3)),
        ("redis://h?db=3", RedisUrl(server("h"), db=3)),
        ("redis://[::1]:6380", RedisUrl(server("::1", 6380))),
        ("redis://u@h", RedisUrl(server("h"), username="u")),
        ("redis://:p@h", RedisUrl(server("h"), password=Secret("p"))),
        ("redis://:@h", RedisUrl(server("h"))),
        ("redis://u:p%40%2F%25@h", RedisUrl(server("h"), username="u", password=Secret("p@/%"))),
        ("redis://u:p@q@h", RedisUrl(server("h"), username="u", password=Secret("p@q"))),
        ("redis://:50%@h", RedisUrl(server("h"), password=Secret("50%"))),
        ("rediss://h:6380/0", RedisUrl(server("h", 6380), db=0, tls=True)),
        ("unix:///run/redis.sock", RedisUrl(Standalone(Path("/run/redis.sock")))),
        (
            "unix://u:p@/run/my%20redis.sock?db=2",
            RedisUrl(Standalone(Path("/run/my redis.sock")), "u", Secret("p"), 2),
        ),
        ("unix:///run/a@b.sock", RedisUrl(Standalone(Path("/run/a@b.sock")))),
        (
            "redis+sentinel://a,A,a/m",
            RedisUrl(Sentinel("m", (Address("a", 26379), Address("A", 26379)))),
        ),
        (
            "redis+sentinel://u:p@a:1,b/main/4",
            RedisUrl(Sentinel("main", (Address("a", 1), Address("b", 26379))), "u", Secret("p"), 4),
        ),
        ("redis+cluster://a,a:6379", RedisUrl(Cluster((Address("a", 6379),)))),
        (
            "rediss+cluster://u:p@a:1,b/0",
            RedisUrl(Cluster((Address("a", 1), Address("b", 6379))), "u", Secret("p"), 0, tls=True),
        ),
    ],
)
def test_a_url_says(text, expected):
    assert parse_url(text) == expected


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("hunter2", "write redis://"),
        ("http://hunter2@h", "write redis://"),
        ("redis://", "host"),
        ("redis://:hunter2@", "host"),
        ("redis://:hunter2@h:0", "65535"),
        ("redis://:hunter2@h:65536", "65535"),
        ("redis://:hunter2@h:port", "65535"),
        ("redis://:hunter2@h/zero", "database"),
        ("redis://:hunter2@h/-1", "database"),
        (f"redis://:hunter2@h/{MAX_DB + 1}", "database"),
        (f"redis://:hunter2@h/{'9' * 5000}", "database"),
        ("redis://:hunter2@h/1?db=1", "twice"),
        ("redis://:hunter2@a,b", "redis+sentinel://"),
        ("redis://:hunter2@h?ssl_cert_reqs=none", "ARAGORA_REDIS_TLS_VERIFY"),
        ("redis://:hunter2/x@h", "%2F"),
        ("redis+sentinel://u:1234/hunter2@h", "%2F"),
        ("redis+sentinel://a/m?hunter2@h", "%2F"),
        ("unix://u:12/hunter2@/run/redis.sock", "unix:///path"),
        ("redis://:hunter2?x@h", "percent-encode"),
        ("redis://:hunter2#x@h", "%23"),
        ("redis://:hunter2%ff@h", "UTF-8"),
        ("redis://:hunter2%00@h", "%00"),
        ("redis://:${hunter2}@h", "never expanded"),
        ("unix://hunter2", "unix:///path"),
        ("unix:///", "unix:///path"),
        ("redis+sentinel://:hunter2@a,b", "master"),
        ("redis+sentinel:///main", "host"),
        ("redis+cluster://:hunter2@", "host"),
        ("redis+cluster://:hunter2@a,b/main", "database"),
    ],
)
def test_a_url_that_is_refused_is_explained_and_not_quoted(text, hint):
    with pytest.raises(SettingsError) as caught:
        parse_url(text)
    assert hint in str(caught.value)
    assert "hunter2" not in str(caught.value)


HOSTS = st.from_regex(r"[a-z][a-z0-9.-]{0,20}", fullmatch=True) | st.ip_addresses().map(str)
ADDRESSES = st.builds(Address, HOSTS, st.integers(1, 65535))
# A control character or a placeholder is legal once it is encoded, except for NUL.
WORDS = st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1)


@settings(deadline=None)  # a busy machine is no failure
@given(
    addresses=st.lists(ADDRESSES, min_size=1, max_size=3, unique=True),
    username=st.none() | WORDS,
    password=st.none() | WORDS,
    db=st.none() | st.integers(0, MAX_DB),
    master=st.none() | WORDS,
)
def test_what_is_percent_encoded_comes_back(addresses, username, password, db, master):
    addresses = addresses if master else addresses[:1]
    userinfo = quote(username or "", safe="")
    userinfo += ":" + quote(password, safe="") if password else ""
    path = f"/{quote(master, safe='')}" if master else ""
    path += f"/{db}" if db is not None else ""
    scheme = "redis+sentinel" if master else "redis"
    parsed = parse_url(f"{scheme}://{userinfo}@{','.join(map(str, addresses))}{path}")
    assert parsed.topology == (
        Sentinel(master, tuple(addresses)) if master else Standalone(addresses[0])
    )
    assert (parsed.username, parsed.password, parsed.db) == (
        username,
        Secret(password) if password else None,
        db,
    )


def refused(text: str) -> str:
    """The traceback, causes included, of a URL that is refused."""
    try:
        parse_url(text)
    except SettingsError as error:
        return "".join(traceback.format_exception(error))
    return ""


PASSWORD = "hunter2-hunter2"
GARBAGE = st.text(st.sampled_from("a0:/@?#%[],$ {}\\\n=&é") | st.characters())


@settings(deadline=None)  # a busy machine is no failure
@given(
    scheme=st.sampled_from(
        ["redis", "rediss", "unix", "redis+sentinel", "redis+cluster", "rediss+cluster", "http", ""]
    ),
    separator=st.sampled_from(["://", ":", "", "//"]),
    parts=st.tuples(GARBAGE, GARBAGE, GARBAGE),
)
def test_garbage_is_a_settings_error_and_leaks_no_password(scheme, separator, parts):
    before, between, after = parts
    refusal = refused(f"{scheme}{separator}{before}{PASSWORD}{between}@{after}")
    assert PASSWORD not in refusal
