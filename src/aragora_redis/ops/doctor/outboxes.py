"""Whether what is revoked would outlive all instances: their outboxes on disk. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ...settings import files
from ...settings.names import TOKENS_OUTBOX
from ...state.revocations.outbox_file import LIMIT, SUFFIX
from ..outbox_sight import OutboxFileSight, OutboxSight
from ..report import Status
from ..survey import Survey
from ..verdict import count_of
from .diagnosis import Diagnosis

ROOM = 2 * LIMIT
"""Bytes that a disk should have left: an outbox that is full, and the new one beside it."""
NO_ROOM = 1024 * 1024
_WITH_MACHINE = {"tmpfs", "ramfs"}
_WITH_CONTAINER = {"overlay", "aufs"}
_MEMORY_ALONE = "what is revoked is kept in memory alone: it ends with all instances and Redis"
_OF_DISK = {
    "full": "is full: its disk, or its 64 MiB",
    "error": "is refused by its disk",
    "hung": "waits for a disk that does not answer",
}


def place(survey: Survey) -> Iterator[Diagnosis]:
    """A directory that no instance can use."""
    sight = survey.outbox
    if sight is None:
        return
    if sight.missing is not None:
        no_parent = sight.missing != sight.path
        yield Diagnosis(
            name="outbox-missing",
            status=Status.CRITICAL if no_parent else Status.WARNING,
            subject=_subject(sight),
            evidence=f"cannot be made: there is no {sight.missing}"
            if no_parent
            else "is not there, so no instance has used it on this machine",
            consequence=f"an instance with this {TOKENS_OUTBOX} does not start"
            if no_parent
            else _MEMORY_ALONE,
            fix=f"install -d -m 700 -o USER {sight.path}, where USER runs the service, and start "
            "it with the same variable",
        )
    elif sight.fault is not None:
        yield Diagnosis(
            name="outbox-unsafe",
            # We may be another than who runs the service.
            status=Status.WARNING if sight.fault == files.OF_ANOTHER else Status.CRITICAL,
            subject=_subject(sight),
            evidence=f"is used by no instance of this user: {sight.fault} (user id {sight.owner})",
            consequence="an instance with it does not start; one that runs keeps what is revoked "
            "in memory alone",
            fix=_mended(sight),
        )
    elif sight.unseen is not None:
        yield Diagnosis(
            name="outbox-unreadable",
            status=Status.WARNING,
            subject=_subject(sight),
            evidence=f"cannot be looked into: {sight.unseen}",
            consequence="an instance that cannot either keeps what is revoked in memory alone",
            fix="look as its owner or root; else see its disk in the system's log (dmesg)",
        )


def disk(survey: Survey) -> Iterator[Diagnosis]:
    """A disk that forgets, or has no room."""
    sight = survey.outbox
    if sight is None:
        return
    if sight.kind in _WITH_MACHINE | _WITH_CONTAINER:
        machine = sight.kind in _WITH_MACHINE
        yield Diagnosis(
            name="outbox-not-kept",
            status=Status.WARNING,
            subject=_subject(sight),
            evidence=f"is on {sight.kind}, "
            + ("which is memory" if machine else "the container's own layer"),
            consequence="it is lost when the machine restarts"
            if machine
            else "it is lost with the container, at the next deployment at the latest",
            fix=f"name a directory on a disk in {TOKENS_OUTBOX}"
            if machine
            else f"mount a volume there: deploy/ has one, at the parent of {TOKENS_OUTBOX}",
        )
    if sight.read_only or (sight.free is not None and sight.free < ROOM):
        none = sight.read_only or sight.free is None or sight.free < NO_ROOM
        yield Diagnosis(
            name="outbox-disk-full" if none else "outbox-disk-nearly-full",
            status=Status.CRITICAL if none else Status.WARNING,
            subject=_subject(sight),
            evidence="is on a file system that is mounted read-only"
            if sight.read_only
            else f"is on a disk with {_mib(sight.free or 0)} left",
            consequence=_MEMORY_ALONE
            if none
            else "a full outbox takes 64 MiB, and as much again while it is made anew; beyond "
            "that revocations are kept in memory alone",
            fix="see why (dmesg), and remount it read-write"
            if sight.read_only
            else f"free {_mib(ROOM)}: du -xh -d 2 $(stat -c %m {sight.path.parent}) | sort -h",
        )


def left(survey: Survey) -> Iterator[Diagnosis]:
    """Files of instances that have ended, and that nobody takes over."""
    sight = survey.outbox
    if sight is None:
        return
    dead = [each for each in sight.files if not (each.locked or each.boot in survey.boots)]
    strange = [each for each in dead if each.strange is not None]
    for each in strange:
        at = sight.path / f"{each.boot}{SUFFIX}"
        yield Diagnosis(
            name="outbox-file-left-alone",
            status=Status.WARNING,
            subject=str(at),
            evidence=f"({each.size} bytes) is adopted by nobody: {each.strange}",
            consequence="what its instance revoked, and Redis has lost, is accepted again",
            fix=f"if it is ours: chown --reference={sight.path} {at} && chmod 600 {at}; of another "
            "digest key, prefix or format: start an instance that has it here; else remove it",
        )
    ours = [each for each in dead if each.strange is None]
    # Whoever lives here adopts them within a minute.
    if ours and len(dead) == len(sight.files):
        yield Diagnosis(
            name="outbox-orphaned",
            status=Status.WARNING,
            subject=_subject(sight),
            evidence=f"has {count_of(len(ours), 'file')} ({_sum(ours)} bytes) of instances that "
            "ended, and nobody is seen who uses it",
            consequence="what they revoked, and Redis has lost, is accepted until somebody does",
            fix=f"start an instance with {TOKENS_OUTBOX}={sight.path} as its owner (user id "
            f"{sight.owner})",
        )


def instances(survey: Survey) -> Iterator[Diagnosis]:
    """Instances that say that their outbox does not do its part."""
    for row in survey.instances:
        if row.outbox == "unread":
            yield Diagnosis(
                name="outbox-unread",
                status=Status.WARNING,
                subject=f"instance {row.name}",
                evidence="cannot take over files that instances which ended left in its outbox",
                consequence="what they revoked, and Redis has lost, is accepted again",
                fix="its log and its /v1/status say which, and why (troubles.outbox)",
            )
        elif row.outbox in _OF_DISK:
            yield Diagnosis(
                name="outbox-in-trouble",
                status=Status.WARNING,
                subject=f"instance {row.name}",
                evidence=f"has an outbox that {_OF_DISK[row.outbox]}",
                consequence=_MEMORY_ALONE,
                fix="its log and its /v1/status say why (troubles.outbox); leave it running until "
                "that is mended",
            )


def notes(survey: Survey) -> Iterator[str]:
    """Who in a fleet with revoked tokens would not remember them."""
    rows = survey.instances
    bare = [row for row in rows if row.outbox == "none"]
    if len(rows) > 1 and bare and any(row.tokens for row in rows):
        who = "none" if len(bare) == len(rows) else f"not {', '.join(row.name for row in bare)}"
        yield (
            f"of {len(rows)} instances {who} keeps on disk what it revokes ({TOKENS_OUTBOX}): "
            "that is lost if they and Redis are lost at once"
        )


CHECKS = (place, disk, left, instances)


def _subject(sight: OutboxSight) -> str:
    return f"the outbox {sight.path}"


def _mended(sight: OutboxSight) -> str:
    match sight.fault:
        case files.IS_LINK:
            return f"{TOKENS_OUTBOX}=$(realpath {sight.path})"
        case files.NO_DIRECTORY:
            return f"mv {sight.path} {sight.path}.old"
        case files.OF_ANOTHER:
            return (
                f"if user id {sight.owner} runs the service, look as that one: sudo -u "
                f"'#{sight.owner}' --preserve-env aragora-redis doctor; else chown -R USER "
                f"{sight.path}, where USER runs it"
            )
    return f"chmod 700 {sight.path}"


def _sum(files: Iterable[OutboxFileSight]) -> int:
    return sum(each.size for each in files)


def _mib(size: int) -> str:
    return f"{size / 1024 / 1024:.0f} MiB"
