"""Revocations imported from anything: all of an export, or an error that names the first bad line.

What came before that line is joined, and nothing else is; by a state, the gateway and the command.
"""

from __future__ import annotations

import io
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fuzz.effort import effort
from tests.fuzz.strategies import damaged, documents
from tests.gateways import client_of
from tests.integration import conftest
from tests.integration.past import give_past

from aragora_redis.errors import InvalidInputError, Ran
from aragora_redis.gateway.upload import UPLOAD_LIMIT
from aragora_redis.settings import from_env
from aragora_redis.state.shared import SharedState
from aragora_redis.tokens.entry import DAY, PARDONED, SCORES, Entry
from aragora_redis.tokens.lines import LINE_LIMIT, entry_of, joined, line_of, sealed
from aragora_redis.tokens.transfer import FARTHEST, Writer

cli = conftest.cli
ADMIN = "admin-token-000001"
DIGESTS = {"ARAGORA_DIGEST_KEY": "d" * 32}
GATEWAY = {
    "ARAGORA_ADMIN_TOKEN": ADMIN,
    "ARAGORA_JWT_SECRET": "0123456789abcdef" * 4,
    **DIGESTS,
}
TODAY = int(time.time() // DAY)
KEY = from_env(DIGESTS).fingerprint
AT_A_LINE = re.compile(r"line (\d+) of the revocations: .|end after line (\d+), before")
AT_THE_HEAD = re.compile("no export of revocations|export's format|digested with another key")

members = st.binary(min_size=8, max_size=8)
days = st.integers(TODAY + 2, TODAY + FARTHEST - 2)
notes = st.sampled_from(["", "j\tann\twhy", "u\tann\twhy", "t\t\t", "\t\t\t", "x"]) | st.text(
    max_size=20
)
tokens = st.builds(lambda day, member, note: Entry(day, member, day * DAY * 1000 + 5, note),
                   days, members, st.sampled_from(["", "j\tann\twhy"]))  # fmt: skip
over = tokens.map(lambda each: each._replace(day=TODAY - 3))
cut_offs = st.builds(Entry, days, members, st.integers(0, (TODAY - 1) * DAY * 1000), notes)
pardons = st.builds(
    Entry, days, st.binary(min_size=16, max_size=16), st.integers(PARDONED, SCORES - 1), notes
)
unwelcome = st.builds(Entry, st.integers(0, 999_999), members, st.integers(0, PARDONED - 1), notes)
entries = st.one_of(tokens, tokens, over, cut_offs, pardons, unwelcome)


def written(some: list[Entry], key: str = KEY) -> bytes:
    writer = Writer(key, TODAY * DAY)
    return writer.head + writer.lines(some) + writer.end()


@st.composite
def altered(draw: st.DrawFn) -> bytes:
    """Another digit of a revocation, so that it reads as well as before."""
    whole = written(draw(st.lists(tokens, min_size=1, max_size=3)))
    begin, end = whole.index(b"\n"), whole.rindex(b'{"count"')
    at = draw(st.sampled_from([at for at in range(begin, end) if whole[at] in b"0123456789"]))
    return whole[:at] + draw(st.sampled_from("0123456789")).encode() + whole[at + 1 :]


exports = st.lists(entries, max_size=6).map(written)
likely = st.sampled_from(["revocations", "key", "at", "day", "member", "score", "count", "sha256"])
sealed_rubbish = st.lists(
    st.dictionaries(likely, documents, max_size=4)
    .filter(lambda fields: "9" * 5000 not in repr(fields))
    .map(lambda fields: sealed({"revocations": 2, "key": KEY} | fields)),
    max_size=4,
).map(b"".join)
files = (
    exports
    | altered()
    | exports.flatmap(damaged)
    | exports.flatmap(damaged).flatmap(damaged)
    | st.tuples(exports, st.floats(0, 1)).map(lambda x: x[0][: int(len(x[0]) * x[1])])
    | st.tuples(exports, exports).map(b"".join)
    | st.lists(entries, max_size=3).map(lambda some: written(some, "another"))
    | st.tuples(exports.map(lambda whole: whole[: whole.rindex(b'{"count"')]), sealed_rubbish).map(
        b"".join
    )
    | sealed_rubbish
    | st.binary(max_size=200)
)


def lines_of(content: bytes) -> list[bytes]:
    file = io.BytesIO(content)
    return list(iter(lambda: file.readline(LINE_LIMIT), b""))


def held_by(state: SharedState) -> set[Entry]:
    """All that it refuses, without notes: an instance keeps none."""
    shards = state.revocations.shards
    return {each._replace(note="") for shard in shards for each in shard.replica.entries()}


def accepted(content: bytes, told: str | None) -> set[Entry]:
    """What must have been joined where an import ends with these words, or without any."""
    lines = lines_of(content)
    if told is None:
        last = len(lines)
    elif named := AT_A_LINE.search(told):
        last = int(named[1]) if named[1] else int(named[2]) + 1
        assert 1 <= last <= len(lines) + 1
        last -= "follows the last line" in told
    else:
        assert AT_THE_HEAD.search(told), told
        return set()
    found = [entry_of(line) for line in lines[1 : last - 1]]
    read = [each for each in found if each is not None]
    assert len(read) == len(found), "an earlier line was bad"
    for each, line in zip(read, lines[1:], strict=False):
        assert line_of(each).startswith(line), "what is not as it was written is no revocation"
    return {each._replace(note="") for each in joined(read) if each.day >= TODAY}


@effort(60)
@given(files)
async def test_by_a_state(content):
    async with SharedState(from_env(DIGESTS)) as state:
        told = None
        try:
            imported = await state.tokens.import_all(lines_of(content))
        except InvalidInputError as error:
            assert error.remedy
            told = str(error)
            assert error.ran is Ran.YES or not held_by(state)
        else:
            assert imported.entries == len(lines_of(content)) - 2
            assert content.rstrip(b"\n").endswith(b"}")
        assert held_by(state) == accepted(content, told)


@effort(20)
@given(files, st.integers(1, 300))
async def test_over_http(faults, content, size):
    """In pieces that know nothing of lines."""
    state = SharedState(from_env(GATEWAY))

    async def pieces():
        for at in range(0, len(content), size):
            yield content[at : at + size]

    async with client_of(state, ADMIN) as client:
        answer = await client.post("/v1/tokens/import", content=pieces())
        told = None
        if answer.status_code == 200:
            assert answer.json()["entries"] == len(lines_of(content)) - 2
        else:
            assert answer.status_code == 422, answer.text
            told = answer.json()["detail"]
            assert answer.json()["ran"] == "yes" or not held_by(state)
        assert held_by(state) == accepted(content, told)
    faults.assert_none()


@effort(20)
@given(files)
def test_by_the_command(standalone_lab, cli, tmp_path, content):
    own = DIGESTS | {"ARAGORA_KEY_PREFIX": "imported"}
    env = standalone_lab.env() | own
    give_past(standalone_lab, **own)
    (tmp_path / "export").write_bytes(content)
    code, out, err = cli("tokens", "import", str(tmp_path / "export"), "--reason", "x", **env)
    assert "Traceback" not in out + err
    if code == 0:
        assert f"{len(lines_of(content)) - 2} revocations read" in out
    told = None if code == 0 else " ".join(err.split())
    assert cli("tokens", "export", str(tmp_path / "all"), **env)[0] == 0
    stored = {}
    for each in filter(None, map(entry_of, lines_of((tmp_path / "all").read_bytes()))):
        stored[each.day, each.member] = each.score
    for each in accepted(content, told):
        assert stored[each.day, each.member] >= each.score, "an earlier example may have had more"


@pytest.mark.parametrize("after", [0, 1], ids=["at once", "after the first"])
async def test_a_line_without_an_end_fills_no_memory(after):
    state = SharedState(from_env(GATEWAY))
    sent = 0

    async def pieces():
        nonlocal sent
        yield b"".join(lines_of(written([]))[:after])
        while sent < UPLOAD_LIMIT:
            sent += 1000
            yield b"x" * 1000

    async with client_of(state, ADMIN) as client:
        answer = await client.post("/v1/tokens/import", content=pieces())
    assert (answer.status_code, answer.json()["ran"]) == (413, "no")
    assert f"longer than {LINE_LIMIT} bytes" in answer.json()["detail"]
    assert sent <= LINE_LIMIT + 2000


@pytest.mark.timeout(60)
def test_a_file_without_an_end_is_refused_at_its_first_line(standalone_lab, cli):
    code, _, err = cli("tokens", "import", "/dev/zero", "--reason", "x", **standalone_lab.env())
    assert code != 0
    assert "no export of revocations" in err
