"""The committed reference is the generated one."""

import re
from pathlib import Path

from aragora_redis.settings.environment import variables
from aragora_redis.settings.reference import main, reference

COMMITTED = Path(__file__).parents[2] / "docs" / "ENVIRONMENT.md"


def test_the_committed_page_is_the_generated_one():
    assert main(["--check", str(COMMITTED)]) == 0


def test_every_variable_has_one_row_of_four_cells():
    rows = [line for line in reference().splitlines() if line.startswith("| `ARAGORA_")]
    assert [re.findall(r"`(\w+)`", row)[0] for row in rows] == list(variables())
    assert {row.count("|") for row in rows} == {5}


def test_other_pages_link_to_this_heading():
    assert "\n## Rate limiting\n" in reference()


def test_check_tells_a_stale_page_from_a_written_one(tmp_path, capsys):
    page = tmp_path / "page.md"
    assert main(["--check", str(page)]) == 1
    assert "No such file" in capsys.readouterr().err
    assert main(["--write", str(page)]) == 0
    assert main(["--check", str(page)]) == 0
    page.write_text(page.read_text() + "more\n")
    assert main(["--check", str(page)]) == 1
    assert f"--write {page}" in capsys.readouterr().err


def test_without_an_option_the_page_is_printed(capsys):
    assert main([]) == 0
    assert capsys.readouterr().out == reference()
