"""`Forwarded` (RFC 7239) of our proxies, and of clients that would be somebody else."""

from __future__ import annotations

import pytest

from aragora_redis.errors import SettingsError
from aragora_redis.settings import from_env
from aragora_redis.web.client_address import client_address, proxies
from aragora_redis.web.forwarded import forwarded_for
from aragora_redis.web.starlette.rate_limit import by_address

TRUSTED = proxies(["10.0.0.0/8", "forwarded"])
PROXY, CLIENT = "10.0.0.1", "203.0.113.9"


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ([], []),
        (["for=192.0.2.60;proto=http;by=203.0.113.43"], ["192.0.2.60"]),
        (
            ['FOR="[2001:db8:cafe::17]:4711" , for=192.0.2.60'],
            ["[2001:db8:cafe::17]:4711", "192.0.2.60"],
        ),
        (["for=192.0.2.43:47011"], ["192.0.2.43:47011"]),
        (["for=[2001:db8::1]"], ["[2001:db8::1]"]),
        ([r'for="_a\"b"', "for=unknown"], ['_a"b', "unknown"]),
        (["by=10.0.0.1", "for=192.0.2.60"], ["", "192.0.2.60"]),
        (["for=1.2.3.4, for", "for=192.0.2.60"], ["", "192.0.2.60"]),
        (['for="1.2.3.4, for=192.0.2.60'], [""]),
        (["for=1.2.3.4 for=192.0.2.60"], [""]),
    ],
    ids=range(10),
)
def test_what_the_elements_say(values, told):
    assert forwarded_for(values) == told


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ([f"for={CLIENT}"], CLIENT),
        (["for=6.6.6.6, for=203.0.113.9"], CLIENT),
        (["for=6.6.6.6", "for=203.0.113.9", "for=10.0.0.7"], CLIENT),
        (['for="6.6.6.6', "for=203.0.113.9"], CLIENT),
        (['for="6.6.6.6, for=203.0.113.9'], PROXY),
        (["for=unknown"], PROXY),
        (["for=6.6.6.6, for=_hidden"], PROXY),
        (["by=6.6.6.6"], PROXY),
        ([], PROXY),
    ],
    ids=range(9),
)
def test_nobody_is_somebody_else_by_what_he_writes_in_front(values, found):
    assert client_address(PROXY, values, TRUSTED) == found
    assert client_address(CLIENT, values, TRUSTED) == CLIENT, "who is no proxy is himself"


def test_the_field_that_our_proxies_do_not_write_is_the_client_s():
    of_forwarded = by_address(["10.0.0.0/8", "forwarded"])
    scope = {
        "type": "http",
        "client": (PROXY, 1),
        "headers": [(b"x-forwarded-for", b"6.6.6.6"), (b"forwarded", b"for=203.0.113.9")],
    }
    assert of_forwarded(scope) == f"ip:{CLIENT}"
    assert by_address(["10.0.0.0/8"])(scope) == "ip:6.6.6.6"


def test_settings():
    told = {"ARAGORA_TRUSTED_PROXIES": "10.0.0.0/8, Forwarded"}
    assert from_env(told).gateway.trusted_proxies == ("10.0.0.0/8", "forwarded")
    with pytest.raises(SettingsError, match="ARAGORA_TRUSTED_PROXIES"):
        from_env({"ARAGORA_TRUSTED_PROXIES": "forwarded"})
