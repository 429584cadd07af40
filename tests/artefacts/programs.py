"""Programs that judge what is deployed, where this machine has them."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

_MUST = os.environ.get("CI") == "true" and os.geteuid() == 0


def program(name: str) -> Path | None:
    """Where scripts/programs has put it, or what the machine has."""
    ours = Path(sys.executable).parent / name
    found = ours if ours.exists() else shutil.which(name)
    return Path(found) if found else None


def lacking(*names: str) -> str:
    """Why tests that run these skip; empty where they need not."""
    missing = [name for name in names if program(name) is None]
    return f"no {', '.join(missing)} here: scripts/programs gets them" if missing else ""


def needs(*names: str) -> pytest.MarkDecorator:
    """Marks tests that run these. Root in CI never skips them: there they can be had."""
    return pytest.mark.skipif(bool(why := lacking(*names)) and not _MUST, reason=why)
