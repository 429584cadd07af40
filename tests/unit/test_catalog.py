"""Every script declares what it takes, and is refused where it does not."""

from __future__ import annotations

import re

import pytest

from aragora_redis.scripts.catalog import HeaderError, all_scripts, load, parse

HEADER = """-- Says something.
--
-- KEYS: none
-- ARGV: none
-- Reply: 1
-- Traits: read
return 1
"""


def test_a_header_is_read():
    script = parse("one", HEADER)
    assert (script.writes, script.batchable) == (False, False)


@pytest.mark.parametrize("section", ["KEYS", "ARGV", "Reply", "Traits"])
def test_a_missing_section_is_refused(section):
    with pytest.raises(HeaderError, match=section):
        parse("one", HEADER.replace(f"{section}:", "Other:"))


@pytest.mark.parametrize("traits", ["", "read write", "batch", "read sideways"])
def test_traits_that_make_no_sense_are_refused(traits):
    with pytest.raises(HeaderError):
        parse("one", HEADER.replace("Traits: read", f"Traits: {traits}"))


def test_a_section_behind_the_code_does_not_count():
    with pytest.raises(HeaderError):
        parse("one", "return 1\n" + HEADER)


@pytest.mark.parametrize("script", all_scripts(), ids=lambda script: script.name)
def test_packaged_scripts_keep_the_house_rules(script):
    source = script.source.decode()
    code = re.sub(r"--.*", "", source)
    assert load(script.name) is script
    assert script.writes == ("not_after" in source.split("local", 1)[0]), "not_after is declared"
    assert script.writes == ("LATE" in code), "what writes refuses to run late"
    assert not re.search(r"redis\.p?call\('KEYS'", code)
    assert "os.time" not in code
    assert "tostring(" not in code, "tostring rounds large integers"
