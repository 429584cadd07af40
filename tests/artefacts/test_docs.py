"""The documents: what they link to, name and have typed is there."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest
import typer.exceptions
import typer.main
from tests.artefacts import api_reference
from tests.artefacts.api_reference import CHAPTERS
from tests.artefacts.files import ROOT
from tests.artefacts.promql import samples
from tests.artefacts.scrape import SCRAPES
from tests.artefacts.site import objects

from aragora_redis.cli import app
from aragora_redis.jwt import VerifiedToken

PAGES = sorted(
    path.relative_to(ROOT)
    for path in ROOT.rglob("*.md")
    if not any(part.startswith(".") or part == "templates" for part in path.relative_to(ROOT).parts)
)
"""Templates are read where they are rendered to."""
GUIDES = (Path("docs/REDIS_HA.md"), Path("docs/DEPLOYMENT.md"))
HEADINGS = """\
# Redis High Availability Setup
## Overview
## Option 1: Redis Sentinel (Self-Managed)
### Architecture
### Kubernetes Deployment
### Redis Configuration
### Aragora Configuration
### Failover Testing
## Option 2: Managed Redis (Recommended for Production)
### AWS ElastiCache
### GCP Memorystore
### Azure Cache for Redis
## Option 3: Redis Cluster (High Scale)
### Architecture
### Configuration
## Fail-Open Configuration
## Monitoring Redis HA
### Prometheus Metrics
### Key Metrics
### Health Check Script
## Troubleshooting
### Failover Not Happening
### Split-Brain Prevention
### Connection Issues
## Migration from Single Redis
## Related Documentation
"""
"""Those of the guide."""
PROMISED_ANCHORS = {
    Path("docs/RUNBOOK.md"): "redis-cluster-failover",
    Path("docs/DEPLOYMENT.md"): "redis-for-shared-state",
    Path("docs/ENVIRONMENT.md"): "rate-limiting",
}
"""What the guide links to."""
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
OPERATORS = re.compile(
    r"(?:aragora-redis|(?:^|\s)operator|operator\.sh) (?=[a-z])(.*?)(?=[`|;&#'()\n]|\d?>|$)",
    re.MULTILINE,
)
"""What runs a command of ours, on the page."""
PATH = re.compile(r"(?:deploy|docs|tests|src|benchmarks|examples|scripts)/[\w@./-]*\w")


def read(page):
    return (ROOT / page).read_text("utf-8")


def prose(text):
    """A page without its blocks of code."""
    return FENCE.sub("", text)


def spans(text):
    """What stands between backticks, in one line each."""
    return [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", prose(text))]


def blocks(text, language="sh"):
    return [code for named, code in FENCE.findall(text) if named == language]


def code(text):
    """Everything that a reader may type, or look for."""
    joined = [
        re.sub(r"(?:^|\s)#.*", "", block.replace("\\\n", " "), flags=re.MULTILINE)
        for _, block in FENCE.findall(text)
    ]
    return "\n".join([*spans(text), *joined])


def headings(text):
    return re.findall(r"^#{1,6} .*$", prose(text), re.MULTILINE)


def anchors(text):
    """The anchors that GitHub gives to headings."""
    found: set[str] = set()
    seen: Counter[str] = Counter()
    for heading in headings(text):
        words = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading.lstrip("#").strip())
        anchor = re.sub(r"[^\w\- ]", "", words.lower()).replace(" ", "-")
        found.add(f"{anchor}-{seen[anchor]}" if seen[anchor] else anchor)
        seen[anchor] += 1
    return found


def broken_links(page, text):
    without_code = re.sub(r"`[^`]*`", "`", prose(text))
    targets = re.findall(r"\]\(<?([^()\s>]+)", without_code)
    targets += re.findall(r"^\[[^]]+\]: (\S+)", without_code, re.MULTILINE)
    broken = []
    for target in targets:
        if re.match(r"[a-z][a-z+.-]*:", target):
            continue
        path, _, anchor = target.partition("#")
        led = (ROOT / page).parent / path if path else ROOT / page
        there = led.resolve().is_relative_to(ROOT) and led.exists()
        if there and anchor:
            there = anchor in anchors(led.read_text("utf-8") if path else text)
        if not there:
            broken.append(target)
    return broken


def missing_files(text):
    return [name for name in PATH.findall(code(text)) if not (ROOT / name).exists()]


def missing_tests(text):
    return [
        f"{path}::{name}"
        for path, name in re.findall(r"(tests/[\w/]+\.py)::(\w+)", code(text))
        if not re.search(rf"^(async )?def {name}\(", read(path), re.MULTILINE)
    ]


def missing_targets(text):
    known = set(re.findall(r"^(\w+):", read("Makefile"), re.MULTILINE))
    return [
        name for name in re.findall(r"^make (\w+)", code(text), re.MULTILINE) if name not in known
    ]


@cache
def command_line() -> Any:
    return typer.main.get_command(app.command_line())


def why_not(words):
    """Why the command line would not take these words, or None."""
    command, context = command_line(), None
    try:
        while True:
            context = command.make_context("", list(words), parent=context)
            if not hasattr(command, "commands"):
                return None
            words = [*context._protected_args, *context.args]
            _, command, words = command.resolve_command(context, words)
    except typer.Exit:  # --help, --version
        return None
    except typer.exceptions.TyperException as error:
        return str(error)


def wrong_commands(text):
    return [
        f"{words}: {why}"
        for words in OPERATORS.findall(code(text))
        if (why := why_not(shlex.split(words)))
    ]


def wrong_names(text):
    """Alerts, metrics and variables that nobody has."""
    files = [objects(name)[0] for name in ("rules.yaml", "cluster/rules.yaml")]
    rules = [rule for file in files for group in file["groups"] for rule in group["rules"]]
    known = {rule.get("alert", rule.get("record")) for rule in rules}
    known |= {name for file in SCRAPES.iterdir() for name, _ in samples(file.read_text())}
    known |= set(re.findall(r"ARAGORA_\w+", read("docs/ENVIRONMENT.md")))
    named = r"(?:(?:Redis|Aragora)[A-Z]\w+[a-z]|redis_\w+|aragora_redis_\w+|ARAGORA_\w+)"
    return [
        span
        for span in (re.sub(r"=.*", "", span) for span in spans(text))
        if re.fullmatch(named, span) and span not in known
    ]


def unparsable(text):
    return [
        block
        for block in blocks(text)
        if subprocess.run(["sh", "-n"], input=block, text=True, check=False).returncode
    ]


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_links_lead_somewhere(page):
    assert broken_links(page, read(page)) == []


def test_the_index_has_every_page():
    linked = set(re.findall(r"\]\((?!\.\.)([^()]+\.md)\)", read("docs/README.md")))
    pages = {page.relative_to("docs").as_posix() for page in PAGES if page.is_relative_to("docs")}
    assert linked == pages - {"README.md"}


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_blocks_are_shell(page):
    assert unparsable(read(page)) == []


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_commands_are_taken(page):
    assert wrong_commands(read(page)) == []


@pytest.mark.parametrize("page", GUIDES, ids=str)
@pytest.mark.parametrize("check", [missing_files, missing_tests, missing_targets, wrong_names])
def test_what_is_named_is_there(page, check):
    assert check(read(page)) == []


@pytest.mark.parametrize(("page", "anchor"), PROMISED_ANCHORS.items(), ids=str)
def test_what_the_guide_links_to_is_there(page, anchor):
    assert anchor in anchors(read(page))


def test_the_guides_headings_are_kept_in_order():
    assert headings(read("docs/REDIS_HA.md")) == HEADINGS.splitlines()


def test_anchors_are_those_of_github():
    page = (
        "# Option 1: Redis (Self-Managed)\n## `a` & b_c\n"
        "## [Twice](x.md)\n## Twice\n```sh\n# no\n```\n"
    )
    assert anchors(page) == {"option-1-redis-self-managed", "a--b_c", "twice", "twice-1"}


@pytest.mark.parametrize(
    ("check", "text"),
    [
        (missing_files, "see `deploy/nowhere.sh`"),
        (missing_files, "```sh\nsh deploy/nowhere.sh\n```"),
        (missing_tests, "`tests/artefacts/test_docs.py::test_nothing`"),
        (missing_targets, "`make money`"),
        (wrong_commands, "`aragora-redis emigrate`"),
        (wrong_commands, "`aragora-redis doctor --conect`"),
        (wrong_commands, "`aragora-redis drill kill-everybody`"),
        (wrong_commands, "```sh\noperator failover \\\n  --too 10.0.0.1:6379\n```"),
        (wrong_commands, "```sh\ndocker compose run --rm operator doktor\n```"),
        (wrong_names, "the alert `RedisIsSad`"),
        (wrong_names, "`redis_replication_lagg`"),
        (wrong_names, "`ARAGORA_REDIS_URI=redis://`"),
        (unparsable, "```sh\nif true\n```"),
    ],
)
def test_what_is_wrong_is_noticed(check, text):
    assert len(check(text)) == 1


@pytest.mark.parametrize(
    "link", ["NOWHERE.md", "RUNBOOK.md#nowhere", "#nowhere", "../../outside", "../deploy/no\n"]
)
def test_a_link_that_leads_nowhere_is_noticed(link):
    assert broken_links(GUIDES[0], f"# Here\n[there]({link})") == [link.strip()]
    assert broken_links(GUIDES[0], f"`[there]({link})` [here](#here)\n# Here") == []


def test_the_api_is_what_the_docstrings_say():
    assert api_reference.main(["--check", str(ROOT / api_reference.COMMITTED)]) == 0


def test_the_api_has_a_section_for_each_type_that_it_names():
    shown = {thing for chapter in CHAPTERS for _, thing in api_reference.shown(chapter)}
    missing = {
        thing.__name__
        for chapter in CHAPTERS
        for function in api_reference.documented(chapter)
        for thing in named(get_type_hints(function, localns={"VerifiedToken": VerifiedToken}))
        if thing.__module__.startswith("aragora_redis.") and thing not in shown
    }
    # docs/ENVIRONMENT.md has the settings; the others are handed back as they are, or say nothing.
    assert missing == {"Settings", "Position", "SessionRef"}


def named(hint: Any) -> set[type]:
    """The classes that an annotation is made of."""
    if isinstance(hint, dict | list | tuple):
        parts = hint.values() if isinstance(hint, dict) else hint
        return set().union(*map(named, parts))
    if get_args(hint):
        return set() if get_origin(hint) is Literal else named(get_args(hint))
    return {hint} if isinstance(hint, type) else set()
