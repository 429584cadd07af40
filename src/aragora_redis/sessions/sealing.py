"""Sessions at rest: each value encrypted by itself, so that fields still merge one by one.

AES-256-GCM (NIST SP 800-38D) under a key that HMAC-SHA256 derives for each session from a named
key: the bound of 2^32 values for a key with random nonces of 96 bits holds for one session, and no
service comes near it. What is sealed carries its key's name, and opens only in its own session and
field: both are authenticated with it.

    0x01, length of the name, name, 12 bytes of nonce, ciphertext and 16 bytes of tag

JSON never begins with 0x01, so what was stored before there were keys is told apart.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol

from ..errors import SessionUnreadableError, SettingsError
from ..extras import installing
from ..settings.session_keys import MOST_KEYS, NamedKey

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_FORM = 1
_MARK = bytes((_FORM,))
_NONCE_BYTES = 12
_PURPOSE = b"aragora-redis/session/v1/"
_CIPHERS = 1024
"""Sessions whose ciphers are kept ready: one has many fields, and is read, then written."""


class Seal(Protocol):
    """How the values of a session are stored. A session is named by its member."""

    @property
    def on(self) -> bool:
        """Whether it seals at all."""

    def seal(self, member: bytes, field: bytes, text: bytes) -> bytes:
        """What is stored of a value."""

    def open(self, member: bytes, field: bytes, stored: bytes) -> bytes:
        """The value.

        Raises:
            SessionUnreadableError: it cannot be had from what is stored.
        """

    def stale(self, stored: bytes) -> bool:
        """Whether it would be stored otherwise now."""


class Plain:
    """Stores values as they are, and can read nothing that is sealed."""

    on = False

    def seal(self, member: bytes, field: bytes, text: bytes) -> bytes:  # noqa: ARG002 - see `Seal`
        return text

    def open(self, member: bytes, field: bytes, stored: bytes) -> bytes:  # noqa: ARG002
        if stored[:1] == _MARK:
            raise SessionUnreadableError("unknown-key")
        return stored

    def stale(self, stored: bytes) -> bool:  # noqa: ARG002
        return False


PLAIN = Plain()


class AesGcm:
    """Seals with the first key, opens with any.

    Args:
        keys: those that hold now.
        accept_plain: whether what was stored before there were keys is read. Whoever can write to
            Redis can then still put values in, though read none.

    Raises:
        SettingsError: the extra `crypto` is not installed.
    """

    on = True

    def __init__(self, keys: Callable[[], tuple[NamedKey, ...]], *, accept_plain: bool) -> None:
        try:
            from cryptography.exceptions import InvalidTag  # noqa: PLC0415 - an extra
            from cryptography.hazmat.primitives.ciphers.aead import (  # noqa: PLC0415
                AESGCM,
            )
        except ImportError:
            raise SettingsError(
                "sessions cannot be encrypted: the package cryptography is not installed",
                remedy=installing("crypto"),
            ) from None
        self._cipher, self._invalid = AESGCM, InvalidTag
        self._of = lru_cache(_CIPHERS)(self._made)
        self._keys = keys
        self._accept_plain = accept_plain

    def seal(self, member: bytes, field: bytes, text: bytes) -> bytes:
        key = self._keys()[0]
        head = _head(key.name)
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = self._of(key, member).encrypt(nonce, text, head + member + field)
        return head + nonce + sealed

    def open(self, member: bytes, field: bytes, stored: bytes) -> bytes:
        if stored[:1] != _MARK:
            if self._accept_plain:
                return stored
            raise SessionUnreadableError("plain")
        for key in self._keys():
            head = _head(key.name)
            if stored.startswith(head):
                begins = len(head) + _NONCE_BYTES
                nonce, sealed = stored[len(head) : begins], stored[begins:]
                try:
                    return self._of(key, member).decrypt(nonce, sealed, head + member + field)
                except (self._invalid, ValueError):
                    raise SessionUnreadableError("tampered") from None
        raise SessionUnreadableError("unknown-key")

    def stale(self, stored: bytes) -> bool:
        return not stored.startswith(_head(self._keys()[0].name))

    def _made(self, key: NamedKey, member: bytes) -> AESGCM:
        own = hmac.digest(key.secret.reveal_bytes(), _PURPOSE + member, "sha256")
        return self._cipher(own)


@lru_cache(maxsize=MOST_KEYS)
def _head(key_name: str) -> bytes:
    name = key_name.encode()
    return bytes((_FORM, len(name))) + name
