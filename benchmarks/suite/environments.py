"""A virtual environment for each contestant, under `.bench/`: their pins need not agree."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
HERE: Final = ROOT / ".bench"
LIMIT: Final = 300.0
"""Seconds that one installation may take."""

REQUIREMENTS: Final[Mapping[str, tuple[str, ...]]] = {
    "coredis_client": ("coredis>=6",),
    "glide": ("valkey-glide>=2",),
    "limits_library": ("limits>=5", "redis[hiredis]>=8"),
    "pybreaker_library": ("pybreaker>=1.4", "redis[hiredis]>=8"),
    "purgatory_library": ("purgatory>=3", "redis[hiredis]>=8"),
    "pyrate": ("pyrate-limiter>=4", "redis[hiredis]>=8"),
    "redis_py": ("redis[hiredis]>=8",),
    "starsessions_library": ("starsessions>=2", "redis[hiredis]>=8"),
    "throttled_library": ("throttled-py>=3", "redis[hiredis]>=8"),
}
"""What contestants need that do not run in the environment of the project itself."""
LOOP: Final = "uvloop"
"""What all of them have, so that a run can put it under them."""


class EnvironmentMissingError(Exception):
    """It could not be made; the text says why."""


async def python_of(contestant: str) -> Path:
    """The interpreter of a contestant, whose environment is made where it is missing.

    Raises:
        EnvironmentMissingError: it cannot be made.
    """
    requirements = REQUIREMENTS.get(contestant)
    if requirements is None:
        return Path(sys.executable)
    directory = HERE / contestant
    stamp, python = directory / "stamp", directory / "bin" / "python"
    requirements = (*requirements, LOOP)
    wanted = "\n".join((sys.version, str(directory), *requirements))
    if not stamp.exists() or stamp.read_text() != wanted:
        print(f"bench: installing {', '.join(requirements)}", file=sys.stderr, flush=True)
        shutil.rmtree(directory, ignore_errors=True)
        await _run(sys.executable, "-m", "venv", str(directory))
        await _run(str(python), "-I", "-m", "pip", "install", "--no-input", "-q", *requirements)
        stamp.write_text(wanted)  # last: what was interrupted is made anew
    return python


async def _run(*command: str) -> None:
    environ = {**os.environ, "PIP_USER": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    process = await asyncio.create_subprocess_exec(
        *command,
        env=environ,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        _, err = await asyncio.wait_for(process.communicate(), LIMIT)
    except TimeoutError:
        raise EnvironmentMissingError("the installation took too long") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        lines = [line for line in err.decode(errors="replace").splitlines() if "ERROR" in line]
        raise EnvironmentMissingError(f"pip: {(lines or ['it failed'])[-1].strip()[:120]}")
