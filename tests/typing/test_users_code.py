"""A user's code under pyright, as strict as it is; mypy judges it with all the rest."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SERVICE = Path(__file__).with_name("service.py")


def pyright(path: Path, tmp_path: Path) -> list[str]:
    """What it finds wrong."""
    config = tmp_path / "pyrightconfig.json"
    config.write_text(json.dumps({"typeCheckingMode": "strict", "include": [str(path)]}))
    command = [sys.executable, "-m", "basedpyright", "--outputjson", "-p", str(config)]
    command += ["--pythonpath", sys.executable]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    report = json.loads(done.stdout)
    assert report["summary"]["filesAnalyzed"] == 1
    return [each["message"] for each in report["generalDiagnostics"]]


@pytest.mark.timeout(180)
def test_every_value_has_a_type_of_its_own(tmp_path):
    assert not pyright(SERVICE, tmp_path)


@pytest.mark.timeout(180)
def test_a_mistake_is_seen(tmp_path):
    wrong = tmp_path / "wrong.py"
    wrong.write_text(
        "from aragora_redis import SharedState\n"
        "async def use(state: SharedState) -> None:\n"
        "    await state.rate_limits.check('api')\n"
        "    print((await state.rate_limits.check('api', 'ip:1')).alowed)\n"
        "    await state.tokens.revoke('jti')\n"
    )
    found = pyright(wrong, tmp_path)
    assert len(found) >= 3
    assert any("alowed" in each for each in found)
