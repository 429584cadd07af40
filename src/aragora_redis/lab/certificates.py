"""An authority of a lab's own, and the certificate of its managed service."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from ..clock import SYSTEM_CLOCK
from .files import write_private
from .service import Premises

_YEARS = 10


def make_certificates(premises: Premises) -> None:
    """Write the authority, the certificate and its key, unless they are there.

    The certificate is for the name alone, so that whoever asks an address is told apart. The key of
    the authority is not kept: nothing else is ever to be signed with it.
    """
    if all(each.exists() for each in (premises.ca, premises.certificate, premises.key)):
        return

    def named(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    authority_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    authority_name = named("authority of a lab")
    authority = _signed(
        _begun(authority_name, authority_name, authority_key.public_key(), authority_key),
        authority_key,
        x509.BasicConstraints(ca=True, path_length=0),
    )
    name = premises.service.name
    certificate = _signed(
        _begun(named(name), authority_name, key.public_key(), authority_key).add_extension(
            x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False
        ),
        authority_key,
        x509.BasicConstraints(ca=False, path_length=None),
    )
    _write_pem(premises.ca, authority.public_bytes(serialization.Encoding.PEM))
    _write_pem(premises.certificate, certificate.public_bytes(serialization.Encoding.PEM))
    _write_pem(
        premises.key,
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
    )


def _begun(
    subject: x509.Name,
    issuer: x509.Name,
    public: ec.EllipticCurvePublicKey,
    issuer_key: ec.EllipticCurvePrivateKey,
) -> x509.CertificateBuilder:
    now = dt.datetime.fromtimestamp(SYSTEM_CLOCK.wall(), dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=7))
        .not_valid_after(now + dt.timedelta(days=365 * _YEARS))
        # Python 3.13 refuses a chain that does not say which key signed which.
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()),
            critical=False,
        )
    )


def _signed(
    begun: x509.CertificateBuilder,
    by: ec.EllipticCurvePrivateKey,
    constraints: x509.BasicConstraints,
) -> x509.Certificate:
    signs = constraints.ca
    usage = x509.KeyUsage(
        digital_signature=not signs,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
    return (
        begun.add_extension(constraints, critical=True)
        .add_extension(usage, critical=True)
        .sign(by, hashes.SHA256())
    )


def _write_pem(path: Path, text: bytes) -> None:
    write_private(path, text.decode("ascii"))
