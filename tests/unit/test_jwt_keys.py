"""Keys that issuers publish or that files hold: followed, and held through an outage."""

from __future__ import annotations

import asyncio
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from aragora_redis.errors import KeysUnavailableError, SettingsError, TokenInvalidError
from aragora_redis.events import Events, KeysFetched
from aragora_redis.jwt import Verifier
from aragora_redis.jwt.fetch import DOCUMENT_LIMIT, Fetched, Fetcher
from aragora_redis.jwt.freshness import COOL_DOWN, Freshness
from aragora_redis.jwt.key_set import KEYS_LIMIT, KeySetError, parse
from aragora_redis.jwt.published import SOUGHT_LIMIT, PublishedKeys
from aragora_redis.jwt.verifier import Issuer
from aragora_redis.settings import JwtSettings, Secret
from aragora_redis.testing import FakeClock

ALGORITHMS = ("RS256", "ES256", "EdDSA")
SETTINGS = JwtSettings(jwks_url="https://issuer.example/jwks", algorithms=ALGORITHMS, required=())
RSA = rsa.generate_private_key(65537, 2048)
EC = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()


def jwk(private, kid, algorithm, **more):
    of = jwt.get_algorithm_by_name(algorithm)
    return of.to_jwk(private.public_key(), as_dict=True) | {"kid": kid} | more


def document(*keys):
    return json.dumps({"keys": keys}).encode()


def token(private, kid, algorithm):
    headers = {"kid": kid} if kid is not None else None
    return jwt.encode({"jti": kid or "x"}, private, algorithm, headers=headers)


class Published:
    """An issuer: what it publishes, or why it does not answer; counts how often it is asked."""

    def __init__(self, *keys):
        self.document = document(*keys)
        self.asked = 0
        self.held = None

    async def fetch(self):
        self.asked += 1
        if self.held is not None:
            await self.held.wait()
        if isinstance(self.document, str):
            raise KeySetError(self.document)
        return Fetched(self.document, None)


def following(issuer, clock, events=None, hold=3600.0):
    """A verifier of one issuer, and its keys."""
    verifier = Verifier(leeway=2.0, clock=clock)
    keys = PublishedKeys(
        "", ALGORITHMS, hold=hold, clock=clock, events=events or Events(), fetcher=issuer
    )
    verifier._issuers = (Issuer(SETTINGS, keys),)
    return verifier, keys


async def until(condition):
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - it waits for what only a look can tell
            await asyncio.sleep(0.01)


# --- documents --------------------------------------------------------------------------


async def test_each_kind_of_key_verifies():
    issuer = Published(
        jwk(RSA, "r", "RS256"), jwk(EC, "e", "ES256", use="sig"), jwk(ED, "d", "EdDSA")
    )
    verifier, _ = following(issuer, FakeClock())
    for private, kid, algorithm in ((RSA, "r", "RS256"), (EC, "e", "ES256"), (ED, "d", "EdDSA")):
        assert (await verifier.verify(token(private, kid, algorithm))).id == kid
        assert (await verifier.verify(token(private, None, algorithm))).id == "x"
    with pytest.raises(TokenInvalidError, match="signature"):
        await verifier.verify(token(rsa.generate_private_key(65537, 2048), "r", "RS256"))
    assert issuer.asked == 1


SHARED = {"kty": "oct", "kid": "o", "k": "a" * 64}


@pytest.mark.parametrize(
    "published",
    [
        b"",
        b"[" * 100_000,
        b"[]",
        b'{"keys": 5}',
        document(),
        document(5, None, [], {}),
        document(*[{}] * (KEYS_LIMIT + 1), jwk(RSA, "r", "RS256")),
        document(SHARED),
        document(jwk(RSA, "r", "RS256", use="enc")),
        document(jwk(RSA, "r", "RS256", key_ops=["encrypt"])),
        document(jwk(RSA, "r", "RS256", key_ops=5)),
        document(jwk(RSA, "r", "RS256", alg="RS512")),
        document(jwk(RSA, "r", "RS256") | {"n": "\N{SNOWMAN}"}),
        document(jwk(RSA, "r", "RS256") | {"n": 5}),
        document(jwk(rsa.generate_private_key(65537, 1024), "r", "RS256")),  # noqa: S505
        document(jwk(ec.generate_private_key(ec.SECP384R1()), "e", "ES384")),
    ],
    ids=lambda each: each[:24].decode(errors="replace"),
)
def test_what_is_no_use_is_refused_as_a_whole(published):
    with pytest.raises(KeySetError):
        parse(published, ALGORITHMS)


