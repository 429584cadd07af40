"""Plays docs/RUNBOOK.md on real servers, and writes what they answer into it.

    python -m tests.integration.runbook --write [HEADING]

A block of the language `console` holds commands after `$` and their output; one of `sh` is for
reading only. What is not shown to readers stands in comments: `<!-- $ COMMAND -->` runs,
`<!-- start: COMMAND -->` runs beside the others until the section is over, and
`<!-- until TEXT: COMMAND -->` waits until a command prints the text. The page has addresses of its
own, which are put in the place of the lab's. A section with the comment `<!-- on a cluster -->` is
played on a Redis Cluster, the others with Sentinels.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.integration.past import give_past
from tests.ports import free_port

from aragora_redis.lab import Lab
from aragora_redis.lab.server import find_server

PAGE = Path(__file__).parents[2] / "docs" / "RUNBOOK.md"
BIN = Path(sys.executable).parent
WAIT = 60.0
_LIMIT = 60.0
_LOOKS = tuple(f"aragora-redis {name}" for name in ("health", "status", "doctor"))
_ASSIGNED = re.compile(r"(?:\w+=(?:\$\([^)]*\)|\S*)\s+)*")
"""What a command is given in front."""
_CLUSTER = "<!-- on a cluster -->"
_SERVERS = {
    "sentinel": (("redis", 3, 10, 6379), ("sentinel", 3, 20, 26379)),
    "cluster": (("redis", 6, 30, 6379),),
}
"""By mode: the kinds of servers, how many, and where the page has them."""
_VOLATILE = re.compile(r"\b[0-9a-f]{16}\b|\d+(?:\.\d+)?")


@dataclass(frozen=True)
class Step:
    """One command of the page: shown with its output, hidden, or waited for."""

    command: str
    shown: tuple[int, int] | None = None
    """First and last line of the output on the page; the last is not part of it."""
    until: str | None = None
    beside: bool = False


def sections(text: str) -> dict[str, list[Step]]:
    """The steps under each heading of the second level."""
    found: dict[str, list[Step]] = {}
    lines = text.split("\n")
    heading, fence = "", ""
    number = 0
    while number < len(lines):
        line = lines[number]
        if line.startswith("```"):
            fence = "" if fence else line[3:] or "text"
        elif not fence and line.startswith("## "):
            heading = line[3:]
            found[heading] = []
        elif not fence and (hidden := re.fullmatch(r"<!-- \$ (.*) -->", line)):
            found[heading].append(Step(hidden[1]))
        elif not fence and (wait := re.fullmatch(r"<!-- until (.*?): (.*) -->", line)):
            found[heading].append(Step(wait[2], until=wait[1]))
        elif not fence and (beside := re.fullmatch(r"<!-- start: (.*) -->", line)):
            found[heading].append(Step(beside[1], beside=True))
        elif fence == "console" and line.startswith("$ "):
            command, number = _continued(lines, number)
            first = number + 1
            while not lines[number + 1].startswith(("$ ", "```")):
                number += 1
            found[heading].append(Step(command, shown=(first, number + 1)))
        number += 1
    return {name: steps for name, steps in found.items() if steps}


def modes(text: str) -> dict[str, str]:
    """The mode of the lab that each section is played on."""
    parts = (part.partition("\n") for part in text.split("\n## ")[1:])
    return {name: "cluster" if _CLUSTER in body else "sentinel" for name, _, body in parts}


def _continued(lines: list[str], number: int) -> tuple[str, int]:
    parts = [lines[number][2:]]
    while parts[-1].endswith("\\"):
        number += 1
        parts.append(lines[number])
    return "\n".join(parts), number


class Stage:
    """A lab, and the names under which the page knows its servers."""

    def __init__(self, lab: Lab, directory: Path, path: str) -> None:
        self.lab = lab
        self._directory = directory
        self._beside: list[subprocess.Popen[bytes]] = []
        self._names: list[tuple[str, str]] = []
        for kind, count, first, port in _SERVERS[lab.status().mode]:
            for ordinal in range(count):
                address = lab.node(f"{kind}-{ordinal}").address
                self._names.append((str(address), f"10.0.0.{first + ordinal}:{port}"))
        # A page may start a server by itself: the one that the lab has.
        programs = directory / "programs"
        programs.mkdir()
        (programs / "redis-server").symlink_to(find_server().path)
        self.env = {
            "PATH": os.pathsep.join((str(programs), path)),
            "LAB": str(lab.directory),
            "DATA": str(lab.node("redis-0").directory),
            "PORT": str(free_port()),
            "REDISCLI_AUTH": lab.credentials.redis_password,
            "SENTINEL_PASSWORD": lab.credentials.sentinel_password,
            "NO_COLOR": "1",
            **lab.env(),
        }
        if server := os.environ.get("ARAGORA_REDIS_SERVER"):
            self.env["ARAGORA_REDIS_SERVER"] = server

    def run(self, command: str) -> str:
        """Run a command of the page; its output in the page's words."""
        for ours, page in self._names:
            host, _, port = ours.rpartition(":")
            page_host, _, page_port = page.rpartition(":")
            command = re.sub(
                rf"\b{re.escape(page_host)}(:| -p | ){page_port}\b", rf"{host}\g<1>{port}", command
            )
        # What sh keeps between commands is kept by running it from the same directory.
        done = subprocess.run(
            ["sh", "-c", command],
            env=self.env,
            cwd=self._directory,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_LIMIT,
            check=False,
        )
        return self._told(done.stdout).rstrip("\n")

    def start(self, command: str) -> None:
        """Run a command beside the others."""
        with (self._directory / "beside.log").open("ab") as log:
            self._beside.append(
                subprocess.Popen(
                    ["sh", "-c", f"exec {command}"],
                    env=self.env,
                    cwd=self._directory,
                    stdout=log,
                    stderr=log,
                )
            )

    def end(self) -> None:
        """End what runs beside."""
        for process in self._beside:
            process.terminate()
            process.wait(10)

    def wait(self, step: Step) -> None:
        """Run a command until it prints what is waited for."""
        end = time.monotonic() + WAIT
        while (step.until or "") not in (said := self.run(step.command)):
            assert time.monotonic() < end, f"{step.command!r} never said {step.until!r}: {said}"
            time.sleep(0.2)

    def _told(self, output: str) -> str:
        for ours, page in self._names:
            host, _, port = ours.rpartition(":")
            page_host, _, page_port = page.rpartition(":")
            output = re.sub(
                rf"{re.escape(host)}(:| -p | ){port}\b", rf"{page_host}\g<1>{page_port}", output
            )
        for name, value in self.env.items():
            if "PASSWORD" in name or name in ("REDISCLI_AUTH", "LAB"):
                output = output.replace(value, f"${name}")
        return output


