"""What the tests of artefacts read: files of this repository, and what other plans render."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
BIN = Path(sys.executable).parent
SECRET_NAMES = frozenset(
    {
        *("password", "sentinel-password", "internal-password", "operator-password"),
        *("monitor-password", "gateway-token", "admin-token", "digest-key"),
    }
)


def ran(*command, **options):
    """What a command prints, and its exit code."""
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False, **options
    )
    return done.stdout + done.stderr, done.returncode
