"""Tokens that are handed over whole."""

from __future__ import annotations

import base64
import hmac
import json
import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from aragora_redis.errors import (
    InvalidInputError,
    SettingsError,
    TokenExpiredError,
    TokenInvalidError,
)
from aragora_redis.jwt import VerifiedToken, Verifier
from aragora_redis.settings import JwtSettings, Secret, Settings
from aragora_redis.testing import FakeClock, memory_state
from aragora_redis.tokens.identity import token_id

KEY = "0123456789abcdef" * 4
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
SETTINGS = JwtSettings(Secret(KEY), required=())


def signed(claims: dict[str, Any], key=KEY, algorithm: str = "HS256") -> str:
    return jwt.encode(claims, key, algorithm)


def verifier(*settings: JwtSettings) -> Verifier:
    return Verifier(*(settings or (SETTINGS,)), leeway=2.0)


def verified(token: str, *settings: JwtSettings, alive: bool = True) -> VerifiedToken:
    found = verifier(*settings).verify_at_once(token, alive=alive)
    assert found is not None
    return found


def pem(private) -> Secret:
    form = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return Secret(form.decode())


def unsigned(claims: dict[str, Any]) -> str:
    parts = (json.dumps({"alg": "none"}), json.dumps(claims), "")
    return ".".join(base64.urlsafe_b64encode(p.encode()).rstrip(b"=").decode() for p in parts)


def respelled(part: str) -> str:
    """The same bytes in base64, with other unused bits in the last character."""
    assert len(part) % 4
    return part[:-1] + ALPHABET[ALPHABET.index(part[-1]) ^ 1]


def test_a_valid_token_gives_its_claims():
    now = int(time.time())
    token = signed({"jti": "a", "sub": "42", "iat": now, "exp": now + 60})
    found = verified(token)
    assert found.claims == {"jti": "a", "sub": "42", "iat": now, "exp": now + 60}
    assert (found.id, found.user, found.expires_at) == ("a", "42", now + 60)
    assert repr(found) == "VerifiedToken()"


@pytest.mark.parametrize(
    ("token", "why"),
    [
        (signed({"jti": "a", "nbf": 32_503_680_000}), "not come yet"),
        (signed({"jti": "a"}, key=KEY[::-1]), "signature"),
        (signed({"jti": "a"}, algorithm="HS384"), "unsigned, or its algorithm"),
        (unsigned({"jti": "a"}), "unsigned, or its algorithm"),
        (signed({"jti": "a", "iat": 10**400}), "cannot be read"),
        (signed({"jti": "a", "iat": -(10**400)}), "cannot be read"),
        (signed({"jti": "a", "nbf": "soon"}), "cannot be read"),
        (signed({"jti": "a", "exp": float("inf")}), "cannot be read"),
        (signed({"jti": "a", "exp": float("nan")}), "cannot be read"),
        (signed({"jti": "a", "exp": [1]}), "cannot be read"),
        (signed({"jti": "a"}) + ".x", "cannot be read"),
        ("", "cannot be read"),
        ("a.b.c", "cannot be read"),
        ("\0.\ud800.é", "cannot be read"),
        (base64.b64encode(b"[" * 9000).decode() + ".e30.x", "cannot be read"),
    ],
)
def test_a_token_that_is_not_valid_is_refused_with_the_reason(token, why):
    with pytest.raises(TokenInvalidError, match=f"the token is not valid: .*{why}") as caught:
        verified(token)
    assert not token or token not in str(caught.value)
    assert KEY not in str(caught.value)


def test_an_expired_token_is_told_apart():
    with pytest.raises(TokenExpiredError, match="it has expired"):
        verified(signed({"jti": "a", "exp": 1}))


def test_claims_that_are_demanded():
    with pytest.raises(TokenInvalidError, match="lacks a claim"):
        verified(signed({"jti": "a"}), JwtSettings(Secret(KEY)))
    assert verified(signed({"jti": "a"}), JwtSettings(Secret(KEY)), alive=False).id == "a"


@pytest.mark.parametrize("extension", [{"crit": ["exp"], "exp": 1}, {"b64": True}, {"kid": 5}])
def test_a_header_that_is_not_understood_is_refused(extension):
    """RFC 7515 section 4.1.11."""
    header = json.dumps({"alg": "HS256", **extension}).encode()
    body = b".".join(base64.urlsafe_b64encode(p).rstrip(b"=") for p in (header, b'{"jti":"a"}'))
    seal = base64.urlsafe_b64encode(hmac.digest(KEY.encode(), body, "sha256")).rstrip(b"=")
    with pytest.raises(TokenInvalidError, match="cannot be read"):
        verified((body + b"." + seal).decode())


def test_nothing_is_parsed_that_is_too_long(monkeypatch):
    checks = verifier()
    monkeypatch.setattr(json, "loads", None)
    with pytest.raises(TokenInvalidError, match="cannot be read"):
        checks.verify_at_once("a" * 16_385)


def test_the_key_before_is_accepted_too():
    former = "f" * 64
    rotated = JwtSettings(Secret(KEY), previous=Secret(former), required=())
    for key in (KEY, former):
        assert verified(signed({"jti": "a"}, key), rotated).id == "a"
    with pytest.raises(TokenInvalidError, match="signature"):
        verified(signed({"jti": "a"}, "x" * 64), rotated)


