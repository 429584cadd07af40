"""Tokens that are handed over whole: whose they are, and whether they may be believed (RFC 7519).

Needs the extra `jwt`; what only names a token by its claims does without.
"""

from .verified import VerifiedToken
from .verifier import Verifier

__all__ = ["VerifiedToken", "Verifier"]
