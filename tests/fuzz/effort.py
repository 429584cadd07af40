"""How hard a run tries: a few examples in the suite, always the same; many new ones in `make fuzz`.

`FUZZ_TIMES` multiplies the examples of each test. Without it they are derived from the test itself,
so that a suite that fails has been made to fail by a change.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, Phase, settings

TIMES = int(os.environ.get("FUZZ_TIMES", "0"))
_CHECKS = [
    HealthCheck.function_scoped_fixture,  # those that are used hold nothing of an example
    HealthCheck.too_slow,
    HealthCheck.large_base_example,
]


def effort(examples: int) -> settings:
    """The settings of a test that the suite runs with so many examples."""
    return settings(
        max_examples=examples * max(TIMES, 1),
        derandomize=TIMES == 0,
        deadline=None,
        suppress_health_check=_CHECKS,
        print_blob=True,
        # Why one fails is explained by running it many times more, and some wait for a server.
        phases=[phase for phase in Phase if phase is not Phase.explain],
    )