def test_the_private_part_of_a_key_is_not_looked_at():
    private = jwt.get_algorithm_by_name("EdDSA").to_jwk(ED, as_dict=True)
    (key,) = parse(document(private), ALGORITHMS).fitting("EdDSA", None)
    assert isinstance(key, ed25519.Ed25519PublicKey)


def test_a_token_that_names_no_key_is_not_tried_with_all():
    many = parse(document(*(jwk(RSA, str(i), "RS256") for i in range(5))), ALGORITHMS)
    assert many.fitting("RS256", None) == ()
    assert len(many.fitting("RS256", "3")) == 1


# --- rotation and outages ---------------------------------------------------------------


async def test_an_unknown_kid_asks_once_for_all_who_wait():
    issuer, clock = Published(jwk(RSA, "old", "RS256")), FakeClock()
    verifier, _ = following(issuer, clock)
    await verifier.verify(token(RSA, "old", "RS256"))
    clock.advance(COOL_DOWN)
    issuer.document = document(jwk(EC, "new", "ES256"))
    issuer.held = asyncio.Event()
    whole = token(EC, "new", "ES256")
    waiting = [asyncio.create_task(verifier.verify(whole, within=60)) for _ in range(1000)]
    await asyncio.sleep(0)
    issuer.held.set()
    assert {found.id for found in await asyncio.gather(*waiting)} == {"new"}
    assert issuer.asked == 2


async def test_garbage_kids_do_not_reach_the_issuer():
    issuer, clock = Published(jwk(RSA, "r", "RS256")), FakeClock()
    verifier, _ = following(issuer, clock)
    refused = 0
    for each in range(1000):
        clock.advance(COOL_DOWN / 500)
        try:
            await verifier.verify(token(ED, f"garbage-{each}", "EdDSA"))
        except TokenInvalidError as error:
            refused += "publishes no such key" in str(error)
        except KeysUnavailableError:
            continue
    assert refused == issuer.asked <= 3


async def test_a_key_published_just_after_a_fetch_logs_nobody_out():
    issuer, clock = Published(jwk(RSA, "old", "RS256")), FakeClock()
    verifier, _ = following(issuer, clock)
    await verifier.verify(token(RSA, "old", "RS256"))
    issuer.document = document(jwk(EC, "new", "ES256"))
    with pytest.raises(KeysUnavailableError) as caught:
        await verifier.verify(token(EC, "new", "ES256"))
    with pytest.raises(KeysUnavailableError):
        verifier.verify_at_once(token(EC, "new", "ES256"))
    clock.advance(caught.value.retry_after)
    assert (await verifier.verify(token(EC, "new", "ES256"))).id == "new"


async def test_a_key_that_was_withdrawn_is_told_to_all_of_its_tokens():
    issuer, clock = Published(jwk(RSA, "r", "RS256")), FakeClock()
    verifier, _ = following(issuer, clock)
    await verifier.verify(token(RSA, "r", "RS256"))
    clock.advance(COOL_DOWN)
    withdrawn = token(EC, "old", "ES256")
    for _ in range(100):
        with pytest.raises(TokenInvalidError, match="publishes no such key"):
            await verifier.verify(withdrawn)
        clock.advance(COOL_DOWN / 50)
        if not verifier._issuers[0].keys.may_look_again:
            with pytest.raises(TokenInvalidError):
                verifier.verify_at_once(withdrawn)
    assert issuer.asked <= 4


