"""Secrets are compared in one time: where that is done, and that `==` compares none of them."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "aragora_redis"
SECRET = re.compile(
    r"secret|password|token|signature|seal|csrf|cookie|authorization|session_id|presented"
    r"|(^|_)(mac|jti|tag)$",
    re.IGNORECASE,
)
"""What a name says that may hold a secret, or what proves one."""
IN_ONE_TIME = {
    "rate_limit/reservation.py": "the seal of a reservation's id",
    "gateway/auth.py": "the gateway's tokens, all of them each time",
    "gateway/dashboard/logins.py": "the signature of a login's cookie, and the proof of a form",
    "gateway/permits.py": "the seal of a permit",
    "settings/secret.py": "any `Secret`",
    "sessions/witness.py": "the signature of a session's cookie",
}
"""Where `hmac.compare_digest` is called, and for what."""
REVIEWED = {
    ("cli/doctor.py", "own == settings.of(Feature.TOKENS)"): "settings, secrets by `Secret.__eq__`",
    ("ops/desk/desk.py", "own != of_tokens"): "settings, secrets by `Secret.__eq__`",
    ("state/connections.py", "Feature.TOKENS in features"): "names a feature",
    ("gateway/dashboard/acts.py", "Feature.TOKENS in concerned"): "names a feature",
    ("circuit/model.py", "token not in places"): "names a place, in our own process",
    ("gateway/dashboard/logins.py", "key.token == given"): "`Secret.__eq__`, in one time",
    ("gateway/oauth.py", "GENERATION in token.claims"): "whether a claim is there",
    ("gateway/sessions.py", "presented.session_id != session_id"): "both are the client's own",
    ("jwt/shared.py", "secret != self._secret"): "`Secret.__eq__`, in one time",
    (
        "lab/managed.py",
        "digest not in admin.passwords(node, self._site.access(node), APP)",
    ): "of a lab on this machine",
    ("ops/asking.py", "given != access.password"): "a server's own setting, asked by its operator",
    (
        "ops/migrate/replication.py",
        "former['masterauth'] == follower.access.password",
    ): "a server's own setting, asked by its operator",
    ("rate_limit/own.py", "limit != [own.tokens, own.period_us, own.burst]"): "a bucket's tokens",
    ("settings/advice.py", "env.redis_password not in (None, url.password)"): "two settings",
    ("settings/values.py", "algorithm in _SIGNATURES"): "the name of an algorithm",
    ("state/circuits/lone_trials.py", "token == self._token"): "names a place, in our own process",
    ("state/policies_watch.py", "signature == self._seen"): "a file's age and size",
    ("tokens/refresh_model.py", "presented == known.newest - 1"): "a generation, a number",
    ("tokens/refresh_model.py", "presented == known.newest"): "a generation, a number",
    ("tokens/refresh_model.py", "token == known.before"): "keyed digests, which nobody can choose",
    ("tokens/refresh_model.py", "token != known.token"): "keyed digests, which nobody can choose",
    ("web/django/session_middleware.py", "name in answer.cookies"): "the name of a cookie",
}
"""Comparisons whose names sound like secrets, and why they tell nothing by their time."""


@cache
def sources() -> dict[str, ast.Module]:
    return {
        path.relative_to(SOURCE).as_posix(): ast.parse(path.read_text())
        for path in sorted(SOURCE.rglob("*.py"))
    }


def comparisons(tree: ast.AST) -> list[str]:
    """Each `==`, `!=`, `in` and `not in` of what is named like a secret, but for constants."""
    found = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Compare):
            continue
        sides = [node.left, *node.comparators]
        for op, left, right in zip(node.ops, sides, sides[1:], strict=False):
            plain = isinstance(left, ast.Constant) or isinstance(right, ast.Constant)
            if plain or not isinstance(op, ast.Eq | ast.NotEq | ast.In | ast.NotIn):
                continue
            if any(SECRET.search(name) for side in (left, right) for name in names(side)):
                found.append(ast.unparse(node))
    return found


def names(node: ast.AST) -> list[str]:
    """The names that a value is of, less those of constants, modules and our settings' names."""
    return [
        each.attr if isinstance(each, ast.Attribute) else each.id
        for each in ast.walk(node)
        if (isinstance(each, ast.Attribute) and not _is_of_names(each))
        or (isinstance(each, ast.Name) and not each.id.lstrip("_").isupper())
        or (isinstance(each, ast.Name) and each.id == "_SIGNATURES")
    ]


def _is_of_names(attribute: ast.Attribute) -> bool:
    return isinstance(attribute.value, ast.Name) and attribute.value.id == "names"


def test_what_compares_in_one_time_is_listed():
    calling = {
        name
        for name, tree in sources().items()
        if any(
            isinstance(node, ast.Attribute) and node.attr == "compare_digest"
            for node in ast.walk(tree)
        )
    }
    assert calling == set(IN_ONE_TIME)


def test_no_secret_is_compared_otherwise():
    found = {(name, said) for name, tree in sources().items() for said in comparisons(tree)}
    assert found - set(REVIEWED) == set(), "use hmac.compare_digest, or say above why not"
    assert set(REVIEWED) - found == set(), "these are gone"


@pytest.mark.parametrize(
    "said",
    [
        "password == given",
        "self._csrf != form.get('csrf')",
        "mac != expected",
        "token in accepted",
        "hmac.new(key, text).hexdigest() == signature",
    ],
)
def test_one_would_be_found(said):
    assert comparisons(ast.parse(said)) == [said]
