"""A shared state without servers, by the same rules: those of the scripts' models."""

from __future__ import annotations

from ..clock import SYSTEM_CLOCK, Clock
from ..policies import Policies, load_policies, parse_policies
from ..settings import Settings
from ..state.shared import SharedState


def memory_state(
    policies: str | None = None, *, clock: Clock = SYSTEM_CLOCK, settings: Settings | None = None
) -> SharedState:
    """A state that lives in this process and is ready at once.

    Args:
        policies: the text of a policies file; the packaged defaults without it.
        clock: such as a `FakeClock`.
        settings: of mode `embedded`; for `fail_open`, JWT keys and the like.

    Raises:
        SettingsError: the policies are wrong.
    """
    state = SharedState(settings or Settings(), policies=policies_of(policies), clock=clock)
    state.life.begin()
    return state


def policies_of(text: str | None) -> Policies:
    """The policies of a file with that text; the packaged defaults without one.

    Raises:
        SettingsError: they are wrong.
    """
    return load_policies(None) if text is None else parse_policies(text, source="policies")