async def test_a_key_that_is_published_while_another_is_looked_for_logs_nobody_out():
    issuer, clock = Published(jwk(RSA, "r", "RS256")), FakeClock()
    verifier, _ = following(issuer, clock)
    await verifier.verify(token(RSA, "r", "RS256"))
    clock.advance(COOL_DOWN)
    issuer.held = asyncio.Event()
    looking = asyncio.create_task(verifier.verify(token(ED, "none", "EdDSA"), within=60))
    await until(lambda: issuer.asked == 2)
    joining = asyncio.create_task(verifier.verify(token(EC, "new", "ES256"), within=60))
    await asyncio.sleep(0)
    issuer.held.set()
    with pytest.raises(TokenInvalidError):
        await looking
    with pytest.raises(KeysUnavailableError):
        await joining


async def test_what_is_remembered_of_garbage_has_an_end():
    issuer = Published(jwk(RSA, "r", "RS256"))
    verifier, keys = following(issuer, FakeClock())
    await verifier.verify(token(RSA, "r", "RS256"))
    for each in range(SOUGHT_LIMIT + 10):
        await keys.look_again("EdDSA", str(each), 1.0)
    assert len(keys._sought) == SOUGHT_LIMIT


async def test_who_cannot_ask_cannot_say():
    """A kid that is not known may be a new one: that is no reason to log somebody out."""
    issuer, clock = Published(jwk(RSA, "r", "RS256")), FakeClock()
    verifier, _ = following(issuer, clock, hold=100.0)
    await verifier.verify(token(RSA, "r", "RS256"))
    issuer.document = "it is away"
    clock.advance(90.0)
    for _ in range(2):  # the second one is within the pause after an attempt
        with pytest.raises(KeysUnavailableError, match="it is away") as caught:
            await verifier.verify(token(EC, "new", "ES256"))
        assert 1.0 <= caught.value.retry_after <= COOL_DOWN
    assert (await verifier.verify(token(RSA, "r", "RS256"))).id == "r"
    clock.advance(11.0)
    with pytest.raises(KeysUnavailableError):
        await verifier.verify(token(RSA, "r", "RS256"))
    issuer.document = document(jwk(RSA, "r", "RS256"))
    clock.advance(COOL_DOWN)
    assert (await verifier.verify(token(RSA, "r", "RS256"))).id == "r"


async def test_who_waits_for_a_silent_issuer_waits_no_longer_than_allowed():
    issuer = Published(jwk(RSA, "r", "RS256"))
    issuer.held = asyncio.Event()
    verifier, _ = following(issuer, FakeClock())
    with pytest.raises(KeysUnavailableError, match="being fetched"):
        await verifier.verify(token(RSA, "r", "RS256"), within=0.01)
    issuer.held.set()
    assert (await verifier.verify(token(RSA, "r", "RS256"))).id == "r"
    assert issuer.asked == 1


async def test_who_waits_for_keys_when_nobody_follows_them_any_more_is_told_and_not_cancelled():
    issuer = Published(jwk(RSA, "r", "RS256"))
    issuer.held = asyncio.Event()
    verifier, keys = following(issuer, FakeClock())
    run = asyncio.create_task(keys.run())
    await until(lambda: issuer.asked == 1)
    waiting = [
        asyncio.create_task(verifier.verify(token(RSA, "r", "RS256"), within=60)) for _ in range(2)
    ]
    await asyncio.sleep(0)
    waiting[0].cancel()
    run.cancel()
    told = await asyncio.gather(run, *waiting, return_exceptions=True)
    assert [type(each) for each in told] == [
        asyncio.CancelledError,
        asyncio.CancelledError,
        KeysUnavailableError,
    ]


async def test_a_bad_document_replaces_no_good_one_and_is_told_once():
    issuer, clock = Published(jwk(RSA, "r", "RS256")), FakeClock()
    events, told = Events(), list[Any]()
    events.subscribe(told.append)
    verifier, keys = following(issuer, clock, events)
    await verifier.verify(token(RSA, "r", "RS256"))
    issuer.document = b"<html>"
    for _ in range(2):
        clock.advance(COOL_DOWN)
        with pytest.raises(KeysUnavailableError):
            await verifier.verify(token(EC, "e", "ES256"))
    assert (await verifier.verify(token(RSA, "r", "RS256"))).id == "r"
    assert keys.trouble == "it is not JSON"
    failed = KeysFetched(1, "it is not JSON", changed=True)
    assert told[1:] == [failed, KeysFetched(1, "it is not JSON", changed=False)]


