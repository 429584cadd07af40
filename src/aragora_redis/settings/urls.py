"""Read the URL forms of a Redis address.

No error here quotes any part of the URL: a password with an unescaped character may sit anywhere.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote

from msgspec import Struct

from ..address import Address
from ..errors import InvalidInputError, SettingsError
from .model import Cluster, Sentinel, Standalone
from .secret import Secret, unexpanded

REDIS_PORT = 6379
SENTINEL_PORT = 26379
MAX_DB = 2**31 - 1

_FORMS = (
    "write redis://host:6379/0, rediss://host:6379/0, unix:///path/redis.sock, "
    "redis+sentinel://host1:26379,host2:26379/master/0 or redis+cluster://host1:6379,host2:6379"
)
_SCHEMES = ("redis", "rediss", "unix", "redis+sentinel", "redis+cluster", "rediss+cluster")
_ESCAPE = "percent-encode / ? # @ and % in the user name and password (/ is %2F, # is %23)"


class RedisUrl(Struct, frozen=True):
    """What a URL says; what it is silent about is None.

    The credentials are those of Redis itself, also in the Sentinel form.
    """

    topology: Standalone | Sentinel | Cluster
    username: str | None = None
    password: Secret | None = None
    db: int | None = None
    tls: bool = False


def parse_hosts(text: str, *, default_port: int) -> tuple[Address, ...]:
    """Read `host[:port]`, separated by commas.

    Raises:
        InvalidInputError: an entry is not host[:port], or there is none.
    """
    entries = [entry for entry in text.split(",") if entry.strip()]
    if not entries:
        raise InvalidInputError("there is no host")
    # A host named twice would count as two Sentinels.
    return tuple(dict.fromkeys(Address.parse(each, default_port=default_port) for each in entries))


def parse_url(text: str) -> RedisUrl:
    """Read a URL of one of the forms `redis`, `rediss`, `unix`, `redis+sentinel`, `redis+cluster`.

    Raises:
        SettingsError: it is none of these.
    """
    if unexpanded(text):
        raise SettingsError(
            "the URL holds a placeholder that was never expanded", remedy="write the value itself"
        )
    scheme, separator, rest = text.partition("://")
    scheme = scheme.lower()
    if not separator or scheme not in _SCHEMES:
        raise SettingsError("the URL is of no form that is known here", remedy=_FORMS)
    if "#" in rest:
        raise SettingsError("the URL holds a bare '#'", remedy=_ESCAPE)
    location, _, query = rest.partition("?")
    authority, slash, path = location.partition("/")
    # In a Sentinel URL the rest of such a password would pass for the name of the master.
    if scheme != "unix" and ("@" in path or "@" in query):
        raise SettingsError("an '@' comes after the host", remedy=_ESCAPE)
    userinfo, _, host = authority.rpartition("@")
    username, _, password = userinfo.partition(":")
    topology, path_db = _topology(scheme, host, slash + path)
    query_db = _query_db(query)
    if path_db is not None and query_db is not None:
        raise SettingsError("the URL names the database twice", remedy="leave ?db= out")
    return RedisUrl(
        topology=topology,
        username=_decode(username) or None,
        password=Secret(_decode(password)) if password else None,
        db=query_db if path_db is None else path_db,
        tls=scheme.startswith("rediss"),
    )


def _topology(
    scheme: str, host: str, path: str
) -> tuple[Standalone | Sentinel | Cluster, int | None]:
    match scheme:
        case "unix":
            if host or path in ("", "/"):
                raise SettingsError(
                    "a unix:// URL needs a path and no host", remedy="write unix:///path/redis.sock"
                )
            return Standalone(Path(_decode(path))), None
        case "redis+sentinel":
            master, _, db = path.removeprefix("/").partition("/")
            if not master:
                raise SettingsError("the URL names no master", remedy=_FORMS)
            return Sentinel(_decode(master), _hosts(host, SENTINEL_PORT)), _path_db(db)
        case "redis+cluster" | "rediss+cluster":
            return Cluster(_hosts(host, REDIS_PORT)), _path_db(path.removeprefix("/"))
        case _:
            addresses = _hosts(host, REDIS_PORT)
            if len(addresses) > 1:
                raise SettingsError(
                    "the URL names several servers",
                    remedy="give one, or Sentinels as redis+sentinel://host1,host2/master, "
                    "or nodes of a cluster as redis+cluster://host1,host2",
                )
            return Standalone(addresses[0]), _path_db(path.removeprefix("/"))


def _hosts(text: str, default_port: int) -> tuple[Address, ...]:
    try:
        return parse_hosts(text, default_port=default_port)
    except InvalidInputError:
        raise SettingsError(
            "the host part is not host or host:port with a port from 1 to 65535",
            remedy=f"correct it, and {_ESCAPE}",
        ) from None


def _query_db(query: str) -> int | None:
    if not query:
        return None
    name, _, value = query.partition("=")
    if name != "db" or not value:
        raise SettingsError(
            "the URL has an option other than db after '?'",
            remedy="use the variables instead, such as ARAGORA_REDIS_TLS_VERIFY for ssl_cert_reqs",
        )
    return _path_db(value)


def _path_db(text: str) -> int | None:
    text = text.removesuffix("/")
    if not text:
        return None
    # The length is checked first: int() refuses absurdly long numbers with an error of its own.
    if not (text.isascii() and text.isdigit()) or len(text) > 10 or int(text) > MAX_DB:
        raise SettingsError(
            "the database in the URL is not a whole number", remedy="write it as the last part, /0"
        )
    return int(text)


def _decode(text: str) -> str:
    try:
        decoded = unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise SettingsError("a percent-encoded part is not UTF-8", remedy=_ESCAPE) from None
    if "\0" in decoded:
        raise SettingsError("a percent-encoded part holds %00", remedy="leave it out")
    return decoded
