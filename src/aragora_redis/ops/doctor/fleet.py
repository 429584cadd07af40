"""Versions, clocks, and our own instances. Pure."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator

from ..report import Status
from ..survey import NodeSurvey, Survey
from .diagnosis import Diagnosis

SKEW, BAD_SKEW = 2.0, 300.0
"""Seconds by which clocks may differ: beyond the second nothing is compared between them."""
STALE_SECONDS = 5.0
"""Seconds by which an instance's copy of the revocations may be behind."""
_OLDEST = (6, 2, 0)
_HOLDS_SCRIPTS = (6, 2, 14)


def versions(survey: Survey) -> Iterator[Diagnosis]:
    """Servers that are too old, or of different ages."""
    found = {at: _version(node) for at, node in survey.alive.items()}
    known = {at: version for at, version in found.items() if version is not None}
    for at, version in known.items():
        text = ".".join(map(str, version))
        if version < _OLDEST:
            yield Diagnosis(
                name="version-unsupported",
                status=Status.CRITICAL,
                subject=str(at),
                evidence=f"is version {text}",
                consequence="scripts of this library need 6.2",
                fix="upgrade the replicas first, then fail over, then the old primary",
            )
        elif version < _HOLDS_SCRIPTS:
            yield Diagnosis(
                name="version-faulty",
                status=Status.WARNING,
                subject=str(at),
                evidence=f"is version {text}",
                consequence="before 6.2.14 scripts are not held to min-replicas-to-write: an old "
                "primary that is cut off goes on taking limits and sessions",
                fix="upgrade to the last 6.2 or to 7: replicas first, then fail over",
            )
    if len({version[:2] for version in known.values()}) > 1:
        yield Diagnosis(
            name="versions-differ",
            status=Status.WARNING,
            subject="the servers:",
            evidence=", ".join(f"{at} is {'.'.join(map(str, each))}" for at, each in known.items()),
            consequence="an older one cannot read what a newer one writes, once that is primary",
            fix="finish the upgrade; while it lasts, the older one should be primary",
        )


def clocks(survey: Survey) -> Iterator[Diagnosis]:
    """Clocks that differ from ours by more than the question took."""
    for at, node in survey.alive.items():
        skew = max(abs(node.skew) - node.uncertainty, 0.0)
        if skew > SKEW:
            bad = skew > BAD_SKEW
            yield Diagnosis(
                name="clock-skew",
                status=Status.CRITICAL if bad else Status.WARNING,
                subject=str(at),
                evidence=f"has a clock that is {abs(node.skew):.0f} s "
                f"{'ahead of' if node.skew > 0 else 'behind'} ours",
                consequence="copies of the revocations are no longer compared, and cut-offs of "
                "tokens are refused"
                if bad
                else "cut-offs of tokens catch too much or too little",
                fix="run a time service (chrony, systemd-timesyncd) on both machines",
            )


def instances(survey: Survey) -> Iterator[Diagnosis]:
    """Our own instances: whether they agree, and follow."""
    rows = survey.instances
    policies = Counter(row.policies for row in rows)
    if len(policies) > 1:
        usual = policies.most_common(1)[0][0]
        others = ", ".join(row.name for row in rows if row.policies != usual)
        yield Diagnosis(
            name="policies-differ",
            status=Status.WARNING,
            subject=f"instances {others}",
            evidence=f"run with other policies than {policies[usual]} of {len(rows)}",
            consequence="one limit is counted by two rules, and circuits open at two thresholds",
            fix="deploy one ARAGORA_POLICIES file everywhere",
        )
    keys = Counter(row.fingerprint for row in rows if row.fingerprint)
    if len(keys) > 1:
        usual = keys.most_common(1)[0][0]
        others = ", ".join(row.name for row in rows if row.fingerprint not in ("", usual))
        yield Diagnosis(
            name="digest-keys-differ",
            status=Status.CRITICAL,
            subject=f"instances {others}",
            evidence=f"have another digest key than {keys[usual]} of {len(rows)}",
            consequence="what one revokes or ends is in force for the others under another name: "
            "they go on accepting it",
            fix="set one ARAGORA_DIGEST_KEY everywhere",
        )
    for row in rows:
        # One that has only begun knows nothing yet, and vouches for nothing.
        if row.staleness is not None and STALE_SECONDS < row.staleness < math.inf:
            yield Diagnosis(
                name="instance-behind",
                status=Status.WARNING,
                subject=f"instance {row.name}",
                evidence=f"has a copy of the revocations that is {row.staleness:.0f} s old",
                consequence="it accepts tokens that were revoked since, unless its risk policy is "
                "deny",
                fix="see its log and its /v1/status for what it cannot reach",
            )
        if row.alone > row.by_redis:
            yield Diagnosis(
                name="instance-decides-alone",
                status=Status.WARNING,
                subject=f"instance {row.name}",
                evidence=f"decided {row.alone} checks by itself and {row.by_redis} with Redis "
                "since its last beat",
                consequence="its limits are shares of the real ones",
                fix="see its log for what Redis refuses, or misses its deadline "
                "(ARAGORA_REDIS_DEADLINE)",
            )


def garbage(survey: Survey) -> Iterator[Diagnosis]:
    """What is in the presence and no instance of ours has put there."""
    for boot in survey.garbled:
        yield Diagnosis(
            name="presence-garbled",
            status=Status.WARNING,
            subject=f'the row "{boot}" of the presence',
            evidence="cannot be read: no instance of this library has written it",
            consequence="something else writes under this prefix; the row itself is ignored",
            fix="give the other its own keys (ARAGORA_KEY_PREFIX), and take the row away: HDEL "
            f'PREFIX:p:{{presence}}:rows "{boot}"',
        )


CHECKS = (versions, clocks, instances, garbage)


def _version(node: NodeSurvey) -> tuple[int, ...] | None:
    # Valkey goes on telling the version of Redis that it is compatible with, whatever its own.
    said = node.info.get("valkey_version") or node.info.get("redis_version", "")
    found = re.match(r"(\d+)\.(\d+)\.(\d+)", str(said))
    return tuple(map(int, found.groups())) if found else None
