"""Revoked tokens of Aragora, in the revocations of the fleet.

Aragora keeps two lists: one in memory that is given the token, and one behind
`set_blacklist_backend` that is given a digest of the token's text. Each check asks the first one
first, and only that one can tell the same token under another text: so it is replaced by one that
asks the fleet, and the backend keeps its part for whoever uses it alone.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from importlib import import_module
from typing import Any

from ..state.revocations.receipt import Level
from .identity import claims_of, digest_id
from .seam import Finding, Where
from .shared import Shared
from .versions import Checked


def token_list(base: type[Any], shared: Shared, decode: Callable[[str], Any]) -> Any:
    """A `TokenBlacklist` that asks the fleet, and remembers beside it what was revoked here.

    Args:
        base: Aragora's class.
        shared: whom to ask.
        decode: verifies a token and gives its payload, None where it is not valid.
    """

    class SharedTokenBlacklist(base):  # type: ignore[misc] # a class that is known when it runs
        def __new__(cls) -> Any:
            return object.__new__(cls)  # the base makes one of a process, of itself

        def __init__(self) -> None:
            self._initialized = False
            super().__init__()

        def is_revoked(self, token: str) -> bool:
            return shared.refuses(claims_of(token)) or super().is_revoked(token)

        def revoke_token(self, token: str) -> bool:
            payload = decode(token)
            if payload is not None:
                shared.revoke(claims_of(token)["jti"], payload.exp)
            return bool(super().revoke_token(token))

    return SharedTokenBlacklist()


def backend(base: type[Any], shared: Shared) -> Any:
    """A `BlacklistBackend` that holds digests of tokens' texts in the fleet's revocations."""

    class SharedBlacklist(base):  # type: ignore[misc] # a class that is known when it runs
        def add(self, token_jti: str, expires_at: float) -> None:
            # Whoever revokes calls the other list next, and that waits until Redis has it.
            shared.revoke(digest_id(token_jti), expires_at, Level.LOCAL)

        def contains(self, token_jti: str) -> bool:
            # What nobody can vouch for is no entry: Aragora would note it as one.
            return shared.knows(digest_id(token_jti))

        def cleanup_expired(self) -> int:
            return 0

    return SharedBlacklist()


def other_text(token: str) -> str:
    """The same signature under another text: an unused bit of its last character is changed."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return token[:-1] + alphabet[alphabet.index(token[-1]) ^ 1]


class Blacklist:
    """The seam."""

    feature = "token blacklist"
    checked = Checked("2.11", "2.12")

    def __init__(self, shared: Shared) -> None:
        self._shared = shared

    def install(self) -> None:
        """Put both lists in place."""
        store = import_module("aragora.storage.token_blacklist_store")
        lists: Any = import_module("aragora.billing.auth.blacklist")
        tokens = import_module("aragora.billing.auth.tokens")
        listed = token_list(lists.TokenBlacklist, self._shared, tokens.decode_jwt)
        lists.TokenBlacklist._instance = lists._token_blacklist = listed  # noqa: SLF001 - the seam
        store.set_blacklist_backend(backend(store.BlacklistBackend, self._shared))

    def verify(self) -> Finding:
        """Revoke a token of nobody as a logout does, and find it under both of its texts."""
        lists = import_module("aragora.billing.auth.blacklist")
        tokens = import_module("aragora.billing.auth.tokens")
        token = tokens.create_access_token(f"self-check-{secrets.token_hex(8)}", "", expiry_hours=1)
        if tokens.validate_access_token(token) is None:
            return Finding(self.feature, Where.UNSEEN, "a new token is refused: not ready yet")
        lists.revoke_token_persistent(token)
        lists.get_token_blacklist().revoke_token(token)
        for text in (token, other_text(token)):
            if tokens.validate_access_token(text) is not None:
                return Finding(self.feature, Where.MEMORY, "a revoked token was accepted")
        jti = claims_of(token)["jti"]
        if not self._shared.knows(jti):
            return Finding(self.feature, Where.MEMORY, "a logout did not reach the fleet")
        # A revocation may be made again at any time: only its receipt says where it is.
        level = self._shared.revoke(jti, tokens.decode_jwt(token).exp)
        if level is None or level < Level.PRIMARY:
            detail = "known revocations hold here, and new ones wait to be published"
            return Finding(self.feature, Where.UNSEEN, detail)
        detail = f"set_blacklist_backend and TokenBlacklist, keyed on the token ({level.word})"
        return Finding(self.feature, Where.REDIS, detail)
