"""shellcheck finds nothing in the programs for the shell."""

from __future__ import annotations

import pytest
from tests.artefacts.files import BIN, DEPLOY, ROOT, ran

PROGRAMS = [
    *(path for path in (ROOT / "scripts").iterdir() if path.suffix in {"", ".sh"}),
    *DEPLOY.glob("**/*.sh"),
    ROOT / ".ci" / "run",
]


@pytest.mark.parametrize("path", sorted(PROGRAMS), ids=lambda path: str(path.relative_to(ROOT)))
def test_shellcheck_finds_nothing(path):
    assert ran(BIN / "shellcheck", "--external-sources", path, cwd=ROOT) == ("", 0)
