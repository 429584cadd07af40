"""axe-core in a page: what it finds that keeps people out (WCAG 2.2 A and AA, best practices)."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tests.browser.chromium import Page

SOURCE = Path(sys.prefix) / "node" / "node_modules" / "axe-core" / "axe.min.js"
_RUN = """
axe.run(document, {resultTypes: ["violations"]}).then((found) => JSON.stringify(
  found.violations.map((each) => [each.id, each.nodes.map((node) => node.target.join(" "))])
))
"""


def violations(page: Page) -> list[tuple[str, list[str]]]:
    """Each broken rule, with what breaks it; nothing where axe-core is not here."""
    if not SOURCE.exists():
        return []
    if not page.run("typeof axe === 'object'"):
        # Evaluated by the debugger, which no policy of the page binds.
        page.run(SOURCE.read_text("utf-8") + ";0")
    return [(rule, where) for rule, where in json.loads(page.run(_RUN))]
