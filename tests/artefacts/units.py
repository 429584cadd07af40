"""Reads systemd units and environment files as systemd does, as far as those of deploy/ go."""

from __future__ import annotations

import shlex
import subprocess


def parsed(text, specifiers):
    """The values of each key, in order, whatever its section; an empty one forgets those before."""
    found: dict[str, list[str]] = {}
    for line in text.replace("\\\n", " ").splitlines():
        if line.strip() and line[0] not in "#;[":
            key, _, value = line.partition("=")
            for name, meaning in specifiers.items():
                value = value.replace(name, meaning)
            found.setdefault(key, []).append(value)
            if not value:
                found[key] = []
    return found


def environment(unit, root):
    """What the unit's programs see; its files, which are below `root`, win over `Environment`."""
    env = dict(word.split("=", 1) for line in unit["Environment"] for word in shlex.split(line))
    for file in unit.get("EnvironmentFile", []):
        env |= variables(root / file.removeprefix("/"))
    return env


def variables(file):
    """What an environment file sets; a shell reads those of deploy/ too, with the same outcome."""
    shown = subprocess.run(
        ["env", "-i", "sh", "-c", 'set -a && . "$0" && env -0', file],
        capture_output=True,
        text=True,
        timeout=10,
        check=True,
    ).stdout
    found = dict(each.split("=", 1) for each in shown.strip("\0").split("\0"))
    return {key: value for key, value in found.items() if key not in {"PWD", "_", "SHLVL"}}
