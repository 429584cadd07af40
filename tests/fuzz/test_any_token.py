"""Tokens, and documents of keys, of anything: believed only where the key has signed them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from functools import cache

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given
from hypothesis import strategies as st
from tests.fuzz.effort import effort
from tests.fuzz.strategies import damaged, documents, integers, scalars, texts

from aragora_redis.errors import InvalidInputError, TokenInvalidError, TokenRefusedError
from aragora_redis.jwt import Verifier
from aragora_redis.jwt.key_set import KeySetError, parse
from aragora_redis.jwt.reading import header_of, read
from aragora_redis.settings import JwtSettings, Secret
from aragora_redis.testing import memory_state

KEY = "0123456789abcdef" * 4
SHARED = JwtSettings(secret=Secret(KEY), required=("exp",))
OTHER = JwtSettings(secret=Secret(KEY[::-1]), issuer="https://other.example", required=())
LOOSE = JwtSettings(secret=Secret(KEY), issuer="https://ours.example", required=(), audience=("a",))
ALGORITHMS = ("RS256", "ES256", "EdDSA")
NOW = 1_800_000_000
_NAMES = (
    "jti",
    "sub",
    "iat",
    "exp",
    "nbf",
    "iss",
    "aud",
    "org_id",
    "sid",
    "scope",
    "cut_offs_seen",
)

instants = (
    st.sampled_from([NOW, NOW + 60, -1, 2**53, 2**62, 10**400, 1e308]) | integers | st.floats()
)
claims = st.dictionaries(
    st.sampled_from(_NAMES) | texts, scalars | instants | documents, max_size=6
).map(lambda made: {"exp": NOW + 60} | made)
headers = st.dictionaries(
    st.sampled_from(["alg", "kid", "typ", "crit", "b64", "jwk", "jku", "x5c", "zip", "cty", "enc"]),
    st.sampled_from(
        ["HS256", "none", "None", "hs256", "RS256", "HS256\0", ["HS256"], ["b64"], True]
    )
    | documents,
    max_size=4,
).map(lambda made: {"alg": "HS256", "typ": "JWT"} | made)


def b64(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def as_json(document) -> bytes:
    return json.dumps(document).encode()


def signed(header: bytes, payload: bytes, key: str = KEY) -> str:
    """A token whose signature is good, whatever its parts are."""
    said = b64(header) + b"." + b64(payload)
    return (said + b"." + b64(hmac.digest(key.encode(), said, hashlib.sha256))).decode()


@cache
def verifiers():
    clock = type("Still", (), {"wall": lambda _: float(NOW), "monotonic": lambda _: 0.0})()
    return [Verifier(settings, leeway=5, clock=clock) for settings in (SHARED, LOOSE)] + [
        Verifier(OTHER, LOOSE, leeway=5, clock=clock)
    ]


async def verified(token):
    """Whoever believes it; each other one refuses it in its own words."""
    found = []
    for verifier in verifiers():
        for alive in (True, False):
            try:
                believed = await verifier.verify(token, alive=alive)
            except TokenRefusedError as error:
                assert "Traceback" not in str(error)
                continue
            repr(believed), believed.scopes, believed.user
            found.append(believed)
    return found


async def judged(found):
    """What is believed is looked up, revoked, and refused from then on."""
    async with memory_state() as state:
        for believed in found:
            for use in (state.tokens.is_revoked, state.tokens.verdict, state.tokens.stamp):
                try:
                    use(believed.claims)
                except InvalidInputError:
                    continue
            state.tokens.is_revoked({"jti": believed.id})


@effort(60)
@given(headers, claims)
async def test_a_token_that_is_signed(header, payload):
    found = await verified(signed(as_json(header), as_json(payload)))
    if found:
        assert header["alg"] == "HS256"
        assert not {"crit", "b64"} & set(header)
    await judged(found)


@effort(50)
@given(
    st.binary(max_size=60) | documents.map(as_json) | st.just(b'{"alg":"HS256","alg":"none"}'),
    st.binary(max_size=60) | documents.map(as_json) | st.just(b"[" * 9000),
    st.booleans(),
)
async def test_parts_that_are_anything(header, payload, sound):
    await judged(await verified(signed(b'{"alg":"HS256"}' if sound else header, payload)))


GOOD = jwt.encode({"jti": "a", "exp": NOW + 60}, KEY)


@effort(100)
@given(
    damaged(GOOD.encode()).map(lambda token: token.decode("utf-8", "surrogateescape"))
    | texts
    | st.integers(0, 20_000).map(lambda size: "a" * size + ".b.c")
    | st.none() | st.binary(max_size=20) | st.integers()
)  # fmt: skip
async def test_what_is_no_token_of_ours(token):
    for believed in await verified(token):
        assert believed.id == "a", token


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "HS384", "RS256", "", "HS256 "])
async def test_no_other_algorithm_is_believed(algorithm):
    header = as_json({"alg": algorithm})
    for token in (
        signed(header, b'{"exp":99999999999}'),
        f"{b64(header).decode()}.{b64(b'{}').decode()}.",
    ):
        assert await verified(token) == []


@cache
def published():
    made = []
    for algorithm, private in (
        ("RS256", rsa.generate_private_key(65537, 2048)),
        ("ES256", ec.generate_private_key(ec.SECP256R1())),
        ("EdDSA", ed25519.Ed25519PrivateKey.generate()),
    ):
        of = jwt.get_algorithm_by_name(algorithm)
        public = of.to_jwk(private.public_key(), as_dict=True) | {"kid": algorithm}
        made.append((algorithm, public, jwt.encode({"jti": "a"}, private, algorithm)))
    return made


members = st.sampled_from(["kty", "crv", "n", "e", "x", "y", "kid", "use", "alg", "key_ops", "d"])
member_values = (
    st.sampled_from(
        ["RSA", "EC", "OKP", "oct", "P-256", "AQAB", "AQ", "", "sig", "enc", "A" * 3000]
    )
    | documents
)


@effort(40)
@given(
    st.integers(0, 2),
    st.dictionaries(members, member_values, max_size=3),
    st.sets(members, max_size=1),
)
def test_keys_of_any_members(which, changed, left_out):
    algorithm, public, token = published()[which]
    jwk = {name: each for name, each in (public | changed).items() if name not in left_out}
    try:
        keys = parse(as_json({"keys": [jwk]}), ALGORITHMS)
    except KeySetError:
        return
    fitting = keys.fitting(algorithm, None)
    settings = JwtSettings(algorithms=ALGORITHMS, required=())
    try:
        read(token, header_of(token, ALGORITHMS), fitting, settings, leeway=0, now=NOW, alive=True)
    except TokenInvalidError:
        assert jwk != public


@effort(80)
@given(
    damaged(as_json({"keys": [{"kty": "OKP", "crv": "Ed25519", "x": "AA", "kid": "k"}]}))
    | documents.map(as_json)
    | documents.map(lambda each: as_json({"keys": [each]}))
    | st.binary(max_size=60)
)
def test_documents_of_anything(document):
    try:
        keys = parse(document, ALGORITHMS)
    except KeySetError as error:
        assert str(error)
    else:
        len(keys), keys.fitting("EdDSA", "k"), keys.fitting("RS256", None)
