"""What is fed: texts, documents and bytes that nobody would write, and such as are nearly right."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

SPELLINGS = (
    "", " ", "\0", "\n", "\r\n", "\t", "-", "-1", "0", "00", "1e999", "-1e999", "nan", "inf", "٣",
    "true", "null", "{}", "[]", "..", "../..", "/", "//", "~", "%", "%00", "%zz", "${X}", "$(X)",
    "{", "{}{", "#", "'", '"', "\\", "a" * 300, "9" * 20, "9" * 5000, "\ufeff", "\u202e", "\u2028",
    "é", "e\u0301", "😀", "ﬀ", "\x7f", "\x1b[31m", "<script>", "=cmd()", "::1", "[::1]:1",
    "fe80::1%x", "1 per 0 s", "0/second", "1/fortnight", "redis://", "rediss://h:99999/", "\ud800",
)  # fmt: skip
"""Texts at which readers have stumbled somewhere."""

texts = (
    st.sampled_from(SPELLINGS) | st.text(max_size=40) | st.text("0123456789.-+eE _", max_size=25)
)
whole_texts = texts.filter(lambda text: "\ud800" not in text)
"""Those that can be sent as UTF-8."""
integers = (
    st.sampled_from([0, 1, -1, 2**31, 2**53, 2**63 - 1, -(2**63), 2**63, 10**30, 10**400])
    | st.integers()
)  # fmt: skip
floats = st.sampled_from([0.0, -0.0, 1e308, -1e308, 5e-324]) | st.floats()
scalars = st.none() | st.booleans() | integers | floats | texts
documents: st.SearchStrategy[Any] = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=8,
)
"""What JSON or TOML may hold, and a little more."""


@st.composite
def damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    """Bytes that were whole: cut, flipped, doubled, or with others put in."""
    data = bytearray(whole)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(data)))
        match draw(st.sampled_from(["cut", "flip", "drop", "insert", "double"])):
            case "cut":
                del data[at:]
            case "flip" if at < len(data):
                data[at] ^= 1 << draw(st.integers(0, 7))
            case "drop":
                del data[at : at + draw(st.integers(1, 40))]
            case "double":
                data[at:at] = data[at : at + draw(st.integers(1, 40))]
            case _:
                data[at:at] = draw(st.binary(max_size=20))
    return bytes(data)
