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

from aragora_redis.errors import InvalidInputError, SettingsError
from aragora_redis.settings import JwtSettings, Secret
from aragora_redis.tokens.identity import token_id
from aragora_redis.web.jwt import TokenVerifier

KEY = "0123456789abcdef" * 4
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
SETTINGS = JwtSettings(Secret(KEY))


def signed(claims: dict[str, Any], key=KEY, algorithm: str = "HS256") -> str:
    return jwt.encode(claims, key, algorithm)


def verifier(settings: JwtSettings = SETTINGS) -> TokenVerifier:
    return TokenVerifier(settings, leeway=2.0)


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
    claims = verifier().verify(token)
    assert claims == {"jti": "a", "sub": "42", "iat": now, "exp": now + 60}
    assert token_id(token, claims) == "a"


@pytest.mark.parametrize(
    ("token", "why"),
    [
        (signed({"jti": "a", "exp": 1}), "expired"),
        (signed({"jti": "a", "nbf": 32_503_680_000}), "not come yet"),
        (signed({"jti": "a"}, key=KEY[::-1]), "signature"),
        (signed({"jti": "a"}, algorithm="HS384"), "unsigned, or its algorithm"),
        (unsigned({"jti": "a"}), "unsigned, or its algorithm"),
        (signed({"jti": "a", "iat": 10**400, "nbf": 0}), "not come yet"),
        (signed({"jti": "a", "iat": -(10**400)}), "cannot be read"),
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
    with pytest.raises(InvalidInputError, match=f"the token is not valid: .*{why}") as caught:
        verifier().verify(token)
    assert not token or token not in str(caught.value)
    assert KEY not in str(caught.value)


def test_clocks_of_issuers_may_differ():
    now = time.time()
    verifier().verify(signed({"jti": "a", "iat": now + 1, "nbf": now + 1, "exp": now - 1}))


@pytest.mark.parametrize("times", [{"exp": 1}, {"nbf": 32_503_680_000}, {"iat": 32_503_680_000}])
def test_a_token_outside_its_lifetime_can_be_revoked(times):
    assert verifier().verify(signed({"jti": "a", **times}), alive=False)["jti"] == "a"


def test_issuer_and_audience():
    strict = verifier(JwtSettings(Secret(KEY), issuer="us", audience=("api", "web")))
    assert strict.verify(signed({"iss": "us", "aud": ["web"]}))
    for claims, why in (
        ({"iss": "them", "aud": "web"}, "another issuer"),
        ({"iss": "us", "aud": "else"}, "another audience"),
        ({"iss": "us"}, "lacks a claim"),
        ({"aud": "web"}, "lacks a claim"),
    ):
        with pytest.raises(InvalidInputError, match=why):
            strict.verify(signed(claims))
    assert verifier().verify(signed({"iss": "any", "aud": "any"}))


def test_public_keys():
    private = rsa.generate_private_key(65537, 2048)
    checks = verifier(JwtSettings(pem(private), algorithms=("RS256", "PS256")))
    assert checks.verify(signed({"jti": "a"}, private, "RS256"))["jti"] == "a"
    assert checks.verify(signed({"jti": "a"}, private, "PS256"))["jti"] == "a"
    with pytest.raises(InvalidInputError, match="algorithm"):
        checks.verify(signed({"jti": "a"}))


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
    with pytest.raises(InvalidInputError, match="algorithm"):
        verifier(JwtSettings(public, algorithms=("RS256",))).verify(forged)


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
        verifier(JwtSettings()).verify(signed({"jti": "a"}))


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
