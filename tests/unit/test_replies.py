"""What error replies mean."""

from __future__ import annotations

import pytest

from aragora_redis.address import Address
from aragora_redis.errors import Ran, RefusedError, UnexpectedReplyError
from aragora_redis.link.replies import RedirectError, classify, late_by


@pytest.mark.parametrize(
    "text",
    [
        "OOM command not allowed when used memory > 'maxmemory'.",
        "@user_script: 47: -OOM command not allowed when used memory > 'maxmemory'.\r\n",
    ],
)
def test_a_refusal_is_known_by_its_code_on_every_version(text):
    error = classify(text)
    assert isinstance(error, RefusedError)
    assert (error.code, error.ran) == ("OOM", Ran.NO)


@pytest.mark.parametrize(
    "text",
    [
        "ERR something odd",
        "ERR Error running script (call to f_8a): @user_script:12: @user_script: 12: -OOM no. ",
    ],
)
def test_an_error_out_of_a_script_may_have_come_midway(text):
    error = classify(text)
    assert isinstance(error, UnexpectedReplyError)
    assert error.ran is Ran.UNKNOWN


def test_late_carries_the_servers_clock():
    assert late_by("LATE 1795400000123456") == 1795400000123456
    assert late_by("LATE x") is None
    assert late_by("OOM 5") is None


def test_i8_arguments_that_redis_quotes_are_cut_off():
    """A server without HELLO quotes what it was sent, the password too."""
    text = "ERR unknown command 'HELLO', with args beginning with: '3' 'AUTH' 'default' 's3cret'"
    assert "s3cret" not in str(classify(text))
    assert "HELLO" in str(classify(text))


@pytest.mark.parametrize(
    ("text", "code", "address"),
    [
        ("MOVED 3999 127.0.0.1:6381", "MOVED", Address("127.0.0.1", 6381)),
        ("ASK 3999 fd00::1:6381", "ASK", Address("fd00::1", 6381)),
        ("MOVED 3999 :6381", "MOVED", Address("", 6381)),
        ("ASK 3999 ?:6381", "ASK", Address("", 6381)),
    ],
)
def test_a_redirection_says_whereto(text, code, address):
    error = classify(text)
    assert isinstance(error, RedirectError)
    assert (error.code, error.slot, error.address) == (code, 3999, address)
    assert error.ran is Ran.NO


def test_a_redirection_that_cannot_be_read_is_a_typed_error():
    for text in ("MOVED", "MOVED x y", "ASK 99999999 h:1"):
        assert isinstance(classify(text), UnexpectedReplyError)
