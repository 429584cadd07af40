"""What the how-to pages show is so: their Python runs, in order, on a real server.

A page's first `toml` block is its policies file, and what a `sh` block exports is in force as well.
`state` is open in its Python, which may await; a page that imports `aragora_redis.sync` is run by a
thread, which has no loop.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType, ModuleType
from typing import NamedTuple

import pytest
from tests.integration.past import give_past

from aragora_redis import SharedState
from aragora_redis.policies import parse_policies

ROOT = Path(__file__).parents[2]
ALL = sorted((ROOT / "docs" / "how-to").glob("*.md"))
OF_DJANGO = ROOT / "docs" / "how-to" / "django.md"
"""Its settings are those of a process, see `django_page.py`."""
PAGES = [page for page in ALL if page != OF_DJANGO]


class Block(NamedTuple):
    language: str
    code: str
    line: int


def blocks(page: Path) -> Iterator[Block]:
    text = page.read_text("utf-8")
    for found in re.finditer(r"^```(\w+)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
        yield Block(found[1], found[2], text.count("\n", 0, found.start(2)))


def exported(shown: Iterator[Block]) -> dict[str, str]:
    """What the page exports: `export NAME=value ...` in its shell blocks."""
    lines = (line for block in shown if block.language == "sh" for line in block.code.splitlines())
    words = (shlex.split(line, comments=True) for line in lines if line.startswith("export "))
    return dict(word.split("=", 1) for line in words for word in line[1:])


def environment_of(page, lab, directory) -> dict[str, str]:
    """What is in force for a page, whose policies file is written, and whose keys have a past."""
    # What a busy machine holds up is not what a page is about.
    environment: dict[str, str] = lab.env() | {"ARAGORA_REDIS_DEADLINE": "1"}
    environment["ARAGORA_KEY_PREFIX"] = f"how-to-{page.stem}"
    give_past(lab, ARAGORA_KEY_PREFIX=environment["ARAGORA_KEY_PREFIX"])
    for block in blocks(page):
        if block.language == "toml":
            parse_policies(block.code, source=page.name)
            (directory / "policies.toml").write_text(block.code)
            environment["ARAGORA_POLICIES"] = str(directory / "policies.toml")
            break
    return environment | exported(blocks(page))


def test_the_page_of_django_is_true(standalone_lab, tmp_path):
    environment = environment_of(OF_DJANGO, standalone_lab, tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "tests.integration.django_page", str(OF_DJANGO)],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
async def test_a_page_is_true(page, standalone_lab, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, value in environment_of(page, standalone_lab, tmp_path).items():
        monkeypatch.setenv(name, value)
    async with SharedState.from_env() as state:
        module = ModuleType(f"how_to_{page.stem}")  # some frameworks look there for its names
        monkeypatch.setitem(sys.modules, module.__name__, module)
        module.__dict__["state"] = state
        threads = any("aragora_redis.sync" in block.code for block in blocks(page))
        for block in blocks(page):
            if block.language == "python":
                # An error names the page's own line.
                code = compile(
                    "\n" * block.line + block.code,
                    page.name,
                    "exec",
                    flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT,
                    dont_inherit=True,
                )
                run = FunctionType(code, vars(module))
                result = await asyncio.to_thread(run) if threads else run()
                if inspect.isawaitable(result):
                    await result
