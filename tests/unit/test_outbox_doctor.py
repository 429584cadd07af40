"""What `doctor` says of the outbox: of its directory here, and by what instances tell."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from tests.unit.test_outbox import TODAY, entry

from aragora_redis.address import Address
from aragora_redis.ops.doctor import examine
from aragora_redis.ops.outbox_look import look
from aragora_redis.ops.outbox_sight import OutboxFileSight, OutboxSight
from aragora_redis.ops.report import Status
from aragora_redis.ops.survey import NodeSurvey, Survey, read_instance, readable
from aragora_redis.settings import files
from aragora_redis.state.revocations.outbox_file import OutboxFile
from aragora_redis.tokens.lines import sealed

PRIMARY = Address("10.0.0.1", 6379)
PATH = Path("/var/lib/aragora-redis/outbox")
MIB = 1024 * 1024


def seen(sight=None, **rows):
    beating = frozenset(rows)
    node = NodeSurvey(role="master", source=None, info={}, config={}, rows=rows, beating=beating)
    return Survey(
        master_name=None, sentinels={}, nodes={PRIMARY: node}, now=time.time(), outbox=sight
    )


def row(name, outbox="ok", tokens=3):
    return f"eras policies 0.1 1 0 f1f1 {outbox} {tokens} {name}"


def kept(boot, *, locked=False, strange=None):
    return OutboxFileSight(boot=boot, size=100, locked=locked, strange=strange)


def sight(**facts):
    well = OutboxSight(path=PATH, owner=10001, kind="ext4", free=500 * MIB)
    return replace(well, **facts)


def found(survey):
    return {each.name: each for each in examine(survey).diagnoses if "outbox" in each.name}


W, C = Status.WARNING, Status.CRITICAL
CASES = {
    "well": (sight(files=(kept("a", locked=True),)), {}),
    "no directory": (
        sight(missing=PATH),
        {"outbox-missing": (W, f"install -d -m 700 -o USER {PATH}")},
    ),
    "no parent": (sight(missing=PATH.parent), {"outbox-missing": (C, "install -d")}),
    "a link": (sight(fault=files.IS_LINK), {"outbox-unsafe": (C, f"$(realpath {PATH})")}),
    "a file": (sight(fault=files.NO_DIRECTORY), {"outbox-unsafe": (C, f"mv {PATH}")}),
    "another's": (sight(fault=files.OF_ANOTHER), {"outbox-unsafe": (W, "sudo -u '#10001'")}),
    "open": (sight(fault=files.IS_OPEN), {"outbox-unsafe": (C, f"chmod 700 {PATH}")}),
    "a disk that hangs": (sight(unseen="no answer"), {"outbox-unreadable": (W, "dmesg")}),
    "memory": (sight(kind="tmpfs"), {"outbox-not-kept": (W, "on a disk")}),
    "the container's own": (sight(kind="overlay"), {"outbox-not-kept": (W, "mount a volume")}),
    "little room": (sight(free=100 * MIB), {"outbox-disk-nearly-full": (W, "free 128 MiB")}),
    "no room": (sight(free=0), {"outbox-disk-full": (C, "free 128 MiB")}),
    "read-only": (sight(read_only=True), {"outbox-disk-full": (C, "read-write")}),
    "a file of one that lives, by presence": (sight(files=(kept("alive"),)), {}),
    "a file that is adopted within a minute": (sight(files=(kept("alive"), kept("b"))), {}),
    "files that nobody is there to adopt": (
        sight(files=(kept("b"), kept("c"))),
        {"outbox-orphaned": (W, "start an instance with ARAGORA_TOKENS_OUTBOX=")},
    ),
    "a file that nobody would adopt": (
        sight(files=(kept("alive"), kept("b", strange="it is of another digest key or prefix"))),
        {"outbox-file-left-alone": (W, "digest key")},
    ),
}


@pytest.mark.parametrize(("told", "expected"), CASES.values(), ids=CASES)
def test_what_is_said_of_a_directory(told, expected):
    said = found(seen(told, alive=row("one")))
    assert {name: each.status for name, each in said.items()} == {
        name: status for name, (status, _) in expected.items()
    }
    for name, (_, fix) in expected.items():
        assert fix in said[name].fix


@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("ok", None),
        ("none", None),
        ("full", "outbox-in-trouble"),
        ("error", "outbox-in-trouble"),
        ("hung", "outbox-in-trouble"),
        ("unread", "outbox-unread"),
    ],
)
def test_what_instances_tell_of_theirs(word, name):
    said = found(seen(a=row("one"), b=row("the other", word)))
    assert list(said) == ([name] if name else [])
    assert not name or said[name].subject == "instance the other"
    instance = read_instance(row("the other", word))
    assert instance is not None
    assert instance.outbox == word


def test_who_keeps_nothing_on_disk_is_a_note_and_no_fault():
    nothing = examine(seen(a=row("one", "none"), b=row("two", "none", 0)))
    (note,) = nothing.notes
    assert "of 2 instances none keeps on disk" in note
    assert (nothing.diagnoses, nothing.exit_code) == ((), 0)
    (note,) = examine(seen(a=row("one", "none"), b=row("two"))).notes
    assert "of 2 instances not one keeps" in note
    assert not examine(seen(a=row("one", "none"))).notes, "it is alone"
    assert not examine(seen(a=row("one", "none", 0), b=row("two", "none", 0))).notes
    assert not examine(seen(a=row("one"), b=row("two"))).notes


def looked(path, fingerprint="aa"):
    return look(path, fingerprint=fingerprint, prefix="p", deadline=5)


def file(directory, boot):
    made = OutboxFile(directory, boot, fingerprint="aa", prefix="p", today=lambda: TODAY)
    made.append([entry(1)])
    return made


def test_a_look_sees_who_lives_and_what_nobody_adopts_and_takes_no_lock(tmp_path):
    directory = tmp_path / "outbox"
    assert looked(tmp_path / "no" / "outbox").missing == tmp_path / "no"
    assert looked(directory).missing == directory
    living, dead = file(directory, "living"), file(directory, "dead")
    dead.close()
    (directory / "open.outbox").touch(0o644)
    (directory / "link.outbox").symlink_to("/etc/passwd")
    os.mkfifo(directory / "fifo.outbox", 0o600)
    shown = looked(directory)
    assert (shown.fault, shown.unseen, shown.owner) == (None, None, os.geteuid())
    assert shown.kind
    assert shown.free
    files_ = {each.boot: (each.locked, each.strange) for each in shown.files}
    assert files_ == {
        "dead": (False, None),
        "fifo": (False, "it is no plain file"),
        "link": (False, "it is no plain file"),
        "living": (True, None),
        "open": (False, "others may read or write it"),
    }
    of_another = {each.boot: each.strange for each in looked(directory, "bb").files}
    assert of_another["dead"] == "it is of another digest key or prefix"
    old = directory / "old.outbox"
    old.write_bytes(sealed({"outbox": 1, "key": "aa", "prefix": "p"}))
    old.chmod(0o600)
    strange = {each.boot: each.strange for each in looked(directory).files}
    assert strange["old"] == "its format is not 2"
    heir = OutboxFile(directory, "heir", fingerprint="aa", prefix="p", today=lambda: TODAY)
    assert heir.adopt().files == 1
    heir.close()
    living.close()
    directory.chmod(0o750)
    assert looked(directory).fault == files.IS_OPEN
    (tmp_path / "link").symlink_to(directory)
    assert looked(tmp_path / "link").fault == files.IS_LINK
    (tmp_path / "file").touch()
    assert looked(tmp_path / "file").fault == files.NO_DIRECTORY
    assert looked(tmp_path / "file" / "outbox").missing == tmp_path / "file"


MEMORY = Path("/dev/shm")  # noqa: S108 - to be looked at


@pytest.mark.skipif(not MEMORY.is_mount(), reason="no memory is mounted here")
def test_memory_is_told_from_a_disk():
    assert looked(MEMORY / "no-outbox-here").kind == "tmpfs"


def test_a_disk_that_hangs_does_not_hold_up_the_rest(monkeypatch):
    answers = threading.Event()
    monkeypatch.setattr(
        "aragora_redis.ops.outbox_look._look", lambda *_: answers.wait(20) and sight()
    )
    began = time.monotonic()
    shown = look(PATH, fingerprint="aa", prefix="p", deadline=0.1)
    assert time.monotonic() - began < 5
    assert shown.unseen == "the disk does not answer within 0.1 s"
    answers.set()


def test_nobody_forges_a_finding_or_what_is_copied_by_a_boot_id():
    boot = readable(b'x"\nCRITICAL \\"$(id)`id`\xff\x1b' + "é\u202e".encode())
    told = r"x\"\x0aCRITICAL \\\"\x24(id)\x60id\x60\xff\x1bé\xe2\x80\xae"
    (garbled,) = examine(seen(**{boot: "no row"})).diagnoses
    assert garbled.fix.endswith(f'HDEL PREFIX:p:{{presence}}:rows "{told}"')
    assert garbled.subject == f'the row "{told}" of the presence'
