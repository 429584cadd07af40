"""A node of a cluster goes on where another, or its own server, does not answer.

redis-cli is a stand-in that says what a test has it say.
"""

from __future__ import annotations

import os
import subprocess

import pytest
from tests.artefacts.files import DEPLOY
from tests.integration.pods import until

ME, OTHER, THIRD = (str(number) * 40 for number in (1, 2, 3))
OPERATOR = '*"--user operator"*'


class Node:
    """One whose programs are run, in a directory of its own."""

    def __init__(self, root):
        self.root = root
        self.programs = root / "programs"
        for folder in (self.programs, root / "secrets", root / "data"):
            folder.mkdir()
        for name in ("internal-password", "operator-password"):
            (root / "secrets" / name).write_text("a secret")
        # Pauses are not what is tested.
        self._put("sleep", "exec /bin/sleep 0.01")

    def _put(self, name, body):
        (self.programs / name).write_text(f"#!/bin/sh\n{body}\n")
        (self.programs / name).chmod(0o755)

    def answers(self, *cases):
        """What redis-cli does: patterns of its arguments, each with commands; the first counts."""
        lines = "\n".join(f"{pattern}) {commands} ;;" for pattern, commands in cases)
        self._put("redis-cli", f'cd "{self.root}"\ncase "$*" in\n{lines}\nesac')

    def start(self, program, *words):
        return subprocess.Popen(
            ["sh", DEPLOY / "redis" / program, *words],
            env={
                "PATH": os.pathsep.join((str(self.programs), os.environ["PATH"])),
                "PEERS": "redis-0 redis-1",
                "NODE": "redis-0",
                "DATA": str(self.root / "data"),
                "SECRETS": str(self.root / "secrets"),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, program):
        """What it says, and its exit code."""
        process = self.start(program)
        said, _ = process.communicate(timeout=20)
        return said, process.returncode


@pytest.fixture
def node(tmp_path):
    return Node(tmp_path)


def nodes(*replicas, speaker=ME):
    """What CLUSTER NODES prints: a primary of all slots, and who follows it."""
    rows = [(ME, "master", "-", " 0-16383"), *((each, "slave", ME, "") for each in replicas)]
    return "\n".join(
        f"{who} 10.0.0.{who[0]}:6379@16379,redis-{int(who[0]) - 1} "
        f"{'myself,' * (who == speaker)}{role} {primary} 0 0 1 connected{slots}"
        for who, role, primary, slots in rows
    )


def says(text):
    return f"printf '%s\\n' '{text}'"


def test_replicas_are_let_in_by_another_look_where_the_first_is_answered_late(node):
    late = "cat >/dev/null; if mkdir late 2>/dev/null; then exit 124; fi; echo OK"
    node.answers(
        (OPERATOR, late),
        ('*"-h redis-1 "*"CLUSTER NODES"', says(nodes(OTHER, speaker=OTHER))),
        ('*"CLUSTER NODES"', says(nodes(OTHER))),
    )
    opened = node.root / "data" / "open"
    with subprocess.Popen(["/bin/sleep", "20"]) as server:
        joiner = node.start("cluster-join.sh", str(server.pid))
        until(lambda: opened.exists() or joiner.poll() is not None)
        server.kill()
    said, _ = joiner.communicate(timeout=10)
    assert (opened.exists(), joiner.returncode) == (True, 0), said
    assert (node.root / "late").exists()


def test_another_replica_takes_over_where_the_first_cannot_be_reached(node):
    node.answers(
        ('*" ROLE"', "[ -e handed ] && echo slave || echo master"),
        ('*"CLUSTER NODES"', says(nodes(OTHER, THIRD))),
        ('*" FAILOVER"', "mkdir refused 2>/dev/null && exit 1; touch handed; echo OK"),
    )
    said, code = node.run("cluster-handover.sh")
    assert ("handed over to 10.0.0." in said, code) == (True, 0), said
    assert (node.root / "refused").exists()


def test_a_handover_says_who_did_not_answer(node):
    node.answers(
        ('*" ROLE"', "echo master"),
        (
            '*"CLUSTER NODES"',
            f"if [ -e asked ]; then {says(nodes())}; else {says(nodes(OTHER))}; fi",
        ),
        ('*" FAILOVER"', "touch asked; exit 124"),
    )
    said, code = node.run("cluster-handover.sh")
    assert ("not handed over: 10.0.0.2 6379 does not answer" in said, code) == (True, 0), said
