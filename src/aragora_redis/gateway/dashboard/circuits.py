"""Circuits, as the fleet has them, with what forces them. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from ...state.circuits.status import CircuitStatus
from .markup import Child, Html, join, tag
from .sketch import Condition
from .topology import ask, condition_told
from .wording import NONE, clock_time, seconds

SHOWN = 24
"""Those that let nothing through come first; more are in `aragora-redis circuits`."""
_CONDITIONS: dict[str, Condition] = {
    "closed": "well",
    "open": "gone",
    "half-open": "troubled",
    "forced-open": "gone",
    "forced-closed": "troubled",
}
_FORCES = (("open", "Open …"), ("closed", "Close …"))


def circuits(found: Sequence[CircuitStatus] | None, *, may_act: bool) -> Html:
    """The section."""
    title = tag("h2", "Circuits", id="circuits-title")
    if not found:
        quiet = "No circuit is in use." if found is not None else "Not seen yet."
        return join((title, tag("p", quiet, class_="quiet")))
    ordered = sorted(found, key=lambda each: (each.state == "closed", each.name))
    heads = ("Circuit", "State", "Calls", "Failed", "Slow", *(("By hand",) if may_act else ()))
    more = len(ordered) - SHOWN
    return join(
        (
            title,
            tag(
                "table",
                tag("thead", tag("tr", [tag("th", head, scope="col") for head in heads])),
                tag("tbody", [_row(each, may_act=may_act) for each in ordered[:SHOWN]]),
                class_="circuits",
            ),
            tag("p", f"and {more} more that are closed", class_="quiet") if more > 0 else None,
        )
    )


def _row(each: CircuitStatus, *, may_act: bool) -> Html:
    return tag(
        "tr",
        tag("th", tag("b", each.name), scope="row"),
        tag("td", _state(each), _why(each), data_head="State"),
        tag("td", str(each.calls), data_head="Calls"),
        tag("td", f"{each.failure_rate:.0%}" if each.calls else NONE, data_head="Failed"),
        tag("td", f"{each.slow_rate:.0%}" if each.calls else NONE, data_head="Slow"),
        tag("td", tag("div", _levers(each), class_="lever-row")) if may_act else None,
    )


def _state(each: CircuitStatus) -> Html:
    return condition_told(_CONDITIONS[each.state], each.state)


def _why(each: CircuitStatus) -> Html | None:
    """Who has forced it, why and until when; or when it is tried again."""
    said: list[Child] = []
    if each.state.startswith("forced"):
        said.append(f"by {each.forced_by}" if each.forced_by else "by hand")
        if each.forced_at is not None:
            said += [" since ", clock_time(each.forced_at)]
        if each.forced_until is not None:
            said += [" until ", clock_time(each.forced_until)]
        if each.reason:
            said.append(f": {each.reason}")
    elif each.retry_after > 0:
        said.append(f"tried again in {seconds(each.retry_after)}")
    if each.source == "local":
        said.append(" (as known here)")
    return tag("small", said) if said else None


def _levers(each: CircuitStatus) -> list[Html]:
    name = each.name
    levers = [
        ask(f"circuit {state} {name}", label, f"circuit {name}")
        for state, label in _FORCES
        if each.state != f"forced-{state}"
    ]
    if each.state.startswith("forced"):
        levers.append(ask(f"circuit auto {name}", "Let go …", f"circuit {name}"))
    return levers
