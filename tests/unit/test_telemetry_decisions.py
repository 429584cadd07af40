"""What is kept to count decisions does not grow with whom they counted."""

from __future__ import annotations

import itertools
from collections import Counter

from aragora_redis.events import Decided
from aragora_redis.telemetry.decisions import Decisions


def test_a_kind_is_kept_and_not_a_subject():
    counts = Counter[tuple[str, bool, str, bool]]()

    def counter(event: Decided):
        kind = (event.policy, event.allowed, event.source, event.shadow)
        return lambda: counts.update([kind])

    decisions = Decisions(counter)
    kinds = set(itertools.product(("api", "login"), (True, False), ("redis", "local"), (False,)))
    for number in range(1_000):
        for policy, allowed, source, shadow in kinds:
            subject = number.to_bytes(8, "big")
            decisions.count(Decided(policy, allowed, source, shadow, subject))
    assert counts == dict.fromkeys(kinds, 1_000)
    assert len(decisions) == len(kinds)
