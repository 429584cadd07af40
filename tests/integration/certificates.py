"""Certificates for servers that a test starts."""

from __future__ import annotations

import datetime as dt
import ipaddress

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


def self_signed(directory, *, days=1, hosts=("127.0.0.1",), names=()):
    """Write cert.pem, which is its own authority, and key.pem."""
    key = ec.generate_private_key(ec.SECP256R1())
    begun = _begun("redis", key, days=days, authority=True).issuer_name(_named("redis"))
    _write(directory, key, _carrying(begun, hosts, names).sign(key, hashes.SHA256()))


class Authority:
    """Signs certificates; its own is ca.pem in its directory."""

    def __init__(self, directory):
        self.file = directory / "ca.pem"
        self._key = ec.generate_private_key(ec.SECP256R1())
        name = "authority"
        begun = _begun(name, self._key, days=1, authority=True).issuer_name(_named(name))
        self._certificate = begun.sign(self._key, hashes.SHA256())
        self.file.write_bytes(self._certificate.public_bytes(serialization.Encoding.PEM))

    def certify(self, directory, *names):
        """Write cert.pem and key.pem for names alone."""
        key = ec.generate_private_key(ec.SECP256R1())
        begun = _begun("redis", key, days=1, authority=False).issuer_name(self._certificate.subject)
        _write(directory, key, _carrying(begun, (), names).sign(self._key, hashes.SHA256()))


def _named(text):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _begun(subject, key, *, days, authority):
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(_named(subject))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
    )


def _carrying(begun, hosts, names):
    carried = [
        *(x509.IPAddress(ipaddress.ip_address(host)) for host in hosts),
        *(x509.DNSName(each) for each in names),
    ]
    return begun.add_extension(x509.SubjectAlternativeName(carried), critical=False)


def _write(directory, key, certificate):
    (directory / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    (directory / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