async def test_keys_are_fetched_in_the_background_and_ahead_of_their_end():
    issuer, clock = Published(jwk(RSA, "r", "RS256")), FakeClock()
    verifier, keys = following(issuer, clock)
    following_it = asyncio.create_task(verifier.run())
    await until(lambda: issuer.asked and keys._under_way is None)
    assert verifier.verify_at_once(token(RSA, "r", "RS256"))
    following_it.cancel()
    await asyncio.gather(following_it, return_exceptions=True)


def test_when_an_issuer_is_asked_again():
    fresh = Freshness(hold=3600.0).succeeded(100.0, None)
    assert fresh.due == 100.0 + 240.0
    assert fresh.succeeded(0.0, 5.0).due == 48.0
    assert fresh.succeeded(0.0, 1e9).due == 1800.0
    dues = [fresh.failed(200.0, 205.0).due - 205.0 for _ in range(100)]
    assert all(1.0 <= pause <= 61.0 for pause in dues)


# --- over HTTP --------------------------------------------------------------------------


@pytest.fixture
def served():
    """An HTTP server; `answer` is what it sends."""

    class Handler(BaseHTTPRequestHandler):
        url = ""
        answer = (200, {"Cache-Control": "public, max-age=120"}, b"{}")

        def do_GET(self):
            status, headers, body = Handler.answer
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    Handler.url = f"http://127.0.0.1:{server.server_port}/jwks"
    yield Handler
    server.shutdown()
    thread.join()
    server.server_close()


async def test_what_an_issuer_answers(served):
    fetcher = Fetcher(served.url)
    assert await fetcher.fetch() == (b"{}", 120.0)
    for answer, why in (
        ((302, {"Location": served.url}, b""), "answers 302"),
        ((200, {}, b"x" * (DOCUMENT_LIMIT + 1)), "larger than"),
        ((404, {}, b""), "answers 404"),
    ):
        served.answer = answer
        with pytest.raises(KeySetError, match=why):
            await fetcher.fetch()
    with pytest.raises(KeySetError, match="cannot be reached"):
        await Fetcher("http://127.0.0.1:1/jwks").fetch()


# --- files ------------------------------------------------------------------------------


async def test_a_rotated_file_is_taken_and_the_key_before_holds_for_a_while(tmp_path, monkeypatch):
    monkeypatch.setattr("aragora_redis.jwt.shared.LOOK_EVERY", 0.01)
    file, clock = tmp_path / "key", FakeClock()
    file.write_text("a" * 64 + "\n")
    verifier = Verifier(JwtSettings(secret_file=file, required=()), leeway=0, clock=clock)
    following_it = asyncio.create_task(verifier.run())

    def accepts(letter):
        try:
            return bool(verifier.verify_at_once(jwt.encode({"jti": "j"}, letter * 64)))
        except TokenInvalidError:
            return False

    assert accepts("a")
    file.write_text("b" * 64)
    await until(lambda: accepts("b"))
    assert accepts("a")
    clock.advance(86_401.0)
    assert not accepts("a")
    file.write_text("")
    await until(lambda: verifier.troubles)
    assert accepts("b")
    file.write_text("b" * 64)
    await until(lambda: not verifier.troubles)
    following_it.cancel()
    await asyncio.gather(following_it, return_exceptions=True)


def test_a_file_without_a_key_is_found_at_start(tmp_path):
    with pytest.raises(SettingsError, match="ARAGORA_JWT_SECRET_FILE"):
        Verifier(JwtSettings(secret_file=tmp_path / "none"), leeway=0)
    former = Secret("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----")
    with pytest.raises(SettingsError, match="ARAGORA_JWT_SECRET_PREVIOUS"):
        Verifier(JwtSettings(Secret("k" * 64), previous=former), leeway=0)
