"""The formats of values from outside: each has a description for people and a parser that raises `ValueError`."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ..auth.json_web_token import public_key, secret_key
from ..core.subscription.grant import Grant

__all__ = [
    "AGE",
    "BOOLEAN",
    "COUNT",
    "COUNT_OR_OFF",
    "DATABASE_URL",
    "DIRECTORY",
    "DURATION",
    "FILE",
    "FORMAT",
    "HOSTS",
    "JWKS",
    "LEVEL",
    "LIMIT",
    "NAMES",
    "NATS_URL",
    "NETWORKS",
    "ORIGINS",
    "PORT",
    "PUBLIC_KEY",
    "REPLICAS",
    "SCOPES",
    "SECRET",
    "SIZE",
    "STREAM",
    "TEXT",
    "URL_PATH",
    "WORKERS",
    "ValueFormat",
    "parse_duration",
    "parse_size",
]

_DURATION = re.compile(r"(\d{1,12}(?:\.\d{1,9})?) ?(ms|s|m|h)?", re.ASCII)
_SECONDS = {None: 0.001, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_SIZE = re.compile(r"(\d{1,15}) ?(B|kB|KiB|MB|MiB|GB|GiB)?", re.ASCII)
_BYTES = {None: 1, "B": 1, "kB": 10**3, "KiB": 2**10, "MB": 10**6, "MiB": 2**20, "GB": 10**9, "GiB": 2**30}
_ORIGIN = re.compile(r"https?://(\[[0-9a-f:.]+\]|[a-z0-9.-]+)(:\d{1,5})?", re.ASCII)
_HOST = re.compile(r"\[[0-9a-f:.]+\]|[a-z0-9._-]+|\*", re.ASCII)
_TRUTH = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}
LOG_LEVELS = ("debug", "info", "warning", "error")
LOG_FORMATS = ("text", "json")


def parse_duration(text: str) -> float:
    """Seconds of `30s`, `500ms`, `2m`, `1h`, `1.5s`; a bare number is milliseconds, as Flagent reads it.

    Raises `ValueError` for anything else, for 0 and for more than a day.
    """
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError(text)
    seconds = float(match[1]) * _SECONDS[match[2]]
    if not 0 < seconds <= 86_400:
        raise ValueError(text)
    return seconds


def parse_size(text: str) -> int:
    """Bytes of `65536`, `512KiB`, `64MiB`, `1GB`; raises `ValueError` for anything else, and for 0."""
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError(text)
    size = int(match[1]) * _BYTES[match[2]]
    if size < 1:
        raise ValueError(text)
    return size


def parse_age(text: str) -> float | None:
    """As `parse_duration`, or days such as `7d`, at most ten years; `off` is None, no maximum age."""
    if text.lower() == "off":
        return None
    days = re.fullmatch(r"(\d{1,4}) ?d", text, re.ASCII)
    if days is None:
        return parse_duration(text)
    if not 0 < int(days[1]) <= 3_650:
        raise ValueError(text)
    return int(days[1]) * 86_400.0


def parse_limit(text: str) -> int | None:
    """As `parse_size`; `off` is None, no limit."""
    return None if text.lower() == "off" else parse_size(text)


def count_or_off(text: str) -> int | None:
    return None if text.lower() == "off" else number(1, 100_000_000)(text)


def number(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not re.fullmatch(r"\d{1,12}", text, re.ASCII) or not low <= int(text) <= high:
            raise ValueError(text)
        return int(text)

    return parse


def truth(text: str) -> bool:
    try:
        return _TRUTH[text.lower()]
    except KeyError:
        raise ValueError(text) from None


def url_path(text: str) -> str:
    if not re.fullmatch(r"(/[A-Za-z0-9._~-]+)+", text):
        raise ValueError(text)
    return text


def names(text: str) -> tuple[str, ...]:
    words = tuple(word.strip() for word in text.split(","))
    if not all(0 < len(word.encode()) < 64 for word in words) or len(set(words)) < len(words):
        raise ValueError(text)
    return words


def one_of(allowed: tuple[str, ...]) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text.lower() not in allowed:
            raise ValueError(text)
        return text.lower()

    return parse


def stream_name(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", text, re.ASCII):
        raise ValueError(text)
    return text


def origins(text: str) -> tuple[str, ...]:
    given = tuple(word.strip().lower() for word in text.split(","))
    if not all(word == "*" or _ORIGIN.fullmatch(word) for word in given):
        raise ValueError(text)
    return given


def hosts(text: str) -> tuple[str, ...]:
    given = tuple(word.strip().lower() for word in text.split(","))
    if not all(_HOST.fullmatch(word) for word in given):
        raise ValueError(text)
    return given


def networks(text: str) -> tuple[IPv4Network | IPv6Network, ...]:
    return tuple(ip_network(word.strip()) for word in text.split(","))


def secret(text: str) -> str:
    secret_key(text)
    return text


def pem(text: str) -> str:
    """A PEM key, or the path of a file that contains one."""
    if "-----BEGIN" not in text:
        try:
            text = Path(text).expanduser().read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(text) from error
    # In a variable of one line, the line ends are written as two characters.
    text = text.replace("\\n", "\n")
    public_key(text)
    return text


def jwks(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme == "http" and parts.hostname not in ("localhost", "127.0.0.1", "::1"):
        # Over plain HTTP, a machine on the path could replace the keys and sign tokens itself.
        raise ValueError(text)
    if parts.scheme in ("http", "https") and not parts.hostname:
        raise ValueError(text)
    return text


def existing_file(text: str) -> Path:
    path = Path(text).expanduser()
    if not path.is_file():
        raise ValueError(text)
    return path


def scopes(text: str) -> Grant:
    return Grant.parse(json.loads(text))


@dataclass(frozen=True, slots=True)
class ValueFormat:
    """How a value is written: `description` completes "must be …"; `choices` are all the words that it can be."""

    description: str
    parse: Callable[[str], Any]
    choices: tuple[str, ...] = ()


BOOLEAN = ValueFormat("true or false", truth, ("true", "false"))
PORT = ValueFormat("a port number from 0 to 65535 (0 = any free one)", number(0, 65535))
COUNT = ValueFormat("a whole number from 1 to 100000000", number(1, 100_000_000))
WORKERS = ValueFormat("a whole number from 1 to 256", number(1, 256))
COUNT_OR_OFF = ValueFormat("a whole number from 1 to 100000000, or off", count_or_off)
DURATION = ValueFormat("a duration such as 30s, 500ms, 2m or 1h, at most 24h", parse_duration)
AGE = ValueFormat("an age such as 12h or 7d, at most 3650d, or off", parse_age)
LIMIT = ValueFormat("a size in bytes such as 512MiB or 4GiB, or off", parse_limit)
SIZE = ValueFormat("a size in bytes such as 65536, 512KiB or 64MiB", parse_size)
URL_PATH = ValueFormat("a path such as /ws", url_path)
TEXT = ValueFormat("text", str)
DATABASE_URL = ValueFormat("a URL such as postgresql://user:password@host:5432/database", str)
NETWORKS = ValueFormat("addresses and networks separated by commas, such as 10.0.0.0/8,192.0.2.7", networks)
NATS_URL = ValueFormat("a URL such as nats://host:4222, or several separated by commas", str)
STREAM = ValueFormat("a name of letters, digits, _ and -", stream_name)
REPLICAS = ValueFormat("1, 3 or 5", lambda text: int(one_of(("1", "3", "5"))(text)))
FILE = ValueFormat("an existing file", existing_file)
DIRECTORY = ValueFormat("a directory", lambda text: Path(text).expanduser())
NAMES = ValueFormat("different names separated by commas, such as public,tenant_1", names)
LEVEL = ValueFormat("one of " + ", ".join(LOG_LEVELS), one_of(LOG_LEVELS), LOG_LEVELS)
FORMAT = ValueFormat("one of " + ", ".join(LOG_FORMATS), one_of(LOG_FORMATS), LOG_FORMATS)
HOSTS = ValueFormat("names without a port, separated by commas, such as flags.example.com, or *", hosts)
ORIGINS = ValueFormat("origins separated by commas, such as https://app.example.com, or *", origins)
SECRET = ValueFormat("text of at least 32 bytes", secret)
PUBLIC_KEY = ValueFormat("an RSA (2048 bits or more) or P-256 public key in PEM, or a file that contains it", pem)
JWKS = ValueFormat("a file, or a URL that begins with https://", jwks)
SCOPES = ValueFormat('scopes as JSON, such as {"flags": ["web-*"]}', scopes)
