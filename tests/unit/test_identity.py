"""Tokens of the clouds, fetched with their own libraries from endpoints on this machine."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import jwt
import pytest
from google.auth.compute_engine import _metadata

from aragora_redis.errors import AragoraRedisError, LinkDownError, SettingsError
from aragora_redis.identity import source_of
from aragora_redis.settings import AwsCache, Credentials

LIFETIME = 3600


class Endpoint(ThreadingHTTPServer):
    """A metadata server that answers what `answer` says, and remembers what it was asked."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[str] = []
        self.answer: tuple[int, dict[str, object]] = (404, {})


class Handler(BaseHTTPRequestHandler):
    server: Endpoint

    def do_GET(self):
        self.server.asked.append(self.path)
        status, body = self.server.answer
        self.send_response(status)
        self.send_header("Metadata-Flavor", "Google")
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, *_):
        return


@pytest.fixture
def endpoint():
    server = Endpoint()
    serving = threading.Thread(target=server.serve_forever)
    serving.start()
    yield server
    server.shutdown()
    serving.join()
    server.server_close()


@pytest.fixture
def nothing_found(monkeypatch, tmp_path):
    """An environment in which no cloud has left anything."""
    for name in ("AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AZURE_CLIENT_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("HOME", "CLOUDSDK_CONFIG"):
        monkeypatch.setenv(name, str(tmp_path))
    return monkeypatch


def refused(credentials):
    with pytest.raises(AragoraRedisError) as caught:
        source_of(credentials).issue()
    assert caught.value.remedy
    return caught.value


# --- AWS ------------------------------------------------------------------------------------------

AWS = Credentials("app", auth="aws-iam", cache=AwsCache("shop"))


def test_a_token_of_aws_is_a_signed_request_to_connect(nothing_found):
    nothing_found.setenv("AWS_REGION", "eu-central-1")
    nothing_found.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    nothing_found.setenv("AWS_SECRET_ACCESS_KEY", "a-secret-key")
    before = time.time()
    issued = source_of(AWS).issue()
    username, said = issued.words()
    assert username == "app"
    assert issued.expires_at == pytest.approx(before + 900, abs=10)
    token = urlsplit(f"//{said}")
    asked = parse_qs(token.query)
    assert token.netloc == "shop"
    assert (asked["Action"], asked["User"]) == (["connect"], ["app"])
    assert asked["X-Amz-Expires"] == ["900"]
    assert asked["X-Amz-Credential"][0].split("/")[2:4] == ["eu-central-1", "elasticache"]
    assert "ResourceType" not in asked
    assert "a-secret-key" not in f"{issued!r} {said}"
    serverless = Credentials("app", auth="aws-iam", cache=AwsCache("shop", serverless=True))
    assert "ResourceType=ServerlessCache" in source_of(serverless).issue().words()[1]


def test_without_a_region_or_credentials_aws_gives_none(nothing_found):
    assert "AWS_REGION" in str(refused(AWS))
    nothing_found.setenv("AWS_REGION", "eu-central-1")
    assert isinstance(refused(AWS), LinkDownError)


# --- Google Cloud ---------------------------------------------------------------------------------

GCP = Credentials(auth="gcp-iam")


def test_a_token_of_google_is_what_the_metadata_server_gives(nothing_found, endpoint):
    server = f"127.0.0.1:{endpoint.server_port}"
    nothing_found.setattr(_metadata, "_GCE_METADATA_HOST", server)  # read when it is imported
    nothing_found.setenv("GCE_METADATA_IP", server)
    nothing_found.setenv("GOOGLE_CLOUD_PROJECT", "a-project")
    account = {"email": "default", "scopes": [], "expires_in": LIFETIME}
    endpoint.answer = (200, account | {"access_token": "ya29.token"})
    source = source_of(GCP)
    issued = source.issue()
    assert issued.words() == ("ya29.token",)
    assert issued.expires_at == pytest.approx(time.time() + LIFETIME, abs=60)
    endpoint.answer = (200, account | {"access_token": "ya29.newer"})
    assert source.issue().words() == ("ya29.newer",)
    endpoint.answer = (403, {})
    assert "ya29" not in str(refused(GCP))


def test_a_machine_outside_google_cloud_has_no_credentials(nothing_found, tmp_path):
    nothing_found.setenv("NO_GCE_CHECK", "true")
    nothing_found.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "absent.json"))
    assert isinstance(refused(GCP), SettingsError)


# --- Azure ----------------------------------------------------------------------------------------

AZURE = Credentials(auth="azure-entra")


def token_of_entra(**claims):
    return jwt.encode({"exp": int(time.time()) + LIFETIME} | claims, "k" * 32)


def test_a_token_of_entra_is_for_the_object_that_it_names(nothing_found, endpoint):
    nothing_found.setenv("IDENTITY_ENDPOINT", f"http://127.0.0.1:{endpoint.server_port}/token")
    nothing_found.setenv("IDENTITY_HEADER", "a-header")
    token = token_of_entra(oid="0000-oid")
    endpoint.answer = (
        200,
        {"access_token": token, "expires_on": int(time.time()) + LIFETIME, "token_type": "Bearer"},
    )
    issued = source_of(AZURE).issue()
    assert issued.words() == ("0000-oid", token)
    assert issued.expires_at == pytest.approx(time.time() + LIFETIME, abs=60)
    assert any("redis.azure.com" in path for path in endpoint.asked)
    named = Credentials("somebody", auth="azure-entra")
    assert source_of(named).issue().words() == ("somebody", token)


def test_a_token_that_names_nobody_is_refused(nothing_found, endpoint):
    nothing_found.setenv("IDENTITY_ENDPOINT", f"http://127.0.0.1:{endpoint.server_port}/token")
    nothing_found.setenv("IDENTITY_HEADER", "a-header")
    token = token_of_entra()
    endpoint.answer = (200, {"access_token": token, "expires_on": int(time.time()) + LIFETIME})
    assert token not in str(refused(AZURE))
    assert "ARAGORA_REDIS_USERNAME" in str(refused(AZURE))


# --- what is not installed ------------------------------------------------------------------------


def test_a_library_that_is_not_installed_is_named_with_its_extra(monkeypatch):
    def absent(name):
        raise ImportError(name)

    monkeypatch.setattr("aragora_redis.identity.source.import_module", absent)
    with pytest.raises(SettingsError, match="botocore is not installed") as caught:
        source_of(AWS)
    assert caught.value.remedy == "install its extra: pip install '/path/to/this/checkout[aws]'"
