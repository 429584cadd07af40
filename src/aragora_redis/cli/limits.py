"""`aragora-redis limits`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from ..ops.desk import Desk, limits
from ..policies import load_policies
from ..rate_limit.policy import LimitPolicy, Rate
from ..rate_limit.reservation import TTL
from ..settings import Feature
from ..settings.values import duration
from . import output
from .deployment import OfLab, settings_of
from .desk import Actor, Limit, Reason, at_desk, signed, when
from .options import AsJson

app = typer.Typer(
    no_args_is_help=True, help="Look at rate limits; reset a subject's, set it, or reserve."
)

Policy = Annotated[str, typer.Argument(help="Name of the limit.", show_default=False)]
Subject = Annotated[
    str, typer.Argument(help="Whom it counts, such as ip:203.0.113.9.", show_default=False)
]

Reservation = Annotated[str, typer.Argument(help="Its id, as it was given.", show_default=False)]
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
        ("LIMIT", "RATE", "BURST", "ON OUTAGE", "SHADOW", "LEASE"),
        [tuple(_cell(value) for value in _row(policy, outage).values()) for policy in known],
    )


@app.command()
def own(policy: Policy, *, limit: Limit = 50, lab: OfLab = None, as_json: AsJson = False) -> None:
    """Show the subjects that have a limit of their own: digests of them, ids are not stored."""
    found = at_desk(
        settings_of(lab), Feature.LIMITS, lambda desk: limits.own_limits(desk, policy, limit)
    )
    if as_json:
        output.write_json([each.as_dict() for each in found])
        return
    output.write_table(
        ("DIGEST", "AT", "RATE", "BURST", "SINCE", "UNTIL", "ACTOR"),
        [
            (
                each.digest,
                each.at or "",
                each.policy.rate,
                str(each.policy.burst),
                when(each.since) if each.since else "",
                when(each.until) if each.until else "for good",
                each.actor or "",
            )
            for each in found
        ],
    )


@app.command()
def look(
    policy: Policy, subject: Subject, *, at: At = None, lab: OfLab = None, as_json: AsJson = False
) -> None:
    """Say what a check of a subject would meet now; takes nothing."""
    looked = at_desk(
        settings_of(lab), Feature.LIMITS, lambda desk: limits.look(desk, policy, subject, at=at)
    )
    found = looked.decision
    if as_json:
        output.write_json(
            {
                "allowed": found.allowed,
                "limit": found.limit,
                "remaining": found.remaining,
                "retry_after": found.retry_after,
                "reset_after": found.reset_after,
                "rate": looked.policy.rate,
                "own": looked.until is not None,
                "until": looked.until or None,
                "digest": looked.digest,
            }
        )
        return
    said = f"{found.remaining} of {found.limit} left"
    if not found.allowed:
        said += f"; the next is allowed in {found.retry_after:.1f} s"
    if found.reset_after:
        said += f"; full in {found.reset_after:.1f} s"
    if looked.until is not None:
        said += f"; its own limit of {looked.policy.rate}"
        said += f" until {when(looked.until)}" if looked.until else ""
        said += f", listed as {looked.digest}"
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
        Feature.LIMITS,
        lambda desk: limits.reset(desk, policy, subject, actor=who, reason=reason, at=at),
        acts=True,
    )
    if as_json:
        output.write_json({"reset": taken})
    else:
        output.write("filled" if taken else "nothing had been taken")


@app.command("set")
def set_(
    policy: Policy,
    subject: Subject,
    rate: Annotated[str, typer.Argument(help='Such as "500/second".', show_default=False)],
    *,
    reason: Reason,
    burst: Annotated[
        int | None, typer.Option(min=1, help="Tokens at most.", show_default=False)
    ] = None,
    ttl: Annotated[
        str | None,
        typer.Option("--for", help='How long, such as "1 hour".', show_default="for good"),
    ] = None,
    actor: Actor = None,
    at: At = None,
    lab: OfLab = None,
    as_json: AsJson = False,
) -> None:
    """Give one subject a limit of its own; all instances go by it at once."""
    who, own, seconds = signed(actor, reason), Rate(rate, burst), _seconds(ttl)
    had = at_desk(
        settings_of(lab),
        Feature.LIMITS,
        lambda desk: limits.set_limit(
            desk, policy, subject, own, ttl=seconds, actor=who, reason=reason, at=at
        ),
        acts=True,
    )
    if as_json:
        output.write_json({"had": had})
    else:
        output.write(f"its own limit is {own}" + (f", for {ttl}" if ttl else ""))


@app.command()
def unset(
    policy: Policy,
    subject: Annotated[
        str | None, typer.Argument(help="Whom it counts, or --digest.", show_default=False)
    ] = None,
    *,
    reason: Reason,
    digest: Annotated[
        str | None,
        typer.Option(help="What `limits own` shows of it, and in --at what it shows there."),
    ] = None,
    actor: Actor = None,
    at: At = None,
    lab: OfLab = None,
    as_json: AsJson = False,
) -> None:
    """Let the policy's limit hold for a subject again."""
    if (subject is None) is (digest is None):
        raise typer.BadParameter("name the subject, or give its --digest")
    who = signed(actor, reason)

    async def work(desk: Desk) -> bool:
        if digest is not None:
            return await limits.unset_listed(desk, policy, digest, actor=who, reason=reason, at=at)
        return await limits.set_limit(
            desk, policy, subject or "", None, ttl=None, actor=who, reason=reason, at=at
        )

    had = at_desk(settings_of(lab), Feature.LIMITS, work, acts=True)
    if as_json:
        output.write_json({"had": had})
    else:
        output.write("the policy's limit holds" if had else "it had no limit of its own")


