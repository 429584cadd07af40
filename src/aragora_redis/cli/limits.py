"""`aragora-redis limits`."""

from __future__ import annotations

from typing import Annotated

import typer

from ..ops.desk import limits
from ..policies import load_policies
from ..rate_limit.policy import LimitPolicy
from . import output
from .deployment import OfLab, settings_of
from .desk import Actor, Reason, at_desk, signed
from .options import AsJson

app = typer.Typer(no_args_is_help=True, help="Look at rate limits, and reset a subject's.")

Policy = Annotated[str, typer.Argument(help="Name of the limit.", show_default=False)]
Subject = Annotated[
    str, typer.Argument(help="Whom it counts, such as ip:203.0.113.9.", show_default=False)
]

At = Annotated[
    str | None,
    typer.Option(help="Subject of the limit that this one is co-located with.", show_default=False),
]


@app.command("list")
def list_(*, lab: OfLab = None, as_json: AsJson = False) -> None:
    """Show the limits of the policies file."""
    settings = settings_of(lab)
    known = load_policies(settings.policies).limits.values()
    outage = "fail-open" if settings.fail_open else "fail-closed"
    if as_json:
        output.write_json([_row(policy, outage) for policy in known])
        return
    output.write_table(
        ("LIMIT", "RATE", "BURST", "ON OUTAGE"),
        [tuple(str(cell) for cell in _row(policy, outage).values()) for policy in known],
    )


@app.command()
def look(
    policy: Policy, subject: Subject, *, at: At = None, lab: OfLab = None, as_json: AsJson = False
) -> None:
    """Say what a check of a subject would meet now; takes nothing."""
    found = at_desk(settings_of(lab), lambda desk: limits.look(desk, policy, subject, at=at))
    if as_json:
        output.write_json(
            {
                "allowed": found.allowed,
                "limit": found.limit,
                "remaining": found.remaining,
                "retry_after": found.retry_after,
                "reset_after": found.reset_after,
            }
        )
        return
    said = f"{found.remaining} of {found.limit} left"
    if not found.allowed:
        said += f"; the next is allowed in {found.retry_after:.1f} s"
    if found.reset_after:
        said += f"; full in {found.reset_after:.1f} s"
    output.write(said)


@app.command()
def reset(
    policy: Policy,
    subject: Subject,
    *,
    reason: Reason,
    actor: Actor = None,
    at: At = None,
    lab: OfLab = None,
    as_json: AsJson = False,
) -> None:
    """Fill a subject's bucket again; instances that refuse it by themselves hear of it."""
    who = signed(actor, reason)
    taken = at_desk(
        settings_of(lab),
        lambda desk: limits.reset(desk, policy, subject, actor=who, reason=reason, at=at),
        acts=True,
    )
    if as_json:
        output.write_json({"reset": taken})
    else:
        output.write("filled" if taken else "nothing had been taken")


def _rate(policy: LimitPolicy) -> str:
    """The rate in the smallest unit in which it is one or more."""
    per_second = policy.count * 1e6 / policy.period_us
    for unit, seconds in (("second", 1), ("minute", 60), ("hour", 3600)):
        if per_second * seconds >= 1:
            return f"{per_second * seconds:g} per {unit}"
    return f"{per_second * 86_400:g} per day"


def _row(policy: LimitPolicy, outage: str) -> dict[str, str | int]:
    chosen = policy.on_outage.value if policy.on_outage is not None else outage
    return {
        "name": policy.name,
        "rate": _rate(policy),
        "burst": policy.burst,
        "on_outage": chosen,
    }