def test_several_issuers_are_told_apart_by_iss():
    """A key of one issuer signs no token of another."""
    ours = JwtSettings(Secret(KEY), issuer="us", required=())
    theirs = JwtSettings(Secret("t" * 64), issuer="them", audience=("api",), required=())
    assert verified(signed({"iss": "us", "jti": "a"}), ours, theirs).id == "a"
    assert verified(signed({"iss": "them", "aud": "api", "jti": "b"}, "t" * 64), ours, theirs)
    for claims, key in (({"iss": "us"}, "t" * 64), ({"iss": "who"}, KEY), ({"iss": ["us"]}, KEY)):
        with pytest.raises(TokenInvalidError):
            verified(jwt.api_jws.encode(json.dumps(claims).encode(), key), ours, theirs)
    with pytest.raises(SettingsError, match="told apart"):
        verifier(ours, JwtSettings(Secret(KEY)))


@pytest.mark.parametrize(
    ("claims", "scopes"),
    [
        ({"scope": "a b"}, {"a", "b"}),
        ({"scp": ["a", "b", 5]}, {"a", "b"}),
        ({"scope": 5}, set()),
        ({}, set()),
    ],
)
def test_scopes(claims, scopes):
    assert verified(signed({"jti": "a"} | claims)).scopes == scopes


def test_clocks_of_issuers_may_differ():
    now = time.time()
    verified(signed({"jti": "a", "iat": now + 1, "nbf": now + 1, "exp": now - 1}))


async def test_a_token_may_have_the_first_iat_after_a_cut_off():
    clock = FakeClock(wall=1_000.9)
    async with memory_state(settings=Settings(jwt=SETTINGS), clock=clock) as state:
        first = (await state.tokens.revoke_user("42")).not_before
        assert first == 1_003
        token = signed({"jti": "a", "sub": "42", "iat": first})
        assert (await state.tokens.verify(token)).id == "a"
        with pytest.raises(TokenInvalidError, match="not come yet"):
            await state.tokens.verify(signed({"jti": "a", "iat": first + 1}))


@pytest.mark.parametrize("times", [{"exp": 1}, {"nbf": 32_503_680_000}, {"iat": 32_503_680_000}])
def test_a_token_outside_its_lifetime_can_be_revoked(times):
    assert verified(signed({"jti": "a", **times}), alive=False).id == "a"


def test_issuer_and_audience():
    strict = JwtSettings(Secret(KEY), issuer="us", audience=("api", "web"), required=())
    assert verified(signed({"iss": "us", "aud": ["web"]}), strict)
    for claims, why in (
        ({"iss": "them", "aud": "web"}, "another issuer"),
        ({"iss": "us", "aud": "else"}, "another audience"),
        ({"iss": "us"}, "lacks a claim"),
        ({"aud": "web"}, "lacks a claim"),
    ):
        with pytest.raises(InvalidInputError, match=why):
            verified(signed(claims), strict)
    assert verified(signed({"iss": "any", "aud": "any"}))


def test_public_keys():
    private = rsa.generate_private_key(65537, 2048)
    checks = JwtSettings(pem(private), algorithms=("RS256", "PS256"), required=())
    assert verified(signed({"jti": "a"}, private, "RS256"), checks).id == "a"
    assert verified(signed({"jti": "a"}, private, "PS256"), checks).id == "a"
    with pytest.raises(TokenInvalidError, match="algorithm"):
        verified(signed({"jti": "a"}), checks)


def test_the_public_key_is_no_secret_to_sign_with():
    """Whoever knows the public key would else sign with HMAC over its text."""
    public = pem(rsa.generate_private_key(65537, 2048))
    header, claims = {"alg": "HS256", "typ": "JWT"}, {"jti": "a"}
    body = ".".join(
        base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()
        for part in (header, claims)
    )
    seal = hmac.digest(public.reveal().encode(), body.encode(), "sha256")
    forged = f"{body}.{base64.urlsafe_b64encode(seal).rstrip(b'=').decode()}"
    with pytest.raises(TokenInvalidError, match="algorithm"):
        verified(forged, JwtSettings(public, algorithms=("RS256",)))


@pytest.mark.parametrize(
    ("secret", "algorithms"),
    [
        (pem(ec.generate_private_key(ec.SECP256R1())), ("RS256",)),
        (pem(ec.generate_private_key(ec.SECP256R1())), ("ES384",)),
        (pem(ec.generate_private_key(ec.SECP256R1())), ("HS256",)),
        (Secret("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----"), ("RS256",)),
        (Secret(KEY), ("EdDSA",)),
    ],
)
def test_a_key_that_does_not_fit_is_found_at_start(secret, algorithms):
    with pytest.raises(SettingsError, match="ARAGORA_JWT_SECRET") as caught:
        verifier(JwtSettings(secret, algorithms=algorithms))
    assert secret.reveal() not in str(caught.value)


def test_without_a_key_the_variable_is_named():
    with pytest.raises(InvalidInputError, match="ARAGORA_JWT_SECRET"):
        verified(signed({"jti": "a"}), JwtSettings())


@pytest.mark.parametrize("which", [0, 1, 2], ids=["header", "payload", "signature"])
def test_a_token_without_jti_has_an_id_that_no_other_spelling_changes(which):
    token = jwt.encode({"sub": "4"}, KEY, "HS256", headers={"kid": "k"})
    parts = token.split(".")
    parts[which] = respelled(parts[which])
    other = ".".join(parts)
    assert other != token
    assert token_id(other, {}) == token_id(token, {})
    assert token_id(token, {}).startswith("sig:")


def test_the_id_covers_header_and_payload():
    tokens = (
        signed({"sub": "42"}),
        signed({"sub": "43"}),
        signed({"sub": "42"}, algorithm="HS512"),
    )
    assert len({token_id(token, {}) for token in tokens}) == 3


def test_an_empty_jti_names_nothing():
    token = signed({"jti": ""})
    assert token_id(token, {"jti": ""}).startswith("sig:")
