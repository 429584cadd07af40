from __future__ import annotations

import pytest


@pytest.fixture
def policies(tmp_path):
    """Writes a policies file; the environment that names it."""

    def write(text):
        path = tmp_path / "policies.toml"
        path.write_text(text)
        return {"ARAGORA_POLICIES": str(path)}

    return write
