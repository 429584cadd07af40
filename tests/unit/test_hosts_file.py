"""Names that a file knows; the file is one that somebody wrote by hand."""

from __future__ import annotations

import pytest

from aragora_redis.errors import SettingsError
from aragora_redis.settings import Hosts, from_env


@pytest.fixture
def hosts(tmp_path):
    file = tmp_path / "hosts"
    file.write_text("")
    return Hosts(file)


def test_a_name_has_the_addresses_that_the_file_gives_it(hosts):
    hosts.path.write_text(
        "# a comment\n\n127.0.0.2\tredis.example Redis-Alias # and why\n::1 redis.example.\n"
    )
    assert hosts.addresses("REDIS.example") == ("127.0.0.2", "::1")
    assert hosts.addresses("redis-alias.") == ("127.0.0.2",)
    assert hosts.addresses("127.0.0.2") == hosts.addresses("example") == ()


def test_the_file_is_read_again_each_time(hosts):
    hosts.path.write_text("127.0.0.2 redis\n")
    assert hosts.addresses("redis") == ("127.0.0.2",)
    hosts.path.write_text("127.0.0.3 redis\n")
    assert hosts.addresses("redis") == ("127.0.0.3",)


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"redis 127.0.0.1\n", "line 1"), (b"\n300.1.1.1 x", "line 2"), (b"\xff", "UTF-8")],
)
def test_a_file_that_is_no_hosts_file_is_refused_at_the_start(hosts, content, said):
    hosts.path.write_bytes(content)
    env = {"ARAGORA_REDIS_URL": "redis://h", "ARAGORA_REDIS_HOSTS_FILE": str(hosts.path)}
    with pytest.raises(SettingsError, match=said) as refused:
        from_env(env)
    assert "ARAGORA_REDIS_HOSTS_FILE" in str(refused.value)
    hosts.path.write_text("127.0.0.1 h")
    settings = from_env(env)
    assert settings.hosts == hosts
    assert settings.sources["hosts.path"] == "ARAGORA_REDIS_HOSTS_FILE"


def test_a_file_that_went_away_is_one_error(hosts):
    hosts.path.unlink()
    with pytest.raises(SettingsError, match="cannot be read: No such file"):
        hosts.addresses("h")
