"""Revocations: a look-up, and what holding, loading and following them costs."""

from __future__ import annotations

from ..case import Bar, Case, Entry

JTI, NEW, CLAIMS = "by jti", "by jti, ids that are new", "by claims, cut-offs and age"


def look_up(name: str, told: str, entries: int, *, jti: float, claims: float, long: bool) -> Case:
    """Among so many revocations, with the most microseconds that each look-up may take."""
    many = {"entries": entries}
    return Case(
        name,
        f"is a token revoked, among {told} revocations",
        (
            Entry("ours", "is-revoked", JTI, many),
            Entry("ours", "is-revoked", NEW, {**many, "ids": 20_000}),
            Entry("ours", "is-revoked", CLAIMS, {**many, "claims": 1}),
        ),
        ("median", "p99", "client cpu"),
        (Bar("median", JTI, at_most=jti), Bar("median", CLAIMS, at_most=claims)),
        long=long,
    )


def memory(name: str, told: str, entries: int, *, long: bool) -> Case:
    """Of so many revocations."""
    return Case(
        name,
        f"resident memory of {told} revocations, expiry included",
        (Entry("replica", "memory", "ours", {"entries": entries}),),
        ("bytes",),
        (Bar("bytes", "ours", at_most=17),),
        long=long,
    )


CASES = (
    look_up("token-look-up", "a million", 10**6, jti=1.2, claims=1.5, long=False),
    look_up("token-look-up-10m", "ten million", 10**7, jti=2, claims=2, long=True),
    memory("token-memory", "a million", 10**6, long=False),
    memory("token-memory-10m", "ten million", 10**7, long=True),
    Case(
        "token-build-10m",
        "a replica of ten million revocations is built from pages that were read",
        (Entry("replica", "build", "ours", {"entries": 10**7}),),
        ("milliseconds",),
        (Bar("milliseconds", "ours", at_most=10_000),),
        long=True,
    ),
    Case(
        "token-feed",
        "revocations of others arrive: one call a revocation, or many",
        (
            Entry("following", "follow", "128 a message", {"batch": 128}),
            Entry("following", "follow", "one a message", {"batch": 1}),
        ),
        ("per core", "rate", "client cpu", "server cpu"),
        (Bar("per core", "128 a message", at_least=100_000),),
    ),
)
