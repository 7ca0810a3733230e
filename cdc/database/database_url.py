"""Reads the spellings of a database URL that people have at hand, and shows one without its secrets.

Accepted: `postgresql://` and `postgres://` URLs, libpq's `key=value` strings, and the JDBC URLs that Flagent documents,
`jdbc:postgresql://host:5432/database?user=…&password=…&sslmode=disable`.
"""

import re
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from ..errors import InvalidDatabaseUrl

__all__ = ["read_database_url", "redact"]

ALLOWED = (
    "allowed are postgresql://user:password@host:5432/database, "
    "jdbc:postgresql://host:5432/database?user=…&password=…, and libpq's host=… dbname=…"
)

# What the JDBC driver calls differently from libpq. Source: pgJDBC documentation, "Initializing the Driver".
_JDBC_NAMES = {
    "user": "user",
    "password": "password",
    "sslmode": "sslmode",
    "sslcert": "sslcert",
    "sslkey": "sslkey",
    "sslrootcert": "sslrootcert",
    "ApplicationName": "application_name",
    "options": "options",
    "connectTimeout": "connect_timeout",
    "targetServerType": "target_session_attrs",
}
_JDBC_TARGETS = {"any": "any", "primary": "read-write", "master": "read-write", "secondary": "standby"}
_SCHEME = re.compile(r"^([a-z][a-z0-9+.:-]*)://", re.IGNORECASE)


def read_database_url(text: str, *, name: str = "FLAGENT_CDC_DATABASE_URL") -> str:
    """A connection string for libpq; raises `InvalidDatabaseUrl`, which names `name` and never shows a password."""
    text = text.strip()
    scheme = _SCHEME.match(text)
    kind = scheme[1].lower() if scheme else ""
    if not text:
        raise InvalidDatabaseUrl(f"{name} is empty; {ALLOWED}", name=name)
    if kind == "jdbc:postgresql" or (not scheme and text.lower().startswith("jdbc:postgresql:")):
        text = _from_jdbc(text, name)
    elif kind.startswith("postgresql+") or kind.startswith("postgres+"):
        # the driver part of an SQLAlchemy URL means nothing to libpq
        text = "postgresql" + text[len(kind) :]
    elif scheme and kind not in ("postgresql", "postgres"):
        raise InvalidDatabaseUrl(f"{name} is of kind {kind!r}, which is not PostgreSQL; {ALLOWED}", name=name)
    elif not scheme and "=" not in text:
        raise InvalidDatabaseUrl(f"{name} is no database URL: {_shorten(text)!r}; {ALLOWED}", name=name)
    try:
        parts = conninfo_to_dict(text)
    except psycopg.ProgrammingError as error:
        reason = str(error).strip().split("\n")[0]
        secret = _password_of(text)
        if secret and secret in reason:
            reason = "it is malformed"
        raise InvalidDatabaseUrl(f"{name} cannot be read: {reason}; {ALLOWED}", name=name) from None
    return make_conninfo("", **parts)


def redact(conninfo: str) -> str:
    """How to name a database to people: `postgresql://user@host:port/database`, without secrets and parameters.

    >>> redact("postgresql://ann:geheim@db.example:5433/flags?sslmode=require")
    'postgresql://ann@db.example:5433/flags'
    >>> redact("postgresql://db1:5433,db2/flags?target_session_attrs=read-write")
    'postgresql://db1:5433,db2/flags'
    """
    try:
        parts = conninfo_to_dict(conninfo)
    except psycopg.ProgrammingError:
        return "the database"
    hosts = str(parts.get("host") or parts.get("hostaddr") or "localhost").split(",")
    ports = str(parts.get("port") or "").split(",")
    # One port is that of every host, as in libpq.
    places = zip(hosts, ports if len(ports) == len(hosts) else ports[:1] * len(hosts), strict=True)
    user = quote(str(parts["user"]), safe="") + "@" if parts.get("user") else ""
    shown = ",".join(_place(host, port) for host, port in places)
    return f"postgresql://{user}{shown}/{quote(str(parts.get('dbname') or parts.get('user') or ''), safe='')}"


def _place(host: str, port: str) -> str:
    shown = quote(host, safe="") if host.startswith("/") else f"[{host}]" if ":" in host else host
    return f"{shown}:{port}" if port else shown


def _from_jdbc(text: str, name: str) -> str:
    rest = text[len("jdbc:postgresql:") :]
    if not rest.startswith("//"):
        rest = f"///{rest}" if not rest.startswith("/") else f"//{rest}"
    try:
        url = urlsplit(f"postgresql:{rest}")
    except ValueError:
        raise InvalidDatabaseUrl(f"{name} cannot be read as a JDBC URL; {ALLOWED}", name=name) from None
    parameters: dict[str, str] = {}
    for key, value in parse_qsl(url.query, keep_blank_values=True):
        if key == "ssl":
            parameters.setdefault("sslmode", "require" if value.lower() in ("", "true") else "disable")
        elif key == "currentSchema":
            parameters["options"] = f"-c search_path={value.replace(' ', '')}"
        elif key in _JDBC_NAMES:
            parameters[_JDBC_NAMES[key]] = _JDBC_TARGETS.get(value, value) if key == "targetServerType" else value
        # the other parameters tune the JDBC driver and mean nothing here
    if "@" in url.netloc:
        raise InvalidDatabaseUrl(
            f"{name}: a JDBC URL takes user and password as parameters, ?user=…&password=…, not before the host",
            name=name,
        )
    user, password = parameters.pop("user", None), parameters.pop("password", None)
    login = quote(user, safe="") if user else ""
    if password is not None:
        login += ":" + quote(password, safe="")
    database = quote(unquote(url.path.removeprefix("/")), safe="")
    query = "?" + urlencode(parameters, quote_via=quote) if parameters else ""
    return f"postgresql://{login}{'@' if login else ''}{url.netloc}/{database}{query}"


def _password_of(text: str) -> str:
    found = re.search(r"://[^/@]*?:([^@]*)@", text) or re.search(r"password=([^&\s]*)", text)
    return unquote(found[1]) if found else ""


def _shorten(text: str) -> str:
    return text if len(text) <= 40 else text[:40] + "…"
