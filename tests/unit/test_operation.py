"""What an operation shows of itself."""

from __future__ import annotations

import pytest
from rich.pretty import pretty_repr

from aragora_redis.operation import Kind, Operation


@pytest.mark.parametrize("shown", [repr, pretty_repr], ids=["repr", "rich"])
def test_arguments_are_shown_to_nobody(shown):
    """They may be what a session holds, or a password."""
    operation = Operation(
        kind=Kind.READ, keys=(b"{t0}:k",), args=("hunter2",), shared=("x",), read=lambda r: r
    )
    assert "hunter2" not in shown(operation)
    assert "{t0}:k" in shown(operation)