@app.command()
def reserve(
    policy: Policy,
    subject: Subject,
    estimate: Annotated[int, typer.Argument(min=1, help="Tokens.", show_default=False)],
    *,
    reason: Reason,
    ttl: Annotated[
        str, typer.Option("--for", help='When they come back unsettled, such as "5 minutes".')
    ] = "1 minute",
    actor: Actor = None,
    at: At = None,
    lab: OfLab = None,
    as_json: AsJson = False,
) -> None:
    """Take tokens until they are settled, or come back. The exit code is 1 if they are refused."""
    who, seconds = signed(actor, reason), _seconds(ttl) or TTL
    decision, made = at_desk(
        settings_of(lab),
        Feature.LIMITS,
        lambda desk: limits.reserve(
            desk, policy, subject, estimate, ttl=seconds, actor=who, reason=reason, at=at
        ),
        acts=True,
    )
    if as_json:
        output.write_json(
            {
                "allowed": decision.allowed,
                "remaining": decision.remaining,
                "retry_after": decision.retry_after,
                "reservation": made or None,
            }
        )
    elif made:
        output.write(made)
        output.note(f"{estimate} reserved for {ttl}, {decision.remaining} left")
    else:
        output.write(f"refused: they are there in {decision.retry_after:.1f} s", style="yellow")
    raise typer.Exit(0 if made else 1)


@app.command()
def settle(
    reservation: Reservation,
    used: Annotated[int, typer.Argument(min=0, help="Tokens.", show_default=False)],
    *,
    reason: Reason,
    actor: Actor = None,
    lab: OfLab = None,
    as_json: AsJson = False,
) -> None:
    """End a reservation with what was really used; whoever comes first counts."""
    _settle(reservation, used, signed(actor, reason), reason, lab, as_json=as_json)


@app.command()
def refund(
    reservation: Reservation,
    *,
    reason: Reason,
    actor: Actor = None,
    lab: OfLab = None,
    as_json: AsJson = False,
) -> None:
    """Give a reservation back whole; whoever comes first counts."""
    _settle(reservation, 0, signed(actor, reason), reason, lab, as_json=as_json)


def _settle(
    reservation: str, used: int, who: str, reason: str, lab: OfLab, *, as_json: bool
) -> None:
    done = at_desk(
        settings_of(lab),
        Feature.LIMITS,
        lambda desk: limits.settle(desk, reservation, used, actor=who, reason=reason),
        acts=True,
    )
    if as_json:
        output.write_json(asdict(done))
        return
    said = f"it was {done.found.value}: {done.cost} used, {done.returned} came back"
    if done.charged:
        said += f", {done.charged} charged"
    if done.overrun:
        said += f", {done.overrun} could not be paid"
    output.write(said)


def _seconds(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        seconds = duration(text)
    except ValueError:
        seconds = 0.0
    if not seconds:
        raise typer.BadParameter(f'{text!r} is no duration: write it like "1 hour"')
    return seconds


def _row(policy: LimitPolicy, outage: str) -> dict[str, str | int | bool]:
    chosen = policy.on_outage.value if policy.on_outage is not None else outage
    return {
        "name": policy.name,
        "rate": policy.rate,
        "burst": policy.burst,
        "on_outage": chosen,
        "shadow": policy.shadow,
        "lease": policy.lease,
    }


def _cell(value: object) -> str:
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)
