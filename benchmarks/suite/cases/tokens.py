"""Revocations: a look-up, and what holding them costs."""

from __future__ import annotations

from ..case import Bar, Case, Entry

MILLION = {"entries": 1_000_000}

CASES = (
    Case(
        "token-look-up",
        "is a token revoked, among a million revocations",
        (
            Entry("ours", "is-revoked", "by jti", MILLION),
            Entry("ours", "is-revoked", "by claims, cut-offs and age", {**MILLION, "claims": 1}),
        ),
        ("median", "p99", "client cpu"),
        (
            Bar("median", "by jti", at_most=1.2),
            Bar("median", "by claims, cut-offs and age", at_most=1.5),
        ),
    ),
    Case(
        "token-memory",
        "resident memory of a million revocations, expiry included",
        (Entry("replica", "memory", "ours", MILLION),),
        ("bytes",),
        (Bar("bytes", "ours", at_most=17),),
    ),
)
