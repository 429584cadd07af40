"""Files of keys that change into anything while they are followed: the good keys stay in force."""

from __future__ import annotations

from functools import cache
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization as form
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa, x25519
from hypothesis import given
from hypothesis import strategies as st
from tests.fuzz.effort import effort
from tests.fuzz.strategies import damaged, texts

from aragora_redis.errors import SettingsError, TokenInvalidError
from aragora_redis.events import Events
from aragora_redis.jwt.reading import header_of, read
from aragora_redis.jwt.shared import SharedKeys, _key_in
from aragora_redis.settings import Credentials, JwtSettings, SessionSettings, Settings
from aragora_redis.settings.session_keys import SessionKeySource
from aragora_redis.state.sessions.keyring import seal_of
from aragora_redis.testing import FakeClock

ALGORITHMS = (
    ("HS256",),
    ("RS256", "PS256"),
    ("ES256",),
    ("ES256", "ES384"),
    ("EdDSA",),
    ("RS256", "ES256"),
)
PRIVATE: tuple[Any, ...] = (
    rsa.generate_private_key(65537, 2048),
    ec.generate_private_key(ec.SECP256R1()),
    ec.generate_private_key(ec.SECP521R1()),
    ec.generate_private_key(ec.BrainpoolP256R1()),
    ed25519.Ed25519PrivateKey.generate(),
    ed448.Ed448PrivateKey.generate(),
    x25519.X25519PrivateKey.generate(),
)


@cache
def pems() -> tuple[bytes, ...]:
    """Keys of every kind, as an operator may copy them."""
    made = [b"0123456789abcdef" * 4]
    for key in PRIVATE:
        public = key.public_key()
        made.append(public.public_bytes(form.Encoding.PEM, form.PublicFormat.SubjectPublicKeyInfo))
        made.append(
            key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption())
        )
        made.append(
            key.private_bytes(
                form.Encoding.PEM, form.PrivateFormat.PKCS8, form.BestAvailableEncryption(b"p")
            )
        )
    ssh = form.Encoding.OpenSSH, form.PublicFormat.OpenSSH
    made += [key.public_key().public_bytes(*ssh) for key in PRIVATE[:3]]
    return tuple(made)


contents = (
    st.deferred(lambda: st.sampled_from(pems()))
    | st.deferred(lambda: st.sampled_from(pems()).flatmap(damaged))
    | st.binary(max_size=60)
    | texts.map(lambda text: text.encode("utf-8", "replace"))
)


@pytest.mark.filterwarnings("ignore:The HMAC key is")
@effort(60)
@given(contents, contents, st.sampled_from(ALGORITHMS))
def test_a_key_of_tokens(tmp_path, first, then, algorithms):
    path = tmp_path / "key"
    path.write_bytes(first)
    settings = JwtSettings(secret_file=path, algorithms=algorithms, required=())
    try:
        keys = SharedKeys(settings, FakeClock(), Events())
    except SettingsError as error:
        assert error.remedy
        return
    before = keys.fitting(algorithms[0], None)
    path.write_bytes(then)
    try:
        keys._take(_key_in(path))
    except SettingsError:
        assert keys.fitting(algorithms[0], None) == before
    token = jwt.encode({"jti": "a"}, "0123456789abcdef" * 4)
    for algorithm in algorithms:
        header = header_of(token, ["HS256"])._replace(algorithm=algorithm)
        try:
            read(
                token, header, keys.fitting(algorithm, None), settings, leeway=0, now=0, alive=False
            )
        except TokenInvalidError:
            continue


GOOD = b"new:" + b"n" * 32 + b"\nold:" + b"o" * 32 + b"\n"


@effort(60)
@given(damaged(GOOD) | contents)
def test_keys_of_sessions(tmp_path, then):
    path, clock = tmp_path / "keys", FakeClock()
    path.write_bytes(GOOD)
    source = SessionKeySource((), path)
    seal = seal_of(Settings(sessions=SessionSettings(keys=source)), clock)
    sealed = seal.seal(b"m", b"d:a", b"1")
    path.write_bytes(then)
    clock.advance(2)
    try:
        now = source.read()
    except SettingsError:
        assert seal.open(b"m", b"d:a", sealed) == b"1"
        assert not seal.stale(seal.seal(b"m", b"d:a", b"2"))
    else:
        assert seal.open(b"m", b"d:b", seal.seal(b"m", b"d:b", b"3")) == b"3"
        assert now


@pytest.mark.parametrize("secret", ["password", "key"])
@effort(40)
@given(contents)
def test_a_password(tmp_path, secret, content):
    path = tmp_path / secret
    path.write_bytes(content)
    try:
        found = Credentials(password_file=path).password()
    except SettingsError as error:
        assert str(path) in str(error)
    else:
        assert found is not None
        assert content.decode() not in repr(found)
