"""TLS: real handshakes in memory, and files that are wrong in each way that operators meet."""

import datetime as dt
import ssl
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID

from aragora_redis.errors import SettingsError
from aragora_redis.settings import Tls

NOW = dt.datetime.now(dt.UTC)
YEAR = dt.timedelta(days=365)


@dataclass
class LateClock:
    """A clock of two years from now."""

    def monotonic(self) -> float:
        return 0.0

    def wall(self) -> float:
        return (NOW + 2 * YEAR).timestamp()


@dataclass(frozen=True)
class Pki:
    directory: Path

    def __truediv__(self, name: str) -> Path:
        return self.directory / name


def name_of(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def pem_of(key: ec.EllipticCurvePrivateKey, passphrase: bytes | None = None) -> bytes:
    encryption = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


@pytest.fixture(scope="module")
def pki(tmp_path_factory) -> Pki:
    directory = tmp_path_factory.mktemp("pki")
    ca_key = ec.generate_private_key(ec.SECP256R1())
    authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key())

    def certificate(common: str, key: ec.EllipticCurvePrivateKey, *, ca: bool) -> bytes:
        usage = dict.fromkeys(
            (
                "content_commitment",
                "key_encipherment",
                "data_encipherment",
                "key_agreement",
                "encipher_only",
                "decipher_only",
            ),
            False,
        )
        builder = (
            x509.CertificateBuilder()
            .subject_name(name_of(common))
            .issuer_name(name_of("ca"))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(NOW - YEAR)
            .not_valid_after(NOW + YEAR)
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(
                x509.KeyUsage(digital_signature=True, key_cert_sign=ca, crl_sign=ca, **usage),
                critical=True,
            )
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
            )
            .add_extension(authority, critical=False)
        )
        if not ca:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([x509.DNSName(common)]), critical=False
            )
        return builder.sign(ca_key, hashes.SHA256()).public_bytes(Encoding.PEM)

    (directory / "ca.pem").write_bytes(certificate("ca", ca_key, ca=True))
    for common in ("redis-0", "client"):
        key = ec.generate_private_key(ec.SECP256R1())
        pem = certificate(common, key, ca=False)
        (directory / f"{common}.pem").write_bytes(pem)
        (directory / f"{common}.key").write_bytes(pem_of(key))
        (directory / f"{common}-both.pem").write_bytes(pem + pem_of(key))
        (directory / f"{common}-locked.key").write_bytes(pem_of(key, b"passphrase"))
    (directory / "text.pem").write_text("no certificate")
    return Pki(directory)


def handshake(tls: Tls, pki: Pki, *, host: str, ask_client: bool = False) -> None:
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_context.load_cert_chain(pki / "redis-0.pem", pki / "redis-0.key")
    if ask_client:
        server_context.load_verify_locations(pki / "ca.pem")
        server_context.verify_mode = ssl.CERT_REQUIRED
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = tls.context().wrap_bio(to_client, to_server, server_hostname=host)
    server = server_context.wrap_bio(to_server, to_client, server_side=True)
    unfinished = [client, server]
    while unfinished:
        for side in tuple(unfinished):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
            unfinished.remove(side)


def test_full_checks_chain_and_name(pki):
    handshake(Tls(ca=pki / "ca.pem"), pki, host="redis-0")
    with pytest.raises(ssl.SSLCertVerificationError, match=r"[Hh]ostname mismatch"):
        handshake(Tls(ca=pki / "ca.pem"), pki, host="10.0.0.1.example")
    with pytest.raises(ssl.SSLCertVerificationError, match="issuer"):
        handshake(Tls(), pki, host="redis-0")


def test_ca_checks_the_chain_alone(pki):
    handshake(Tls(ca=pki / "ca.pem", verify="ca"), pki, host="elsewhere")
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(Tls(verify="ca"), pki, host="redis-0")


def test_none_checks_nothing(pki):
    handshake(Tls(verify="none"), pki, host="elsewhere")


@pytest.mark.parametrize(("cert", "key"), [("client.pem", "client.key"), ("client-both.pem", None)])
def test_a_client_certificate_is_presented(pki, cert, key):
    tls = Tls(ca=pki / "ca.pem", cert=pki / cert, key=key and pki / key)
    handshake(tls, pki, host="redis-0", ask_client=True)
    with pytest.raises(ssl.SSLError):
        handshake(Tls(ca=pki / "ca.pem"), pki, host="redis-0", ask_client=True)


@pytest.mark.parametrize(
    ("files", "said", "variable"),
    [
        ({"ca": "absent"}, "No such file", "_TLS_CA"),
        ({"ca": "text.pem"}, "no PEM certificate", "_TLS_CA"),
        ({"cert": "absent"}, "No such file", "_TLS_CERT"),
        ({"cert": "client.pem", "key": "absent"}, "No such file", "_TLS_KEY"),
        ({"cert": "client.pem", "key": "redis-0.key"}, "does not belong", "_TLS_KEY"),
        ({"cert": "client.pem"}, "do not hold", "_TLS_CERT"),
        ({"cert": "text.pem", "key": "client.key"}, "do not hold", "_TLS_CERT"),
        ({"cert": "client.pem", "key": "client-locked.key"}, "encrypted", "_TLS_KEY"),
    ],
)
def test_a_wrong_file_is_explained(pki, files, said, variable):
    tls = Tls(**{field: pki / name for field, name in files.items()})
    with pytest.raises(SettingsError, match=said) as caught:
        tls.context()
    assert variable in str(caught.value)


def test_an_authority_that_has_expired_is_explained(pki):
    with pytest.raises(SettingsError, match="expired"):
        Tls(ca=pki / "ca.pem").context(LateClock())
