"""Keys that an issuer publishes (RFC 7517): which of a document are used, and for what. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jwt

KEYS_LIMIT = 100
"""Keys that a document may hold."""
NAMELESS_LIMIT = 4
"""Keys that are tried for a token that names none."""
_RSA_BITS = 2048  # NIST SP 800-131A
_FORMS: Mapping[str, tuple[str, tuple[str | None, ...]]] = {
    **{f"{family}{bits}": ("RSA", (None,)) for family in ("RS", "PS") for bits in (256, 384, 512)},
    "ES256": ("EC", ("P-256",)),
    "ES384": ("EC", ("P-384",)),
    "ES512": ("EC", ("P-521",)),
    "EdDSA": ("OKP", ("Ed25519", "Ed448")),
}
"""For each algorithm the type and the curves of its keys (RFC 7518 section 3.1, RFC 8037)."""
_PUBLIC = ("kty", "crv", "n", "e", "x", "y")


class KeySetError(Exception):
    """A document is no set of keys that can be used; its text is a reason that may be shown."""


class Key(NamedTuple):
    """A key for one algorithm."""

    algorithm: str
    kid: str | None
    material: Any


class KeySet:
    """The keys of one issuer."""

    def __init__(self, keys: Sequence[Key]) -> None:
        self._keys = tuple(keys)

    def __len__(self) -> int:
        return len({id(key.material) for key in self._keys})

    def fitting(self, algorithm: str, kid: str | None) -> tuple[Any, ...]:
        """What to try for a token; nothing where its key is not known, or could be any of many."""
        found = tuple(
            key.material
            for key in self._keys
            if key.algorithm == algorithm and (kid is None or key.kid in {kid, None})
        )
        return found if len(found) <= NAMELESS_LIMIT else ()


def parse(document: bytes, algorithms: Sequence[str]) -> KeySet:
    """The keys of a document that verify with one of `algorithms`.

    Shared keys, keys for encryption, and keys that are too weak are left out.

    Raises:
        KeySetError: it is no such document, or no key of it can be used.
    """
    try:
        published = json.loads(document)
    except (ValueError, RecursionError):
        raise KeySetError("it is not JSON") from None
    keys = published.get("keys") if isinstance(published, dict) else None
    if not isinstance(keys, list) or len(keys) > KEYS_LIMIT:
        raise KeySetError("it is no set of keys, or of too many")
    usable = [key for each in keys if isinstance(each, dict) for key in _usable(each, algorithms)]
    if not usable:
        raise KeySetError("none of its keys fits ARAGORA_JWT_ALGORITHMS")
    return KeySet(usable)


def _usable(jwk: Mapping[str, Any], algorithms: Sequence[str]) -> Iterator[Key]:
    purposes = jwk.get("key_ops", ["verify"])
    if jwk.get("use", "sig") != "sig" or not isinstance(purposes, list) or "verify" not in purposes:
        return
    kid = jwk.get("kid")
    material = None
    for name in algorithms:
        kty, curves = _FORMS[name]
        if jwk.get("kty") != kty or jwk.get("crv") not in curves or jwk.get("alg", name) != name:
            continue
        material = material or _material(name, jwk)
        if material is not None:
            yield Key(name, kid if isinstance(kid, str) else None, material)


def _material(algorithm: str, jwk: Mapping[str, Any]) -> Any | None:
    public = {name: jwk[name] for name in _PUBLIC if name in jwk}
    try:
        # The members are checked above; the stubs know only the base of the algorithms.
        material: Any = jwt.get_algorithm_by_name(algorithm).from_jwk(public)
    except Exception:  # noqa: BLE001 - whatever a key makes the library raise, it is not used
        return None
    weak = jwk["kty"] == "RSA" and material.key_size < _RSA_BITS
    return None if weak else material