def looks(step: Step) -> bool:
    """Whether a command only looks, so that it may be repeated until all is as it will be."""
    return _ASSIGNED.sub("", step.command, count=1).startswith(_LOOKS)


def play(steps: list[Step], stage: Stage) -> Iterator[tuple[Step, str]]:
    """Run the steps; what those say that are shown."""
    if any(step.beside for step in steps):
        give_past(stage.lab)
    for step in steps:
        if step.beside:
            stage.start(step.command)
        elif step.until is not None:
            stage.wait(step)
        elif step.shown is None:
            stage.run(step.command)
        else:
            yield step, stage.run(step.command)


def alike(page: str, said: str) -> bool:
    """Whether an output is the page's, up to numbers, digests, who is whose replica, and blanks."""
    return _shape(page) == _shape(said)


def _shape(text: str) -> list[str]:
    plain = _VOLATILE.sub("0", text)
    # Which replica is promoted is up to the Sentinels, and servers are listed by address.
    return sorted(re.sub(r"[\s│├└─]+", " ", line).strip() for line in plain.strip().split("\n"))


def write(only: str | None) -> None:
    """Play the page and write the answers into it."""
    for heading in sections(PAGE.read_text("utf-8")):
        if only is not None and heading != only:
            continue
        with tempfile.TemporaryDirectory() as root:
            mode = modes(PAGE.read_text("utf-8"))[heading]
            lab = Lab.create(Path(root) / "lab", mode, ports="free")
            lab.start()
            stage = Stage(lab, Path(root), f"{BIN}{os.pathsep}{os.environ['PATH']}")
            try:
                answers = list(play(sections(PAGE.read_text("utf-8"))[heading], stage))
            finally:
                stage.end()
                lab.stop()
        lines = PAGE.read_text("utf-8").split("\n")
        for step, said in reversed(answers):
            first, last = step.shown or (0, 0)
            lines[first:last] = said.split("\n") if said else []
        PAGE.write_text("\n".join(lines), "utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--write", action="store_true", required=True)
    parser.add_argument("heading", nargs="?")
    write(parser.parse_args().heading)
