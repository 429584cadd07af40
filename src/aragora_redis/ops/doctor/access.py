"""Logins, rights and certificates. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from ..access import Failure, Fault
from ..report import Status
from ..survey import UNEXPANDED, Survey
from .diagnosis import Diagnosis
from .roles import cli

DAY = 86_400
OPERATOR = "operator"
"""The user of deploy/redis for people, who may do everything."""
SOON, VERY_SOON = 30 * DAY, 7 * DAY
"""Seconds before a certificate's end from which it is said."""


def denied(survey: Survey) -> Iterator[Diagnosis]:
    """Servers that do not let us in."""
    for at, node in survey.nodes.items():
        if isinstance(node, Failure) and node.fault is Fault.DENIED:
            yield Diagnosis(
                name="passwords-differ" if survey.alive else "server-denied",
                status=Status.CRITICAL,
                subject=str(at),
                evidence=node.text + (", which others accept" if survey.alive else ""),
                consequence="after a failover to it no client gets in"
                if survey.alive
                else "this program does not get in, and no client with the same settings does",
                fix="give all servers one requirepass (or ACL file), and our settings the same"
                if survey.alive
                else "give this program the password that the server has (requirepass, or that of "
                "its user in the ACL file)",
            )


def variables(survey: Survey) -> Iterator[Diagnosis]:
    """Passwords that are the text of a variable."""
    for at, node in survey.alive.items():
        found = [name for name, value in node.config.items() if value == UNEXPANDED]
        found += [
            name for name, value in node.config.items() if "${" in value and name not in found
        ]
        for name in found:
            yield Diagnosis(
                name="unexpanded-variable",
                status=Status.CRITICAL,
                subject=str(at),
                evidence=f"has the text of a variable, ${{...}}, as {name}",
                consequence="its configuration file is not filled in: the password is known to "
                "whoever reads the template",
                fix="write the file with the values in it before the server starts, or use an "
                "ACL file",
            )


def open_doors(survey: Survey) -> Iterator[Diagnosis]:
    """Servers that ask nobody for a password."""
    for at, node in survey.alive.items():
        # What a provider has made so is not for us to mend.
        if node.open and "CONFIG" not in node.forbidden:
            yield Diagnosis(
                name="no-password",
                status=Status.WARNING,
                subject=str(at),
                evidence="lets anybody in as its default user",
                consequence="who reaches it can read, write and empty it",
                fix=f"{cli(at)} CONFIG SET masterauth PASSWORD && {cli(at)} CONFIG SET requirepass "
                "PASSWORD, and the same in its redis.conf",
            )


def rights(survey: Survey) -> Iterator[Diagnosis]:
    """A user of ours that may too little, or too much."""
    for at, node in survey.alive.items():
        if node.missing:
            yield Diagnosis(
                name="acl-too-narrow",
                status=Status.CRITICAL,
                subject=str(at),
                evidence=f"does not let {node.user} use {', '.join(node.missing)}",
                consequence="scripts that need it fail in the middle of a request",
                fix=f"{cli(at)} ACL SETUSER {node.user} "
                + " ".join(f"+{command}" for command in node.missing),
            )
        if node.excessive and node.user not in {"default", OPERATOR}:
            yield Diagnosis(
                name="acl-too-wide",
                status=Status.WARNING,
                subject=str(at),
                evidence=f"lets {node.user} use {', '.join(node.excessive)}",
                consequence="who gets hold of the service's password can empty or stop the server, "
                "or end the calls of others",
                fix=f"{cli(at)} ACL SETUSER {node.user} "
                + " ".join(f"-{command}" for command in node.excessive),
            )


def certificates(survey: Survey) -> Iterator[Diagnosis]:
    """Certificates that end soon. One that has ended lets nobody in, and is told as that."""
    for at, node in survey.alive.items():
        if node.certificate_ends is None:
            continue
        left = node.certificate_ends - survey.now
        if left < SOON:
            yield Diagnosis(
                name="certificate-ends",
                status=Status.CRITICAL if left < VERY_SOON else Status.WARNING,
                subject=str(at),
                evidence=f"has a certificate that ends in {left / DAY:.1f} days",
                consequence="from then on no client and no replica connects",
                fix="put a new one in its place, then on each: CONFIG SET tls-cert-file PATH",
            )


CHECKS = (denied, variables, open_doors, rights, certificates)
