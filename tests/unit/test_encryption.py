"""A TLS context costs a tenth of a second, so connections share one while its files stay."""

from __future__ import annotations

import asyncio
import ssl
import threading

import pytest
from tests.integration.certificates import self_signed

from aragora_redis.errors import LinkDownError, SettingsError
from aragora_redis.link import encryption
from aragora_redis.link.encryption import Encryption, explain
from aragora_redis.settings import Tls


async def test_a_context_is_made_anew_only_when_a_file_has_changed(tmp_path):
    self_signed(tmp_path)
    encryption = Encryption(Tls(ca=tmp_path / "cert.pem"))
    first = await encryption.context()
    assert await encryption.context() is first
    self_signed(tmp_path)
    second = await encryption.context()
    assert second is not first
    assert await encryption.context() is second


async def test_a_file_that_went_away_is_said_and_one_that_is_back_is_used(tmp_path):
    self_signed(tmp_path)
    ca = tmp_path / "cert.pem"
    encryption = Encryption(Tls(ca=ca))
    await encryption.context()
    ca.rename(tmp_path / "elsewhere")
    for _ in range(2):
        with pytest.raises(SettingsError, match="cannot be read"):
            await encryption.context()
    (tmp_path / "elsewhere").rename(ca)
    assert await encryption.context() is not None


async def test_files_that_hang_hold_one_thread_and_no_connection(monkeypatch):
    """A thread of their own, too: the application's pool may be full of what waits for us."""
    hangs, begun = threading.Event(), list[str]()

    def read(_tls: Tls) -> ssl.SSLContext:
        begun.append("read")
        hangs.wait(10)
        return ssl.create_default_context()

    monkeypatch.setattr(Tls, "context", read)
    monkeypatch.setattr(encryption, "MAKE_LIMIT", 0.02)
    made = Encryption(Tls())
    for _ in range(3):
        with pytest.raises(LinkDownError, match="were not read within"):
            await made.context()
    assert begun == ["read"]
    hangs.set()
    monkeypatch.setattr(encryption, "MAKE_LIMIT", 10)
    assert await made.context() is await made.context()
    assert len(begun) == 1


async def test_one_that_was_cancelled_before_it_began_is_made_all_the_same():
    """As where a loop ends in that moment, and the state is started again in another."""
    made = Encryption(Tls())
    asking = asyncio.ensure_future(made.context())
    await asyncio.sleep(0)
    assert made._making is not None
    made._making.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    assert await made.context()


@pytest.mark.parametrize(("code", "named"), [(20, "TLS_CA"), (64, "TLS_VERIFY=ca"), (1, "TLS_CA")])
def test_what_mends_it_is_named_as_it_was_set(code, named):
    error = ssl.SSLCertVerificationError()
    error.verify_code, error.verify_message = code, "{odd}"
    _, remedy = explain(error, lambda name: name.replace("ARAGORA_REDIS", "ARAGORA_TOKENS_REDIS"))
    assert f"ARAGORA_TOKENS_REDIS_{named}" in remedy
    assert "ARAGORA_REDIS" not in remedy
